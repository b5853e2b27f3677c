//! What is remembered of a file's header, and the reading of it. Owns which facts those are; must
//! not know folders, names or sources.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{ModelError, read_file};
use crate::gguf::{FileKind, Metadata, Split, Value};
use crate::header_cache::HeaderCache;
use crate::model::Summary;

/// What one file's header says, as far as a search needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) kind: FileKind,
    pub(crate) split: Option<Split>,
    /// The weights in this file alone.
    pub(crate) parameter_count: u64,
    pub(crate) summary: Summary,
    /// Of a projector for pictures, the width of the embeddings that it makes.
    pub(crate) projects_to: Option<u64>,
}

impl Facts {
    fn new(metadata: &Metadata) -> Self {
        let kind = metadata.file_kind();
        let entry = |key: &str| metadata.get(key);
        let sees = entry("clip.has_vision_encoder").and_then(Value::as_bool) != Some(false);
        let width = entry("clip.vision.projection_dim").and_then(Value::as_u64);
        Self {
            kind,
            split: metadata.split(),
            parameter_count: metadata.parameter_count(),
            summary: Summary::new(metadata),
            projects_to: width.filter(|_| kind == FileKind::Projector && sees),
        }
    }
}

/// Reads headers, each file's once, and not at all those that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    cache: HeaderCache,
    read: HashMap<PathBuf, (Facts, fs::Metadata)>,
}

impl Headers {
    /// A reader that remembers what a cache does.
    pub(crate) fn with_cache(cache: HeaderCache) -> Self {
        Self {
            cache,
            ..Self::default()
        }
    }

    /// What the header of the file at `path` says, and what the file system does.
    pub(crate) fn facts(&mut self, path: &Path) -> Result<(Facts, fs::Metadata), ModelError> {
        if let Some(known) = self.read.get(path) {
            return Ok(known.clone());
        }
        let known = match self.cache.get(path) {
            Some(known) => known,
            None => {
                let (metadata, file) = read_file(path)?;
                let facts = Facts::new(&metadata);
                self.cache.put(path, &file, &facts);
                (facts, file)
            }
        };
        self.read.insert(path.to_owned(), known.clone());
        Ok(known)
    }

    /// The cache, with what was read.
    pub(crate) fn into_cache(self) -> HeaderCache {
        self.cache
    }
}
