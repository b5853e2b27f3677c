//! Which models an adapter is for. Owns the choice among those that it fits; must not know what is
//! in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shimmy_models::{AdapterFile, Metadata};

use super::target::Entry;

/// An adapter file in the catalog.
#[derive(Debug)]
pub(super) struct AdapterEntry {
    pub(super) file: AdapterFile,
    /// As [`Entry::key`].
    pub(super) key: PathBuf,
    /// The keys of the models that it fits.
    pub(super) bases: Vec<PathBuf>,
}

/// The model that an adapter applies to where nobody says which.
#[derive(Debug)]
pub(super) enum Choice {
    One(Arc<Entry>),
    /// By name.
    Several(Vec<String>),
    None,
}

impl AdapterEntry {
    /// The adapter in this file, with those of these models that it fits. Blocks on the disk.
    pub(super) fn new(file: AdapterFile, models: &[Arc<Entry>]) -> Self {
        Self::among(file, models, &mut HashMap::new())
    }

    /// The same for several. Blocks on the disk: the header of every model that may be meant is
    /// read once.
    pub(super) fn list(files: Vec<AdapterFile>, models: &[Arc<Entry>]) -> Vec<Arc<Self>> {
        let mut headers = HashMap::new();
        files
            .into_iter()
            .map(|file| Arc::new(Self::among(file, models, &mut headers)))
            .collect()
    }

    /// An adapter that somebody said is for this model. Blocks on the disk.
    pub(super) fn of(file: AdapterFile, base: &Entry) -> Self {
        Self {
            key: key(&file.path),
            file,
            bases: vec![base.key.clone()],
        }
    }

    fn among<'a>(
        file: AdapterFile,
        models: &'a [Arc<Entry>],
        headers: &mut HashMap<&'a Path, Option<Metadata>>,
    ) -> Self {
        let is_kin = |entry: &&Arc<Entry>| {
            entry.file.summary.architecture.as_deref() == Some(file.architecture.as_str())
        };
        let mut fits = |entry: &&'a Arc<Entry>| {
            let path = entry.file.path.as_path();
            let header = headers
                .entry(path)
                .or_insert_with(|| Metadata::open(path).ok());
            let header = header.as_ref();
            header.is_some_and(|header| file.matches_base(header).is_ok())
        };
        let kin = models.iter().filter(is_kin);
        let bases = kin
            .filter(|entry| fits(entry))
            .map(|entry| entry.key.clone());
        Self {
            key: key(&file.path),
            bases: bases.collect(),
            file,
        }
    }

    /// The model that it applies to: the only one that it fits, or the one whose name it says, or
    /// the base model.
    pub(super) fn base(&self, models: &[Arc<Entry>]) -> Choice {
        let fitting = models
            .iter()
            .filter(|entry| self.bases.contains(&entry.key));
        let fitting: Vec<_> = fitting.collect();
        let is_named = |entry: &&&Arc<Entry>| {
            let title = entry.file.summary.title.as_ref();
            title.is_some_and(|title| self.file.base_models.contains(title))
        };
        let named: Vec<_> = fitting.iter().filter(is_named).copied().collect();
        let left = if named.is_empty() { fitting } else { named };
        match left.as_slice() {
            [] => Choice::None,
            [only] => Choice::One(Arc::clone(only)),
            several => match several.iter().find(|entry| entry.is_base) {
                Some(base) => Choice::One(Arc::clone(base)),
                None => {
                    let names = several.iter().map(|entry| entry.file.name.clone());
                    Choice::Several(names.collect())
                }
            },
        }
    }
}

/// Follows links; a file that has just gone away is still told apart by its path.
fn key(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use shimmy_models::ModelFile;
    use shimmy_testkit::tiny;

    use super::*;

    /// Models in a folder of their own, by name and title, and whether each is the base model.
    fn models(list: &[(&str, &str, bool)]) -> (tempfile::TempDir, Vec<Arc<Entry>>) {
        let folder = tempfile::tempdir().unwrap();
        let entry = |&(name, title, is_base): &(&str, &str, bool)| {
            let path = folder.path().join(format!("{name}.gguf"));
            tiny::Model::new().name(title).write(&path).unwrap();
            Arc::new(Entry::new(ModelFile::open(&path).unwrap(), is_base))
        };
        let entries = list.iter().map(entry).collect();
        (folder, entries)
    }

    /// An adapter of a model called "Tiny Llama", among these.
    fn adapter(adapter: &tiny::Adapter, models: &[Arc<Entry>]) -> AdapterEntry {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gguf");
        adapter.write(&path).unwrap();
        AdapterEntry::new(AdapterFile::open(&path).unwrap(), models)
    }

    fn choice(list: &[(&str, &str, bool)]) -> String {
        let (_folder, models) = models(list);
        match adapter(&tiny::Adapter::new(), &models).base(&models) {
            Choice::One(base) => base.file.name.clone(),
            Choice::Several(names) => names.join(" or "),
            Choice::None => "nobody".to_owned(),
        }
    }

    #[test]
    fn of_several_models_the_named_one_is_meant_then_the_base_model() {
        assert_eq!(choice(&[]), "nobody");
        assert_eq!(choice(&[("a", "Another", false)]), "a");
        let named = [("a", "Another", true), ("b", "Tiny Llama", false)];
        assert_eq!(choice(&named), "b");
        let base = [("a", "Another", true), ("b", "A third", false)];
        assert_eq!(choice(&base), "a");
        let none = [("a", "Another", false), ("b", "A third", false)];
        assert_eq!(choice(&none), "a or b");
        let twice = [("a", "Tiny Llama", false), ("b", "Tiny Llama", true)];
        assert_eq!(choice(&twice), "b");
    }

    #[test]
    fn what_does_not_fit_is_never_meant() {
        let (_folder, models) = models(&[("a", "Tiny Llama", true)]);
        let foreign = adapter(&tiny::Adapter::for_other_model(), &models);
        assert!(foreign.bases.is_empty());
        assert!(matches!(foreign.base(&models), Choice::None));
    }
}
