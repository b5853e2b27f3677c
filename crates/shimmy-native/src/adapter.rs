//! LoRA adapters: pairs of thin matrices whose product is added to a weight. Owns their files' form.

use std::path::{Path, PathBuf};

use shimmy_models::Metadata;
use shimmy_models::gguf::Value;

use crate::error::Fault;
use crate::kernels::{Floats, LowRank};
use crate::model::{Model, ModelFile, Origin};
use crate::quant::{self, Kind};

/// Why an adapter could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The file's header is wrong.
    #[error("cannot read the adapter {}: {error}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: shimmy_models::GgufError,
    },
    /// The file could not be read.
    #[error("cannot read the adapter {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// The file holds no LoRA adapter, or one for another architecture.
    #[error("{} is not a LoRA adapter for a model of the architecture {architecture}", path.display())]
    NotForModel {
        /// The file.
        path: PathBuf,
        /// The model's architecture.
        architecture: String,
    },
    /// The adapter does not fit the model.
    #[error("the adapter {} does not fit the model: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: Fault,
    },
}

/// A loaded adapter.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// By the number of the matrix that they change.
    pairs: Vec<Option<Pair>>,
}

/// `B × A`, which is added to a weight.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) matrices: LowRank,
    /// The file's own scale, to which a request's comes.
    pub(crate) scale: f32,
}

impl Adapter {
    /// Loads an adapter for a model. Blocks until its file is read.
    pub(crate) fn load(model: &Model, path: &Path) -> Result<Self, AdapterError> {
        let path = || path.to_owned();
        let metadata = Metadata::open(&path()).map_err(|error| AdapterError::Gguf {
            path: path(),
            error,
        })?;
        let kind = metadata.get("adapter.type").and_then(Value::as_str);
        let fits = metadata.architecture() == model.architecture();
        if !metadata.is_adapter() || kind != Some("lora") || !fits {
            return Err(AdapterError::NotForModel {
                path: path(),
                architecture: model.architecture().to_owned(),
            });
        }
        let file = ModelFile::open(&path()).map_err(|error| AdapterError::Io {
            path: path(),
            error,
        })?;
        let reader = Reader {
            metadata: &metadata,
            file: &file,
        };
        let pairs = reader
            .pairs(&model.origins)
            .map_err(|reason| AdapterError::Invalid {
                path: path(),
                reason,
            })?;
        Ok(Self { pairs })
    }

    /// What is added to the matrix of this number.
    pub(crate) fn pair(&self, matrix: usize) -> Option<&Pair> {
        self.pairs.get(matrix)?.as_ref()
    }
}

struct Reader<'a> {
    metadata: &'a Metadata,
    file: &'a ModelFile,
}

impl Reader<'_> {
    fn pairs(&self, origins: &[Origin]) -> Result<Vec<Option<Pair>>, Fault> {
        for tensor in self.metadata.tensors() {
            let weight = tensor.name.rsplit_once(".lora_").map(|(weight, _)| weight);
            let mut origins = origins.iter();
            let origin = origins.find(|origin| Some(origin.tensor.as_str()) == weight);
            // An adapter of experts has matrices for each of them.
            if origin.is_none_or(|origin| origin.is_of_experts) {
                return Err(Fault::Adapter(tensor.name.clone()));
            }
        }
        let alpha = self
            .metadata
            .get("adapter.lora.alpha")
            .and_then(Value::as_f64);
        let alpha = alpha.unwrap_or(0.0) as f32;
        origins
            .iter()
            .map(|origin| self.pair(origin, alpha))
            .collect()
    }

    fn pair(&self, origin: &Origin, alpha: f32) -> Result<Option<Pair>, Fault> {
        // Tied output weights are the token embeddings, which adapters change in another way.
        let names = ["a", "b"].map(|part| format!("{}.lora_{part}", origin.tensor));
        let [Some(a), Some(b)] = [&names[0], &names[1]].map(|name| self.find(name)) else {
            return match names.iter().any(|name| self.find(name).is_some()) {
                true => Err(Fault::Missing(names.join(" or "))),
                false => Ok(None),
            };
        };
        if origin.tensor == "token_embd.weight" {
            return Err(Fault::Adapter(origin.tensor.clone()));
        }
        let (inputs, rank) = self.dimensions(a);
        let (inner, all_outputs) = self.dimensions(b);
        let is_flat = |tensor: usize| self.metadata.tensors()[tensor].dims[2..] == [1, 1];
        let fits = inputs == origin.inputs
            && inner == rank
            && origin.rows.end <= all_outputs
            && is_flat(a)
            && is_flat(b);
        if !fits || rank == 0 || rank > 4096 {
            return Err(Fault::Shape(names[0].clone()));
        }
        let a = self
            .floats(a)
            .ok_or_else(|| Fault::Shape(names[0].clone()))?;
        let mut b = self
            .floats(b)
            .ok_or_else(|| Fault::Shape(names[1].clone()))?;
        let outputs = origin.rows.len();
        let row_bytes = b.kind.row_bytes(rank);
        b.values.truncate(origin.rows.end * row_bytes);
        b.values.drain(..origin.rows.start * row_bytes);
        Ok(Some(Pair {
            matrices: LowRank::new(a, &b, inputs, outputs),
            // Without an alpha, a scale is all there is.
            scale: if alpha == 0.0 {
                1.0
            } else {
                alpha / rank as f32
            },
        }))
    }

    fn find(&self, name: &str) -> Option<usize> {
        let mut tensors = self.metadata.tensors().iter();
        tensors.position(|tensor| tensor.name == name)
    }

    fn dimensions(&self, tensor: usize) -> (usize, usize) {
        let dims = self.metadata.tensors()[tensor].dims;
        (dims[0] as usize, dims[1] as usize)
    }

    /// All values of a tensor, as they are stored if they are floats; none if they are stored in an
    /// unknown form.
    fn floats(&self, tensor: usize) -> Option<Floats> {
        let kind = Kind::new(self.metadata.tensors()[tensor].kind)?;
        let (columns, rows) = self.dimensions(tensor);
        let data = self.file.tensor(self.metadata, tensor)?;
        let bytes = kind.row_bytes(columns);
        let data = data.get(..bytes.checked_mul(rows)?)?;
        if bytes == 0 {
            return None;
        }
        if kind.is_float() {
            let values = data.to_vec();
            return Some(Floats { kind, values });
        }
        let mut row = vec![0.0; columns];
        let mut values = Vec::new();
        for data in data.chunks_exact(bytes) {
            quant::dequantize(kind, data, &mut row);
            values.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        }
        let kind = Kind::F32;
        Some(Floats { kind, values })
    }
}
