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
use axum::extract::Request;
use serde::Serialize;
use utoipa::ToSchema;

/// Whether a request is in this dialect, its failure included: by its path or, where the paths are
/// OpenAI's too, by what its client says of itself.
pub(crate) fn speaks(request: &Request) -> bool {
    let path = request.uri().path();
    let within = |root: &str| {
        let rest = path.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within("/v1/messages") || (within("/v1/models") && models::is_client(request.headers()))
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
