//! What can be wrong with a model or an adapter that someone asked for. Owns the public text, which
//! names the file; must not know who asked.

use std::io;
use std::path::{Path, PathBuf};

use crate::gguf::{GgufError, Metadata};

/// Why a file is not a model, or an adapter, that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is no such file.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The path that was given.
        path: PathBuf,
    },
    /// The path leads to a folder.
    #[error("{} is a folder, not a GGUF file", path.display())]
    Folder {
        /// The path that was given.
        path: PathBuf,
    },
    /// The path leads to a pipe, a device or the like.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path that was given.
        path: PathBuf,
    },
    /// The file is no proper GGUF file.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file, of a split model the part that is broken.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        reason: GgufError,
    },
    /// A part of a split model is absent.
    #[error("the model is incomplete: {} is missing", path.display())]
    MissingShard {
        /// The first part that is absent.
        path: PathBuf,
    },
    /// A part of a split model is not the one that its name says, or its name says nothing.
    #[error(
        "{} says inside that it is part {number} of {count}, which its name should say as \
         -{number:05}-of-{count:05}.gguf", path.display()
    )]
    MisnamedShard {
        /// The file.
        path: PathBuf,
        /// The part's number by the file's content, from 1.
        number: u64,
        /// The number of parts by the file's content.
        count: u64,
    },
    /// An adapter where a model is needed.
    #[error("{} is a LoRA adapter, not a model; use it together with its base model", path.display())]
    IsAdapter {
        /// The file.
        path: PathBuf,
    },
    /// A GGUF file that is neither a model nor an adapter.
    #[error("{} is a GGUF file, but not a model", path.display())]
    NotAModel {
        /// The file.
        path: PathBuf,
    },
    /// Something else where an adapter is needed.
    #[error("{} is not a LoRA adapter", path.display())]
    NotAnAdapter {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refuses to read the file.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// Reads the metadata of a regular file, and what the file system knows about it.
pub(crate) fn read_file(path: &Path) -> Result<(Metadata, std::fs::Metadata), ModelError> {
    let owned = || path.to_owned();
    let facts = std::fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ModelError::NotFound { path: owned() },
        _ => ModelError::Io {
            path: owned(),
            source,
        },
    })?;
    if facts.is_dir() {
        return Err(ModelError::Folder { path: owned() });
    }
    // Opening a pipe would wait for a writer.
    if !facts.is_file() {
        return Err(ModelError::NotAFile { path: owned() });
    }
    let metadata = Metadata::open(path).map_err(|reason| match reason {
        GgufError::Io(source) => ModelError::Io {
            path: owned(),
            source,
        },
        reason => ModelError::Invalid {
            path: owned(),
            reason,
        },
    })?;
    Ok((metadata, facts))
}
