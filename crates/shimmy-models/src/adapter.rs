//! One LoRA adapter. Owns what is known of it before it is loaded, and whether it fits a model;
//! must not know how it was found.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::error::{ModelError, read_file};
use crate::gguf::{Metadata, TensorInfo, Value};
use crate::roots::Source;
use crate::text::quoted;
use crate::{ModelFile, names, serial};

/// A LoRA adapter on disk.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterFile {
    /// What clients call it. Unique within one discovery.
    pub name: String,
    /// The file to load.
    #[serde(serialize_with = "serial::path")]
    pub path: PathBuf,
    /// The file's size.
    pub size_bytes: u64,
    /// Where it was found.
    pub source: Source,
    /// The architecture of the models that it was made for.
    pub architecture: String,
    /// The name that its makers gave it.
    pub title: Option<String>,
    /// The names of the models that it was made for, if it says so.
    pub base_models: Vec<String>,
    /// The models found beside it that it belongs to, by name. Empty but in a discovery.
    pub bases: Vec<String>,
    /// LoRA's scaling numerator, if it says so.
    pub alpha: Option<f64>,
    /// When the file was last changed.
    #[serde(serialize_with = "serial::seconds")]
    pub modified: SystemTime,
    #[serde(skip)]
    tensors: Vec<TensorInfo>,
}

/// Why an adapter does not fit a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseMismatch {
    /// It was made for another architecture.
    #[error("the adapter is for the architecture {adapter}, the model's is {base}")]
    Architecture {
        /// The adapter's, quoted.
        adapter: String,
        /// The model's, quoted.
        base: String,
    },
    /// It changes a tensor that the model lacks.
    #[error("the adapter changes the tensor {tensor}, which the model does not have")]
    MissingTensor {
        /// The model's tensor, quoted.
        tensor: String,
    },
    /// It changes a tensor that has other dimensions in the model.
    #[error("the adapter's {tensor} has other dimensions than the model's")]
    Shape {
        /// The model's tensor, quoted.
        tensor: String,
    },
}

impl AdapterFile {
    /// The adapter at a path that someone gave. Blocks on the disk, for a few milliseconds.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::read(path, Source::Given)
    }

    /// The adapter that the file at `path` is.
    pub(crate) fn read(path: &Path, source: Source) -> Result<Self, ModelError> {
        let (metadata, facts) = read_file(path)?;
        let kind = metadata.get("adapter.type").and_then(Value::as_str);
        if !metadata.is_adapter() || kind != Some("lora") {
            return Err(ModelError::NotAnAdapter {
                path: path.to_owned(),
            });
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let bases = metadata.base_models();
        Ok(Self {
            name: names::from_stem(&stem),
            path: path.to_owned(),
            size_bytes: facts.len(),
            source,
            architecture: metadata.architecture().to_owned(),
            title: metadata.name().map(ToOwned::to_owned),
            base_models: bases.into_iter().map(ToOwned::to_owned).collect(),
            bases: Vec::new(),
            alpha: metadata.get("adapter.lora.alpha").and_then(Value::as_f64),
            modified: facts.modified().unwrap_or(UNIX_EPOCH),
            tensors: metadata.tensors().to_vec(),
        })
    }

    /// Whether the adapter belongs to a model, as far as both say so: by the architecture, by the
    /// width and the number of layers that it changes, and by the name of its base if it has one.
    /// [`AdapterFile::matches_base`] has the last word, before a load.
    pub(crate) fn belongs_to(&self, model: &ModelFile) -> bool {
        let summary = &model.summary;
        if summary.architecture.as_ref() != Some(&self.architecture) {
            return false;
        }
        let (width, layers) = self.shape();
        let fits = |own: Option<u64>, theirs: Option<u64>| match (own, theirs) {
            (Some(own), Some(theirs)) => own == theirs,
            _ => true,
        };
        if !fits(width, summary.embedding_length) || layers > summary.layer_count.unwrap_or(layers)
        {
            return false;
        }
        let mut theirs = summary
            .title
            .iter()
            .chain(&summary.base_models)
            .chain([&model.name]);
        self.base_models.is_empty()
            || theirs.any(|name| self.base_models.iter().any(|base| is_same_name(base, name)))
    }

    /// The width of the embeddings and the number of layers of its base, as its tensors tell.
    fn shape(&self) -> (Option<u64>, u64) {
        let block = |tensor: &TensorInfo| {
            let (number, part) = tensor.name.strip_prefix("blk.")?.split_once('.')?;
            Some((
                number.parse::<u64>().ok()?,
                part == "attn_q.weight.lora_a",
                tensor.dims[0],
            ))
        };
        let blocks = self.tensors.iter().filter_map(block);
        blocks.fold((None, 0), |(width, layers), (number, is_query, inputs)| {
            let width = width.or(is_query.then_some(inputs));
            (width, layers.max(number.saturating_add(1)))
        })
    }

    /// Whether the adapter fits the model whose (first) file has this metadata: the architecture,
    /// and the dimensions of every tensor that it changes, as far as the file holds them.
    pub fn matches_base(&self, base: &Metadata) -> Result<(), BaseMismatch> {
        if self.architecture != base.architecture() {
            return Err(BaseMismatch::Architecture {
                adapter: quoted(&self.architecture),
                base: quoted(base.architecture()),
            });
        }
        for tensor in &self.tensors {
            // A pair turns inputs into few numbers (A) and these into outputs (B). For the token
            // embeddings llama.cpp wants A and B the other way round; it checks those itself.
            let (weight, dimension) = match tensor.name.rsplit_once(".lora_") {
                Some(("token_embd.weight", _)) => continue,
                Some((weight, "a")) => (weight, 0),
                Some((weight, "b")) => (weight, 1),
                _ => continue,
            };
            match base.tensors().iter().find(|other| other.name == weight) {
                Some(other) if other.dims[dimension] == tensor.dims[dimension] => {}
                Some(_) => {
                    let tensor = quoted(weight);
                    return Err(BaseMismatch::Shape { tensor });
                }
                // It may be in another part.
                None if base.split().is_some() => {}
                None => {
                    let tensor = quoted(weight);
                    return Err(BaseMismatch::MissingTensor { tensor });
                }
            }
        }
        Ok(())
    }
}

/// Names of one model are written in many ways: `Llama 3.2 1B Instruct`, `llama-3.2-1b-instruct`.
fn is_same_name(left: &str, right: &str) -> bool {
    let plain = |text: &str| {
        let letters = text.chars().filter(|letter| letter.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect::<String>()
    };
    plain(left) == plain(right)
}
