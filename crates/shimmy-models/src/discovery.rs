//! Finds the models and adapters in the user's folders. Owns which folders those are and how files
//! become models; must not know environment variables or how a name is looked up.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::names;
use crate::shards::ShardName;
use crate::walk::{Candidate, Problem, Walk};
use crate::{AdapterFile, ModelError, ModelFile};

/// Where a model came from. The stores of other programs will be further variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A path that the user gave.
    Given,
    /// The folder `models` of the working folder.
    WorkingFolder,
    /// The folder of the base model (`SHIMMY_BASE_GGUF`).
    BaseFolder,
    /// A folder in `SHIMMY_MODEL_PATHS`.
    ModelPaths,
    /// A folder given as `--model-dirs`.
    ModelDirs,
    /// The folder `models` of the user's home.
    Home,
}

impl Source {
    /// Its name in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::WorkingFolder => "./models",
            Self::BaseFolder => "base model's folder",
            Self::ModelPaths => "SHIMMY_MODEL_PATHS",
            Self::ModelDirs => "--model-dirs",
            Self::Home => "~/models",
        }
    }

    /// Whether the folders below the root are searched too. Not for the base model's: it was named
    /// as a file, and its folder may be a whole home or download folder.
    pub(crate) fn has_subfolders(self) -> bool {
        self != Self::BaseFolder
    }
}

/// The values that decide where models are looked for, as the configuration has them.
#[derive(Debug, Clone, Default)]
pub struct RootSettings {
    /// The working folder.
    pub working_folder: PathBuf,
    /// `SHIMMY_BASE_GGUF`.
    pub base_gguf: Option<PathBuf>,
    /// `SHIMMY_MODEL_PATHS`, a list separated by `;` or (but on Windows) `:`.
    pub model_paths: Option<String>,
    /// `--model-dirs`.
    pub model_dirs: Vec<PathBuf>,
    /// The user's home folder.
    pub home: Option<PathBuf>,
}

/// One folder to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
}

/// The folders to search, in order: a file that is in several belongs to the first.
#[derive(Debug, Clone, Default)]
pub struct Roots(pub(crate) Vec<Root>);

impl Roots {
    /// No folders.
    pub fn new() -> Self {
        Self::default()
    }

    /// The folders that the settings name. None need exist.
    pub fn from_settings(settings: &RootSettings) -> Self {
        let mut roots = Self::new();
        for folder in &settings.model_dirs {
            roots.add(settings.working_folder.join(folder), Source::ModelDirs);
        }
        let list = settings.model_paths.as_deref().unwrap_or_default();
        for folder in split_list(list) {
            roots.add(settings.working_folder.join(folder), Source::ModelPaths);
        }
        roots.add(
            settings.working_folder.join("models"),
            Source::WorkingFolder,
        );
        if let Some(home) = &settings.home {
            roots.add(home.join("models"), Source::Home);
        }
        if let Some(folder) = settings.base_gguf.as_deref().and_then(Path::parent) {
            // After the others, so that a folder that is also one of them is searched whole.
            roots.add(settings.working_folder.join(folder), Source::BaseFolder);
        }
        roots
    }

    /// The folders, in the order of searching.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|root| root.path.as_path())
    }

    /// Adds a folder after the others.
    pub fn add(&mut self, path: impl Into<PathBuf>, source: Source) -> &mut Self {
        self.0.push(Root {
            path: path.into(),
            source,
        });
        self
    }
}

