//! Takes models off the disk. Owns which files of a model may go and what else needs them; must not
//! know who asked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::hub_path::HubPath;
use crate::{ModelFile, Source, packages, serial};

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// The files.
    #[serde(serialize_with = "serial::paths")]
    pub files: Vec<PathBuf>,
    /// What they took of the disk.
    pub freed_bytes: u64,
}

/// Why a model was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It belongs to another program, which would miss it.
    #[error("{name} belongs to {owner}")]
    NotOurs {
        /// The model.
        name: String,
        /// Whose it is.
        owner: &'static str,
        /// How its owner removes it.
        hint: &'static str,
    },
    /// A file cannot be removed.
    #[error("{} cannot be removed: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl Removal {
    /// What removing a model would remove: its parts, and in a Hugging Face cache the blobs that
    /// they lead to, unless another snapshot needs them.
    pub fn plan(model: &ModelFile) -> Result<Self, RemoveError> {
        let owner = |owner, hint| RemoveError::NotOurs {
            name: model.name.clone(),
            owner,
            hint,
        };
        match model.source {
            Source::Ollama => return Err(owner("Ollama", "`ollama rm` removes it")),
            Source::LmStudio => return Err(owner("LM Studio", "remove it there")),
            Source::PythonPackage => {
                return Err(owner("a Python package", "uninstall the package"));
            }
            _ => {}
        }
        if !model.manifests.is_empty() {
            return Ok(Self::of_manifests(&model.manifests));
        }
        let mut removal = Self::default();
        let own = std::slice::from_ref(&model.path);
        let parts = if model.shards.is_empty() {
            own
        } else {
            &model.shards
        };
        for part in parts {
            removal.add(part, parts);
        }
        Ok(removal)
    }

    /// What removing manifests of a store would remove: them, and the blobs that no other one needs.
    pub(crate) fn of_manifests(manifests: &[PathBuf]) -> Self {
        let mut removal = Self::default();
        removal.files.extend_from_slice(manifests);
        for blob in packages::needed_only_by(manifests) {
            removal.freed_bytes += freed_by(&blob);
            removal.files.push(blob);
        }
        removal
    }

    /// Removes the files, and the folders of a Hugging Face cache that are empty then.
    pub fn run(&self) -> Result<(), RemoveError> {
        for path in &self.files {
            match fs::remove_file(path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(RemoveError::Io {
                        path: path.clone(),
                        source,
                    });
                }
                _ => {}
            }
            let end = match HubPath::parse(path) {
                Some(_) => "snapshots",
                None if path.iter().any(|part| part == "manifests") => "manifests",
                None => continue,
            };
            let folders = path.ancestors().skip(1);
            let below = folders.take_while(|folder| !folder.ends_with(end));
            // A folder that still has files stays.
            below
                .take_while(|folder| fs::remove_dir(folder).is_ok())
                .for_each(drop);
        }
        Ok(())
    }

    fn add(&mut self, part: &Path, going: &[PathBuf]) {
        let blob = part.canonicalize().ok().filter(|target| {
            let is_blob = target
                .parent()
                .is_some_and(|folder| folder.ends_with("blobs"));
            is_blob && HubPath::parse(part).is_some() && !is_needed(target, part, going)
        });
        let is_link = fs::symlink_metadata(part).is_ok_and(|file| file.is_symlink());
        let content = if is_link { blob.as_deref() } else { Some(part) };
        let size = content
            .and_then(|path| fs::metadata(path).ok())
            .map_or(0, |file| file.len());
        self.freed_bytes += size;
        self.files.push(part.to_owned());
        self.files.extend(blob);
    }
}

/// What is free once a file is gone: nothing while it has another name.
fn freed_by(path: &Path) -> u64 {
    let Ok(file) = fs::symlink_metadata(path) else {
        return 0;
    };
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&file) > 1 {
        return 0;
    }
    file.len()
}

/// Whether another file in the snapshots of a part's repository leads to the same blob.
fn is_needed(blob: &Path, part: &Path, going: &[PathBuf]) -> bool {
    let Some(snapshots) = part
        .ancestors()
        .find(|folder| folder.ends_with("snapshots"))
    else {
        return true;
    };
    let mut folders = vec![snapshots.to_owned()];
    while let Some(folder) = folders.pop() {
        // What cannot be looked at may need it.
        let Ok(entries) = fs::read_dir(&folder) else {
            return true;
        };
        for entry in entries {
            let Ok((path, kind)) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))
            else {
                return true;
            };
            if kind.is_dir() {
                folders.push(path);
            } else if !going.contains(&path) && path.canonicalize().is_ok_and(|path| path == blob) {
                return true;
            }
        }
    }
    false
}
