//! What a name means: a model file, or the deterministic engine.
//!
//! Owns what is known of it without loading it; must not know how it was found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shimmy_models::ModelFile;
use shimmy_server::ModelInfo;

use crate::backend;

/// A model file in the catalog.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) file: ModelFile,
    /// The file that its path leads to in the end: the same for every name and link it has.
    pub(super) key: PathBuf,
    /// Whether it is the base model, which the configured adapters belong to.
    pub(super) is_base: bool,
}

impl Entry {
    /// Blocks on the disk, to follow links.
    pub(super) fn new(file: ModelFile, is_base: bool) -> Self {
        let key = file.path.canonicalize();
        Self {
            // A file that has just gone away is still told apart by its path.
            key: key.unwrap_or_else(|_| file.path.clone()),
            file,
            is_base,
        }
    }
}

/// What a name means.
#[derive(Debug, Clone)]
pub(super) enum Target {
    File(Arc<Entry>),
    Stub,
}

impl Target {
    /// What tells it apart from every other model, whatever it is called.
    pub(super) fn key(&self) -> &Path {
        match self {
            Self::File(entry) => &entry.key,
            // No file has the empty path.
            Self::Stub => Path::new(""),
        }
    }

    /// The name that it is listed under.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::File(entry) => &entry.file.name,
            Self::Stub => backend::STUB_MODEL,
        }
    }

    /// What is known of it without loading it.
    pub(super) fn info(&self) -> ModelInfo {
        let file = match self {
            Self::File(entry) => &entry.file,
            Self::Stub => {
                return ModelInfo {
                    name: backend::STUB_MODEL.to_owned(),
                    model_type: "stub".to_owned(),
                    source: "built in".to_owned(),
                    chat: true,
                    ..ModelInfo::default()
                };
            }
        };
        let summary = &file.summary;
        let missing = file.missing.first().and_then(|path| path.file_name());
        ModelInfo {
            name: file.name.clone(),
            size_bytes: file.size_bytes,
            model_type: summary.architecture.clone().unwrap_or_default(),
            parameter_count: summary.parameter_count,
            quantization: summary.quantization.clone(),
            context_length: summary.context_length.and_then(|n| u32::try_from(n).ok()),
            source: file.source.as_str().to_owned(),
            modified: jiff::Timestamp::try_from(file.modified).ok(),
            loaded: false,
            loading: None,
            chat: summary.has_chat_template,
            capabilities: Vec::new(),
            sha256: sha256(self.key()),
            problem: missing.map(|part| format!("its part {} is missing", part.to_string_lossy())),
        }
    }
}

/// The digest in the name of a file of Ollama's store (`sha256-…`) or of the Hugging Face cache,
/// whose names of large files are their bare digests.
fn sha256(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.file_name()?;
    let digits = name.strip_prefix("sha256-").unwrap_or(name);
    let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (folder == "blobs" && is_digest).then(|| digits.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_that_name_files_by_their_digest_save_computing_it() {
        let digits = "0123456789abcdef".repeat(4);
        let of = |path: String| sha256(Path::new(&path));
        assert_eq!(
            of(format!("/o/blobs/sha256-{digits}")),
            Some(digits.clone())
        );
        assert_eq!(of(format!("/hub/m/blobs/{digits}")), Some(digits.clone()));
        // A small file of that cache is named by another kind of digest.
        assert_eq!(of(format!("/hub/m/blobs/{}", &digits[..40])), None);
        assert_eq!(of(format!("/models/{digits}")), None);
        assert_eq!(of(format!("/o/blobs/sha256-{digits}-partial")), None);
        assert_eq!(of("/models/blobs/model.gguf".to_owned()), None);
    }
}
