//! How the native and Ollama's dialects spell errors: `{"error": "text", …}`.

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::error::ApiError;

/// The body of a failed response: the text, and beside it the field and the facts, if any.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    /// What went wrong, for people.
    #[schema(example = "model 'x' not found")]
    error: String,
    /// The field of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<String>,
    /// Facts by name: `suggestions`, `prompt_tokens`, `context_length`, …
    #[serde(flatten)]
    details: Map<String, Value>,
}

/// The body as JSON.
pub(crate) fn body(error: &ApiError) -> Value {
    let details = error.details.iter();
    json!(ErrorBody {
        error: error.message.clone(),
        param: error.param.clone(),
        details: details
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
    })
}
