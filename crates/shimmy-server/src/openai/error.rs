//! How OpenAI's dialects spell errors: four keys, always all of them.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorKind};

/// The body of a failed response, and of a stream's error frame.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiError)]
pub(crate) struct ErrorBody {
    error: ErrorObject,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiErrorObject)]
pub(crate) struct ErrorObject {
    /// For people.
    #[schema(example = "model 'x' not found")]
    message: String,
    #[serde(rename = "type")]
    #[schema(example = "invalid_request_error")]
    kind: &'static str,
    /// The field of the request that is wrong.
    #[schema(example = "model")]
    param: Option<String>,
    /// For programs; only what they may act on has one.
    #[schema(example = "model_not_found")]
    code: Option<&'static str>,
}

/// The body as JSON.
pub(crate) fn body(error: &ApiError) -> Value {
    json!(ErrorBody {
        error: ErrorObject {
            message: error.message_with_suggestions(),
            kind: kind(error.kind),
            param: error.param.clone(),
            code: code(error.kind),
        }
    })
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unauthorized => "authentication_error",
        ErrorKind::Forbidden => "permission_error",
        ErrorKind::QueueFull => "rate_limit_error",
        kind if kind.status().is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

/// The codes that clients look for; the rest is told by status and message.
fn code(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::ContextLength => Some("context_length_exceeded"),
        ErrorKind::ModelNotFound => Some("model_not_found"),
        ErrorKind::Unauthorized => Some("invalid_api_key"),
        ErrorKind::PreviousResponseNotFound => Some("previous_response_not_found"),
        ErrorKind::ConnectionLimit => Some("websocket_connection_limit_reached"),
        ErrorKind::QueueFull => Some("queue_full"),
        ErrorKind::LoadFailed => Some("load_failed"),
        ErrorKind::GenerationFailed => Some("generation_failed"),
        _ => None,
    }
}
