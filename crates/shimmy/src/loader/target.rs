//! What a name means: a model file, or the deterministic engine.
//!
//! Owns what is known of it without loading it; must not know how it was found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shimmy_models::{Capability as Found, ModelFile};
use shimmy_server::{Capability, ModelInfo};

use crate::backend;

/// A model file in the catalog.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) file: ModelFile,
    /// The file that its path leads to in the end: the same for every name and link it has. Of a
    /// model that its store makes of several files, the names of those are added.
    pub(super) key: PathBuf,
    /// Whether it is the base model, which the configured adapters belong to.
    pub(super) is_base: bool,
}

impl Entry {
    /// Blocks on the disk, to follow links.
    pub(super) fn new(file: ModelFile, is_base: bool) -> Self {
        let key = file.path.canonicalize();
        // A file that has just gone away is still told apart by its path.
        let mut key = key.unwrap_or_else(|_| file.path.clone());
        // With what its store adds, one file may be several models.
        let companions = &file.companions;
        let parts = [
            &companions.template,
            &companions.system,
            &companions.params,
            &companions.messages,
        ];
        for part in companions
            .adapters
            .iter()
            .chain(parts.into_iter().flatten())
        {
            key.push(part.file_name().unwrap_or_default());
        }
        Self { key, file, is_base }
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
            aliases: file.aliases.clone(),
            capabilities: capabilities(file),
            families: file.families(),
            sha256: file
                .digest
                .as_deref()
                .and_then(|digest| Some(digest.strip_prefix("sha256:")?.to_owned())),
            problem: missing.map(|part| format!("its part {} is missing", part.to_string_lossy())),
        }
    }
}

/// What it can do beside continuing texts, in the server's words.
fn capabilities(file: &ModelFile) -> Vec<Capability> {
    let found = file.summary.capabilities.iter();
    found
        .filter_map(|found| match found {
            // No engine here shows a model pictures, whatever it was made for.
            Found::Completion | Found::Vision => None,
            Found::Tools => Some(Capability::Tools),
            Found::Insert => Some(Capability::Insert),
            Found::Embedding => Some(Capability::Embedding),
            Found::Rerank => Some(Capability::Rerank),
            Found::Thinking => Some(Capability::Thinking),
        })
        .collect()
}
