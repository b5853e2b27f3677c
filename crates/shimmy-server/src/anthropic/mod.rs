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
use serde::Serialize;
use utoipa::ToSchema;

/// Whether a path is this dialect's, its errors included.
pub(crate) fn owns(path: &str) -> bool {
    path == "/v1/messages" || path.starts_with("/v1/messages/")
}

/// What a client that asks whether anybody is there is told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnthropicGreeting)]
pub(crate) struct Greeting {
    message: &'static str,
}

/// Whether anybody is there, as Claude Code asks
#[utoipa::path(
    get, path = "/api/hello", tag = "Anthropic", operation_id = "anthropicHello",
    responses(
        (status = 200, description = "The answer.", body = Greeting),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn hello() -> Json<Greeting> {
    Json(Greeting { message: "hello" })
}
