//! How this dialect spells errors.

use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorKind};

/// The body of a failed response. (Described here; written by [`body`].)
#[derive(ToSchema)]
#[schema(as = AnthropicError)]
#[expect(dead_code, reason = "only described")]
pub(crate) struct ErrorBody {
    /// Always `error`.
    #[schema(rename = "type")]
    kind: String,
    error: ErrorObject,
    /// As in the header `request-id`.
    request_id: Option<String>,
}

/// What went wrong.
#[derive(ToSchema)]
#[schema(as = AnthropicErrorObject)]
#[expect(dead_code, reason = "only described")]
struct ErrorObject {
    #[schema(rename = "type")]
    kind: String,
    /// For people.
    message: String,
}

/// The body of a failed response, and the data of a stream's `error` event.
pub(crate) fn body(error: &ApiError) -> Value {
    json!({
        "type": "error",
        "error": { "type": kind(error.kind), "message": message(error) },
    })
}

/// The vendor's closed set of words, the nearest for each status.
fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unauthorized => "authentication_error",
        ErrorKind::Forbidden => "permission_error",
        ErrorKind::NotFound | ErrorKind::ModelNotFound => "not_found_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::QueueFull => "rate_limit_error",
        ErrorKind::Busy | ErrorKind::Unavailable => "overloaded_error",
        kind if kind.status().is_server_error() => "api_error",
        _ => "invalid_request_error",
    }
}

/// Agents look for these very words to know that a conversation has to be made shorter.
fn message(error: &ApiError) -> String {
    let number = |name| error.detail(name).and_then(Value::as_u64);
    match (number("prompt_tokens"), number("context_length")) {
        (Some(got), Some(limit)) if error.kind == ErrorKind::ContextLength => {
            format!("prompt is too long: {got} tokens > {limit} maximum")
        }
        (None, Some(_)) if error.kind == ErrorKind::ContextLength => {
            format!("prompt is too long: {}", error.message)
        }
        _ => error.message_with_suggestions(),
    }
}
