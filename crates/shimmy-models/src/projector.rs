//! One projector (`mmproj`), which turns pictures or sounds into a model's embeddings. Owns what is
//! known of it and which models it fits; must not know how it was found.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::facts::Headers;
use crate::roots::Source;
use crate::{ModelError, ModelFile, serial};

/// A projector on disk. It is a part of a model and never listed as one.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectorFile {
    /// The file.
    #[serde(serialize_with = "serial::path")]
    pub path: PathBuf,
    /// The file's size.
    pub size_bytes: u64,
    /// Where it was found.
    pub source: Source,
    /// The width of the embeddings that it makes of pictures; none if it is for sounds.
    pub projects_to: Option<u64>,
}

impl ProjectorFile {
    pub(crate) fn read(
        path: &Path,
        source: Source,
        headers: &mut Headers,
    ) -> Result<Self, ModelError> {
        let (facts, file) = headers.facts(path)?;
        Ok(Self {
            path: path.to_owned(),
            size_bytes: file.len(),
            source,
            projects_to: facts.projects_to,
        })
    }

    /// Whether it lies beside a model whose embeddings are as wide as those that it makes.
    pub(crate) fn belongs_to(&self, model: &ModelFile) -> bool {
        self.projects_to.is_some()
            && self.projects_to == model.summary.embedding_length
            && self.path.parent() == model.path.parent()
    }
}
