//! What can go wrong before the first batch, one enum for what this engine does not know and one for
//! what is wrong with a file.

use std::path::PathBuf;

/// Why a model is not one for this engine, though another may run it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The file holds no model, or a part of one.
    #[error("{0} is not supported by the native engine")]
    File(&'static str),
    /// An architecture without a description here.
    #[error("the architecture {0} is not supported by the native engine")]
    Architecture(String),
    /// A tensor in a format without kernels.
    #[error("the tensor {tensor} is stored as {format}, which the native engine does not support")]
    Format {
        /// The tensor's name.
        tensor: String,
        /// The format's name or number.
        format: String,
    },
    /// A tensor that nothing here uses: the model does something that is not described.
    #[error("the tensor {0} is not known to the native engine")]
    Tensor(String),
    /// A setting with a value that nothing here implements.
    #[error("the setting {key} = {value} is not supported by the native engine")]
    Setting {
        /// The metadata key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A tokenizer, or the way it splits texts into words.
    #[error("the tokenizer {0} is not supported by the native engine")]
    Tokenizer(String),
}

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file's header is wrong.
    #[error("cannot read the model {}: {error}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: shimmy_models::GgufError,
    },
    /// The file could not be read, or there is no memory for its weights.
    #[error("cannot read the model {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// Whoever watched the progress did not want the model any more.
    #[error("loading the model {} was cancelled", path.display())]
    Cancelled {
        /// The file.
        path: PathBuf,
    },
    /// Another engine may run the model.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The file is damaged or not what its metadata say.
    #[error("the model {} is invalid: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: Fault,
    },
}

/// What is wrong with the content of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A metadata entry is missing or of another type.
    #[error("the metadata entry {0} is missing or not what it should be")]
    Key(String),
    /// A tensor is missing.
    #[error("the tensor {0} is missing")]
    Missing(String),
    /// A tensor has other dimensions than the metadata ask for.
    #[error("the tensor {0} has other dimensions than it should have")]
    Shape(String),
    /// The vocabulary contradicts itself.
    #[error("the vocabulary is damaged: {0}")]
    Vocabulary(&'static str),
    /// A tensor of an adapter changes something that adapters cannot change here.
    #[error("the adapter changes the tensor {0}, which is not possible here")]
    Adapter(String),
}
