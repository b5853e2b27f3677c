//! `GET /` and `GET /api/version`: what Ollama's clients ask to see who is there.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::Speaks;
use super::error::ErrorBody;
use crate::failures::Guarded;

/// The version of Ollama whose API this is. Clients compare it with the first one that had what
/// they need, so our own number, which counts something else, would turn them away.
const API_VERSION: &str = "0.13.5";

/// Who answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaVersion)]
pub(crate) struct Version {
    /// The version of Ollama whose API this is.
    version: &'static str,
    /// The version of Shimmy.
    shimmy: &'static str,
}

/// Whether anybody is there
///
/// Ollama's clients are told what they look for.
#[utoipa::path(
    get, path = "/", tag = "Ollama", operation_id = "ollamaRoot",
    responses(
        (status = 200, description = "One sentence.", body = String, content_type = "text/plain"),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn root(Speaks(ollama): Speaks) -> &'static str {
    if ollama {
        "Ollama is running"
    } else {
        "Shimmy is running"
    }
}

/// Which version of Ollama's API this is
#[utoipa::path(
    get, path = "/api/version", tag = "Ollama", operation_id = "ollamaVersion",
    responses(
        (status = 200, description = "Both versions.", body = Version),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn version() -> Json<Version> {
    Json(Version {
        version: API_VERSION,
        shimmy: env!("CARGO_PKG_VERSION"),
    })
}