fn split_list(list: &str) -> impl Iterator<Item = &str> {
    // On Windows a colon belongs to the drive.
    let is_separator = |letter| letter == ';' || (letter == ':' && !cfg!(windows));
    list.split(is_separator)
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// All that was found.
#[derive(Debug, Default, Serialize)]
pub struct Discovery {
    /// The models, in the order of their names, incomplete ones included.
    pub models: Vec<ModelFile>,
    /// The adapters, in the order of their names.
    pub adapters: Vec<AdapterFile>,
    /// What could not be used, and why.
    pub problems: Vec<Problem>,
}

/// Searches the folders and reads the header of every GGUF file in them. Blocks on the disk, for a
/// few milliseconds per file. Never fails as a whole: what is wrong with one file is a problem.
pub fn discover(roots: &Roots) -> Discovery {
    let walk = Walk::all(&roots.0);
    let mut found = Discovery {
        problems: walk.problems,
        ..Discovery::default()
    };
    let mut split_models = BTreeSet::new();
    for candidate in &walk.candidates {
        // The first part that the walk comes to stands for its model.
        let shard = ShardName::parse(&candidate.path);
        if shard.is_some_and(|shard| !split_models.insert(shard.parts())) {
            continue;
        }
        if let Err(error) = found.add(candidate, &walk.refused) {
            found.problems.push(Problem {
                path: candidate.path.clone(),
                reason: error.into(),
            });
        }
    }
    found.name_apart();
    found
}

impl Discovery {
    fn add(&mut self, candidate: &Candidate, refused: &HashSet<PathBuf>) -> Result<(), ModelError> {
        let Candidate { path, source } = candidate;
        match ModelFile::read(path, *source) {
            // The link has its own problem; the model is not loaded through it.
            Ok(model) if model.shards.iter().any(|part| refused.contains(part)) => {}
            Ok(model) => self.models.push(model),
            Err(ModelError::IsAdapter { .. }) => {
                self.adapters.push(AdapterFile::read(path, *source)?);
            }
            // Companions of a model in a proper place; nothing that a user should be warned of.
            Err(ModelError::NotAModel { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes names unique, among models and among adapters, and sorts by them.
    fn name_apart(&mut self) {
        self.models
            .sort_by(|left, right| left.path.cmp(&right.path));
        let named = self
            .models
            .iter()
            .map(|m| (m.name.clone(), m.path.as_path()));
        let unique = names::disambiguate(&named.collect::<Vec<_>>());
        for (model, name) in self.models.iter_mut().zip(unique) {
            model.name = name;
        }
        self.models
            .sort_by(|left, right| left.name.cmp(&right.name));

        self.adapters
            .sort_by(|left, right| left.path.cmp(&right.path));
        let named = self
            .adapters
            .iter()
            .map(|a| (a.name.clone(), a.path.as_path()));
        let unique = names::disambiguate(&named.collect::<Vec<_>>());
        for (adapter, name) in self.adapters.iter_mut().zip(unique) {
            adapter.name = name;
        }
        self.adapters
            .sort_by(|left, right| left.name.cmp(&right.name));
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{RootSettings, Roots, Source, split_list};

    #[test]
    fn lists_take_either_separator() {
        let entries: Vec<_> = split_list(" /a ;/b;;").collect();
        assert_eq!(entries, ["/a", "/b"]);
        #[cfg(unix)]
        assert_eq!(split_list("/a:/b").collect::<Vec<_>>(), ["/a", "/b"]);
    }

    #[test]
    fn relative_folders_start_at_the_working_folder() {
        let settings = RootSettings {
            working_folder: PathBuf::from("/work"),
            base_gguf: Some(PathBuf::from("base.gguf")),
            model_paths: Some("more;/else".to_owned()),
            model_dirs: vec![PathBuf::from("extra")],
            home: Some(PathBuf::from("/home/me")),
        };
        let roots = Roots::from_settings(&settings).0;
        let found: Vec<_> = roots.iter().map(|r| (r.path.as_path(), r.source)).collect();
        assert_eq!(
            found,
            [
                (Path::new("/work/extra"), Source::ModelDirs),
                (Path::new("/work/more"), Source::ModelPaths),
                (Path::new("/else"), Source::ModelPaths),
                (Path::new("/work/models"), Source::WorkingFolder),
                (Path::new("/home/me/models"), Source::Home),
                (Path::new("/work/"), Source::BaseFolder),
            ]
        );
    }
}
