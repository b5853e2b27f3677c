//! One error type per crossing: the backend's, the entrance's, the stream's.

use serde::{Deserialize, Serialize};

/// Why a backend could not compute a batch.
///
/// The engine reacts to each: see `run/recover.rs`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunnerError {
    /// The KV cache has no room for the batch. Nothing was computed.
    #[error("the KV cache has no room for this batch")]
    CacheFull,
    /// The computation was aborted between two parts of the batch.
    #[error("the computation was aborted")]
    Aborted,
    /// The backend refused the batch as malformed. Nothing was computed.
    #[error("the backend refused the batch as malformed")]
    InvalidBatch,
    /// The computation failed; the cache is in an unknown state until [`reset`].
    ///
    /// [`reset`]: crate::Runner::reset
    #[error("the backend failed to compute the batch: {0}")]
    Failed(String),
}

/// A parameter that no generation can honour, by the name its user gave it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("`{field}` {reason}")]
pub struct InvalidParameter {
    /// The field's name on the wire.
    pub field: String,
    /// What is wrong with it, as the end of a sentence: "must be between 0 and 2, got 3".
    pub reason: String,
}

impl InvalidParameter {
    /// A complaint about `field`; `reason` continues the sentence that starts with its name.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// Text that the vocabulary cannot represent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text cannot be tokenised: {0}")]
pub struct TokenizeError(pub String);

/// Why a request was not taken. Nothing was computed for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many requests as configured are already waiting.
    #[error("the queue is full: {limit} requests are already waiting")]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {got} tokens, but the model's context holds {limit} (one is needed for the answer)"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        got: usize,
        /// Tokens of the context.
        limit: usize,
    },
    /// The prompt is so much too long that nobody counted all of it.
    #[error(
        "the prompt has at least {at_least} tokens, but the model's context holds {limit} (one is needed for the answer)"
    )]
    PromptFarTooLong {
        /// Tokens that it has in any case.
        at_least: usize,
        /// Tokens of the context.
        limit: usize,
    },
    /// A text to embed is longer than the model can take at once.
    #[error("the text has {got} tokens, but at most {limit} can be embedded")]
    TextTooLong {
        /// Tokens of the text.
        got: usize,
        /// Tokens that can be embedded.
        limit: usize,
    },
    /// A text to embed is so much too long that nobody counted all of it.
    #[error("the text has at least {at_least} tokens, but at most {limit} can be embedded")]
    TextFarTooLong {
        /// Tokens that it has in any case.
        at_least: usize,
        /// Tokens that can be embedded.
        limit: usize,
    },
    /// The model has no way to continue a text.
    #[error("the model does not generate text; it only makes embeddings")]
    CannotGenerate,
    /// The prompt has no token at all.
    #[error("the prompt is empty")]
    PromptEmpty,
    /// A parameter is out of its bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
    /// The prompt cannot be tokenised.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The engine is shutting down or has stopped.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

/// Why a generation that had been taken ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum GenerateError {
    /// The backend failed on a batch this request was part of.
    #[error("generation failed: {0}")]
    Backend(String),
    /// The request alone needs more cache than the engine has.
    #[error("the KV cache is exhausted: {needed} tokens needed, {cells} cells in all")]
    CacheExhausted {
        /// Tokens the sequence holds.
        needed: usize,
        /// Cells of the whole cache.
        cells: usize,
    },
    /// It waited longer for its turn than is configured.
    #[error("the request waited more than {seconds} s for its turn")]
    QueueTimeout {
        /// The configured limit.
        seconds: u64,
    },
    /// Its time was over before there was anything to show for it.
    #[error("the request was not done within {milliseconds} ms")]
    OutOfTime {
        /// The time that it had.
        milliseconds: u64,
    },
    /// The output can no longer satisfy the grammar or schema.
    #[error("constrained output failed: {0}")]
    Constraint(String),
    /// The engine stopped, by shutdown or by a fault, before the answer was complete.
    #[error("the engine stopped before the answer was complete")]
    EngineStopped,
}

/// Why an adapter was not loaded or unloaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// The backend cannot load it.
    #[error("the adapter cannot be loaded: {0}")]
    Failed(String),
    /// The engine is shutting down or has stopped.
    #[error("the engine is shutting down")]
    EngineStopped,
}
