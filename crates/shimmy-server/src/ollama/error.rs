//! How Ollama spells errors: one text.

use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::ApiError;

/// The body of a failed response. (Described here; written by [`body`].)
#[derive(ToSchema)]
#[schema(as = OllamaError)]
pub(crate) struct ErrorBody {
    /// What went wrong, for people.
    #[schema(example = "model 'x' not found")]
    #[expect(dead_code, reason = "only described")]
    error: String,
}

/// The body of a failed response, and the last line of a stream that fails.
pub(crate) fn body(error: &ApiError) -> Value {
    json!({ "error": error.message })
}
