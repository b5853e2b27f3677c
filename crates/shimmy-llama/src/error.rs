//! What can go wrong in llama.cpp, one enum for loading and one for computing. Reasons are
//! llama.cpp's own words, taken from its log.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use shimmy_engine::{RunnerError, Token};

/// Why a model, a context or an adapter could not be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LlamaError {
    /// llama.cpp could not load the model.
    #[error("cannot load the model {}: {reason}", path.display())]
    Load {
        /// The file, the first of its shards.
        path: PathBuf,
        /// What llama.cpp said.
        reason: String,
    },
    /// The progress callback asked for the end of loading.
    #[error("loading the model {} was cancelled", path.display())]
    LoadCancelled {
        /// The file.
        path: PathBuf,
    },
    /// A path with a NUL byte, which no file can have.
    #[error("the path {} contains a NUL byte", path.display())]
    PathWithNul {
        /// The path.
        path: PathBuf,
    },
    /// llama.cpp could not create a context, most often for want of memory.
    #[error("cannot create a context: {reason}")]
    Context {
        /// What llama.cpp said.
        reason: String,
    },
    /// Options that no context can have.
    #[error("invalid options: {0}")]
    Options(String),
    /// A model that cannot continue text token by token.
    #[error("the model {} cannot generate text: {reason}", path.display())]
    CannotGenerate {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// llama.cpp could not load the adapter, or it does not fit the model.
    #[error("cannot load the adapter {}: {reason}", path.display())]
    Adapter {
        /// The file.
        path: PathBuf,
        /// What llama.cpp said.
        reason: String,
    },
    /// The adapter was loaded for another model than the context's.
    #[error("the adapter {} belongs to another model", path.display())]
    AdapterOfOtherModel {
        /// The adapter's file.
        path: PathBuf,
    },
    /// A scale that is not a finite number.
    #[error("an adapter's scale must be a finite number, got {0}")]
    AdapterScale(f32),
}

/// Why a batch was not computed: one variant for each kind of `llama_decode`'s return codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No cells are left for the batch. Nothing was computed.
    #[error("the KV cache has no room for the batch")]
    CacheFull,
    /// The abort flag was set. Parts of the batch may be in the cache.
    #[error("the computation was aborted")]
    Aborted,
    /// The batch is malformed. Nothing was computed.
    #[error(transparent)]
    Invalid(#[from] InvalidBatch),
    /// The computation failed. Parts of the batch may be in the cache.
    #[error("the computation failed with code {code}: {reason}")]
    Failed {
        /// What `llama_decode` returned, less than -1 unless it is a code of the future.
        code: i32,
        /// What llama.cpp said.
        reason: String,
    },
}

/// What is wrong with a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBatch {
    /// It has no row.
    #[error("the batch is empty")]
    Empty,
    /// It has more rows than the context takes.
    #[error("the batch has {rows} rows, but the limit is {limit}")]
    TooManyRows {
        /// Rows of the batch.
        rows: usize,
        /// Most rows of a batch.
        limit: usize,
    },
    /// It asks for more outputs than the context has room for.
    #[error("the batch asks for {outputs} outputs, but the limit is {limit}")]
    TooManyOutputs {
        /// Rows that ask for output.
        outputs: usize,
        /// Most outputs of a batch.
        limit: usize,
    },
    /// A row has a token that is not in the vocabulary.
    #[error("row {row} has the token {token}, but the vocabulary has {vocabulary}")]
    UnknownToken {
        /// The row.
        row: usize,
        /// Its token.
        token: Token,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// A row has a sequence that the context does not have.
    #[error("row {row} has the sequence {sequence}, but the context has {sequences}")]
    UnknownSequence {
        /// The row.
        row: usize,
        /// Its sequence.
        sequence: u32,
        /// Sequences of the context.
        sequences: usize,
    },
    /// A row has a position that llama.cpp cannot count to.
    #[error("row {row} has the position {position}, which is too far")]
    PositionTooFar {
        /// The row.
        row: usize,
        /// Its position.
        position: u32,
    },
    /// llama.cpp found the batch inconsistent, as when a position is left out.
    #[error("llama.cpp refused the batch: {0}")]
    Refused(String),
}

impl From<DecodeError> for RunnerError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::CacheFull => Self::CacheFull,
            DecodeError::Aborted => Self::Aborted,
            DecodeError::Invalid(_) => Self::InvalidBatch,
            DecodeError::Failed { .. } => Self::Failed(error.to_string()),
        }
    }
}

/// A path as llama.cpp takes it: bytes on Unix, UTF-8 on Windows, no NUL inside.
pub(crate) fn c_path(path: &Path) -> Result<CString, LlamaError> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| LlamaError::PathWithNul {
        path: path.to_owned(),
    })
}
