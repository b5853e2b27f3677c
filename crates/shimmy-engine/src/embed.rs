//! Vectors of texts: what a model makes of a text as a whole.

use serde::{Deserialize, Serialize};

use crate::error::{GenerateError, SubmitError};

/// How the tokens of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean of all tokens.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// A score instead of a vector: how well two texts go together.
    Rank,
}

/// A vector for each text, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// As the model gives them, not normalised; one number each where the model ranks.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of each text.
    pub tokens: Vec<u32>,
}

/// Why there are no vectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The request was not taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The engine failed on it.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// This model, or this backend, makes none.
    #[error("this model makes no {0}")]
    Unsupported(&'static str),
}
