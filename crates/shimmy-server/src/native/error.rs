//! How the native and Ollama's dialects spell errors: `{"error": "text", …}`.

use serde_json::{Value, json};

use crate::error::ApiError;

/// The body of a failed response: the text, and beside it the field and the facts, if any.
pub(crate) fn body(error: &ApiError) -> Value {
    let mut body = json!({ "error": error.message });
    if let Some(param) = &error.param {
        body["param"] = json!(param);
    }
    for (name, value) in &error.details {
        body[*name] = value.clone();
    }
    body
}
