//! The model files behind the names, for those that change which there are.

use shimmy_models::ModelFile;
use shimmy_server::{LoadError, Loader};

use super::LocalLoader;
use super::target::Target;

/// A model's file, and whether the server was started for it.
pub(crate) struct Known {
    pub(crate) file: ModelFile,
    pub(crate) is_base: bool,
}

impl LocalLoader {
    /// The model that a name means. Blocks on the disk.
    pub(crate) fn file(&self, name: &str) -> Result<Known, LoadError> {
        match self.catalog.find(Some(name))? {
            Target::File(entry) => Ok(Known {
                file: entry.file.clone(),
                is_base: entry.is_base,
            }),
            Target::Stub => Err(LoadError::Failed {
                name: name.to_owned(),
                reason: "it is built in and has no file".to_owned(),
            }),
        }
    }

    /// Every model after another look at the folders. Blocks on the disk.
    pub(crate) fn files(&self) -> Vec<ModelFile> {
        self.discover();
        let entries = self.catalog.models().into_iter();
        entries.map(|entry| entry.file.clone()).collect()
    }

    /// Whether a name is that of a model that has no file.
    pub(crate) fn is_built_in(&self, name: &str) -> bool {
        matches!(self.catalog.glance(Some(name)), Ok(Target::Stub))
    }

    /// Takes a model out of memory, if a name that is known means one. Blocks until its memory is
    /// given back.
    pub(crate) fn forget(&self, name: &str) {
        if let Ok(target) = self.catalog.glance(Some(name)) {
            self.residents.unload(target.key());
        }
    }
}
