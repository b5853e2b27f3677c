//! What a header says about a model. Owns the meaning of the well-known keys; must not know how
//! they are laid out in the file.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::header::Header;
use super::{GgufError, TensorInfo, Value, file_type};
use crate::capability;
use crate::text::quoted;

/// The most layers that llama.cpp has room for; it aborts the process at more.
const MAX_LAYERS: u64 = 512;

/// What a GGUF file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// Weights that generate text, or embeddings of it.
    Model,
    /// A LoRA adapter, to be used on top of a model.
    Adapter,
    /// The vision or audio part of a model (`mmproj`).
    Projector,
    /// Anything else, such as an importance matrix or a control vector.
    Other,
}

/// Which part of a model that is split over several files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The part's number, from 0.
    pub number: u64,
    /// How many parts there are.
    pub count: u64,
}

/// The metadata and the tensor table of one GGUF file. Every tensor is known to lie within the
/// file, and every well-known key to have a usable type.
#[derive(Debug)]
pub struct Metadata {
    header: Header,
    architecture: String,
}

impl Metadata {
    /// Reads and checks the file at `path`; blocks on the disk, for a few milliseconds at most.
    /// The caller makes sure that the path is a regular file: a pipe would block for ever.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::read(File::open(path)?)
    }

    /// Reads and checks a header from the beginning of `reader`. Allocates at most about 16 MiB,
    /// whatever the content.
    pub fn read(reader: impl Read + Seek) -> Result<Self, GgufError> {
        let header = Header::read(reader)?;
        let mut metadata = Self {
            header,
            architecture: String::new(),
        };
        metadata.check_types()?;
        metadata.architecture = metadata.find_architecture()?;
        metadata.check_sizes()?;
        Ok(metadata)
    }

    /// The version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.header.entries.get(key)
    }

    /// All metadata entries.
    pub fn entries(&self) -> &BTreeMap<String, Value> {
        &self.header.entries
    }

    /// The tensor table, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// Where the tensors' data starts, in bytes from the beginning of the file.
    pub fn data_start(&self) -> u64 {
        self.header.data_start
    }

    /// The architecture, such as `llama`. Empty only in the later parts of a split model, which
    /// need not repeat it.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The name that its makers gave the model, `general.name`.
    pub fn name(&self) -> Option<&str> {
        self.text("general.name")
    }

    /// What the file is for.
    pub fn file_kind(&self) -> FileKind {
        match (self.text("general.type"), self.architecture()) {
            (Some("adapter"), _) => FileKind::Adapter,
            (Some("mmproj"), _) | (_, "clip") => FileKind::Projector,
            (None | Some("model"), _) => FileKind::Model,
            (Some(_), _) => FileKind::Other,
        }
    }

    /// Whether this is a LoRA adapter.
    pub fn is_adapter(&self) -> bool {
        self.file_kind() == FileKind::Adapter
    }

    /// How many weights the tensors of this file hold.
    pub fn parameter_count(&self) -> u64 {
        let sizes = self.tensors().iter().map(TensorInfo::elements);
        sizes.fold(0, u64::saturating_add)
    }

    /// The label of the quantisation, such as `Q4_K_M`: what the file says, or else the type of
    /// most of its weights.
    pub fn quantization(&self) -> Option<&'static str> {
        self.number("general.file_type")
            .and_then(file_type::label)
            .or_else(|| self.commonest_type())
    }

    /// The longest context that the model was made for, in tokens.
    pub fn context_length(&self) -> Option<u64> {
        self.own_number("context_length")
    }

    /// The width of the embeddings.
    pub fn embedding_length(&self) -> Option<u64> {
        self.own_number("embedding_length")
    }

    /// The number of layers.
    pub fn layer_count(&self) -> Option<u64> {
        self.own_number("block_count")
    }

    /// The chat template (Jinja), if the model brings one.
    pub fn chat_template(&self) -> Option<&str> {
        self.text("tokenizer.chat_template")
    }

    /// Whether the model reads texts as a whole and keeps nothing of them: it has no cache.
    pub fn is_encoder(&self) -> bool {
        capability::is_encoder(self)
    }

    /// Whether the model was trained to fill a gap between two texts.
    pub fn fills_gaps(&self) -> bool {
        let keys = ["fim_pre_token_id", "prefix_token_id"];
        let has = |key: &&str| self.get(&format!("tokenizer.ggml.{key}")).is_some();
        self.header.has_gap_token || keys.iter().any(has)
    }

    /// The names of the models that this one was made from or, for an adapter, for.
    pub fn base_models(&self) -> Vec<&str> {
        let count = self.number("general.base_model.count").unwrap_or(0);
        // A file's count is not believed: the names end where the keys do.
        (0..count)
            .map_while(|index| self.text(&format!("general.base_model.{index}.name")))
            .collect()
    }

    /// Which part of a split model this is; none of a model in one file.
    pub fn split(&self) -> Option<Split> {
        let count = self.number("split.count").filter(|&count| count > 1)?;
        let number = self.number("split.no").unwrap_or(0);
        Some(Split { number, count })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(Value::as_u64)
    }

    /// A number among the keys that begin with the architecture's name.
    pub(crate) fn own_number(&self, key: &str) -> Option<u64> {
        self.number(&format!("{}.{key}", self.architecture))
    }

    fn commonest_type(&self) -> Option<&'static str> {
        let mut weights = HashMap::new();
        for tensor in self.tensors() {
            let sum: &mut u64 = weights.entry(tensor.kind).or_default();
            *sum = sum.saturating_add(tensor.elements());
        }
        // Among equals the lowest number, so that the answer does not depend on a hash.
        let most = weights
            .into_iter()
            .max_by_key(|(kind, sum)| (*sum, u32::MAX - kind.number()))?;
        most.0.name()
    }

    /// Checks the keys whose names do not depend on the architecture.
    fn check_types(&self) -> Result<(), GgufError> {
        for key in ["general.architecture", "general.name", "general.type"] {
            self.expect_text(key)?;
        }
        self.expect_text("tokenizer.chat_template")?;
        for key in ["general.file_type", "split.no", "split.count"] {
            self.expect_number(key)?;
        }
        Ok(())
    }

    fn find_architecture(&self) -> Result<String, GgufError> {
        if let Some(architecture) = self.text("general.architecture") {
            return Ok(architecture.to_owned());
        }
        match self.split() {
            Some(split) if split.number > 0 => Ok(String::new()),
            _ => Err(GgufError::MissingKey("general.architecture")),
        }
    }

    fn check_sizes(&self) -> Result<(), GgufError> {
        for key in ["context_length", "embedding_length", "block_count"] {
            self.expect_number(&format!("{}.{key}", self.architecture))?;
        }
        match self.layer_count() {
            Some(layers) if layers > MAX_LAYERS => Err(GgufError::TooManyLayers {
                layers,
                limit: MAX_LAYERS,
            }),
            _ => Ok(()),
        }
    }

    fn expect_text(&self, key: &str) -> Result<(), GgufError> {
        self.expect(key, "a text", |value| {
            matches!(value, Value::String(_) | Value::LongString { .. })
        })
    }

    fn expect_number(&self, key: &str) -> Result<(), GgufError> {
        self.expect(key, "a whole number from 0", |value| {
            value.as_u64().is_some()
        })
    }

    fn expect(
        &self,
        key: &str,
        expected: &'static str,
        is_usable: impl Fn(&Value) -> bool,
    ) -> Result<(), GgufError> {
        match self.get(key) {
            Some(value) if !is_usable(value) => Err(GgufError::WrongType {
                key: quoted(key),
                expected,
                found: value.kind(),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
