//! How llama-server spells errors: a number, a text and a kind.

use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorKind};

/// The body of a failed response. (Described here; written by [`body`].)
#[derive(ToSchema)]
#[schema(as = LlamaServerError)]
pub(crate) struct ErrorBody {
    #[expect(dead_code, reason = "only described")]
    error: ErrorObject,
}

/// What went wrong.
#[derive(ToSchema)]
#[schema(as = LlamaServerErrorObject)]
#[expect(dead_code, reason = "only described")]
struct ErrorObject {
    /// The status.
    code: u16,
    /// For people.
    message: String,
    #[schema(rename = "type")]
    kind: String,
}

/// The body of a failed response, and of a stream's error frame.
pub(crate) fn body(error: &ApiError) -> Value {
    let mut body = json!({
        "code": error.kind.status().as_u16(),
        "message": error.message,
        "type": kind(error.kind),
    });
    // Both numbers, by the names that its clients look for.
    for (detail, name) in [
        ("prompt_tokens", "n_prompt_tokens"),
        ("context_length", "n_ctx"),
    ] {
        if let Some((_, value)) = error.details.iter().find(|(key, _)| *key == detail) {
            body[name] = value.clone();
        }
    }
    json!({ "error": body })
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ContextLength => "exceed_context_size_error",
        ErrorKind::Unauthorized => "authentication_error",
        ErrorKind::Forbidden => "permission_error",
        ErrorKind::NotFound | ErrorKind::ModelNotFound => "not_found_error",
        ErrorKind::QueueFull | ErrorKind::Busy | ErrorKind::Unavailable => "unavailable_error",
        kind if kind.status().is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}
