//! Names that users gave to models. Owns the file that keeps them; must not know how a name is
//! looked up.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ModelFile;
use crate::files::{read_short, replace};
use crate::names::is_plausible;
use crate::text::quoted;

/// The longest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Names and what they stand for.
#[derive(Debug, Clone, Default)]
pub struct Aliases {
    file: PathBuf,
    entries: BTreeMap<String, Target>,
    is_changed: bool,
}

/// A model by its file and, because a store may have several models in one file, its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Target {
    path: String,
    name: String,
}

/// Why a name cannot be given or taken away.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// A text that no model can be called.
    #[error("{0} cannot be a model's name")]
    NotAName(String),
    /// A file whose path cannot be written down.
    #[error("{} cannot be named: its path is not UTF-8", .0.display())]
    Path(PathBuf),
    /// The file of names cannot be read or written.
    #[error("the names in {} cannot be kept: {source}", path.display())]
    Io {
        /// The file of names.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file of names is damaged.
    #[error("the names in {} cannot be read: {source}", path.display())]
    Json {
        /// The file of names.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Aliases {
    /// The names kept in the folder of a store; none if nobody gave any.
    pub fn read(store: &Path) -> Result<Self, AliasError> {
        let file = store.join("aliases.json");
        let bytes = match read_short(&file, MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    file,
                    ..Self::default()
                });
            }
            Err(source) => return Err(AliasError::Io { path: file, source }),
            Ok(bytes) => bytes,
        };
        match serde_json::from_slice(&bytes) {
            Ok(entries) => Ok(Self {
                file,
                entries,
                is_changed: false,
            }),
            Err(source) => Err(AliasError::Json { path: file, source }),
        }
    }

    /// Gives a model one more name, in place of whatever had it before. To be saved.
    pub fn insert(&mut self, alias: &str, model: &ModelFile) -> Result<(), AliasError> {
        if !is_plausible(alias) {
            return Err(AliasError::NotAName(quoted(alias)));
        }
        let path = model
            .path
            .canonicalize()
            .unwrap_or_else(|_| model.path.clone());
        let path = path.into_os_string().into_string();
        let path = path.map_err(|path| AliasError::Path(path.into()))?;
        let name = model.name.clone();
        self.entries.insert(alias.to_owned(), Target { path, name });
        self.is_changed = true;
        Ok(())
    }

    /// Takes a name away; false if nobody gave it. To be saved.
    pub fn remove(&mut self, alias: &str) -> bool {
        let was_there = self.entries.remove(alias).is_some();
        self.is_changed |= was_there;
        was_there
    }

    /// Writes the names down, if any has come or gone.
    pub fn save(&self) -> Result<(), AliasError> {
        if !self.is_changed {
            return Ok(());
        }
        let keep = || {
            let text = serde_json::to_vec_pretty(&self.entries)?;
            replace(&self.file, &text)
        };
        keep().map_err(|source| AliasError::Io {
            path: self.file.clone(),
            source,
        })
    }

    /// Tells the models their other names. Returns those that stand for no model any more, with the
    /// file that is gone.
    pub(crate) fn apply(self, models: &mut [ModelFile]) -> Vec<(String, PathBuf)> {
        let mut lost = Vec::new();
        for (alias, target) in self.entries {
            let path = Path::new(&target.path);
            let is_it = |model: &ModelFile| {
                model.path == path || model.path.canonicalize().is_ok_and(|real| real == path)
            };
            let fits: Vec<usize> = (0..models.len()).filter(|&at| is_it(&models[at])).collect();
            let by_name = fits.iter().find(|&&at| models[at].name == target.name);
            match by_name.or(fits.first()) {
                Some(&at) => models[at].aliases.push(alias),
                None => lost.push((alias, path.to_owned())),
            }
        }
        lost
    }
}
