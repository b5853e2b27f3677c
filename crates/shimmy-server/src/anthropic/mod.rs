//! Anthropic's dialect: messages, their tokens, and the model list in its shape.

mod answer;
mod blocks;
mod content;
pub(crate) mod error;
pub(crate) mod messages;
pub(crate) mod models;
mod request;
mod stream;
mod tools;

use crate::failures::Guarded;
use crate::native::error::ErrorBody;
use axum::Json;
use serde_json::{Value, json};

/// Whether a path is this dialect's, its errors included.
pub(crate) fn owns(path: &str) -> bool {
    path == "/v1/messages" || path.starts_with("/v1/messages/")
}

/// Whether anybody is there, as Claude Code asks
#[utoipa::path(
    get, path = "/api/hello", tag = "Anthropic", operation_id = "anthropicHello",
    responses(
        (status = 200, description = "The answer.", body = Object),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn hello() -> Json<Value> {
    Json(json!({ "message": "hello" }))
}
