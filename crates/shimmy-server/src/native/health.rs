//! `/health`, `/health/live` and `/health/ready`: whether the server lives and takes work.
//!
//! Open to everyone, so they must not name models or tell anything of requests.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::failures::Guarded;
use crate::model_info::ModelCounts;
use crate::openai::error::ErrorBody;
use crate::state::AppState;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `draining` when the server is shutting down.
    #[schema(example = "ok")]
    status: &'static str,
    /// Always `shimmy`.
    #[schema(example = "shimmy")]
    service: &'static str,
    #[schema(example = "0.1.0")]
    version: &'static str,
    uptime_seconds: u64,
    models: ModelCounts,
}

/// In one word.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HealthStatus)]
pub(crate) struct Status {
    /// `ok`, or `draining` when the server is shutting down.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the server takes work
#[utoipa::path(
    get, path = "/health", tag = "Health", operation_id = "health", security(()),
    responses(
        (status = 200, description = "It does.", body = Health),
        (status = 503, description = "It is shutting down.", body = Health),
    ),
)]
pub(crate) async fn health(State(state): State<Arc<AppState>>) -> (StatusCode, Json<Health>) {
    let (code, status) = readiness(&state);
    let body = Health {
        status,
        service: "shimmy",
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: state.started.elapsed().as_secs(),
        models: state.model_counts(),
    };
    (code, Json(body))
}

/// The same under llama-server's other name for it, which needs the token
#[utoipa::path(
    get, path = "/v1/health", tag = "Health", operation_id = "healthV1",
    responses(
        (status = 200, description = "It serves.", body = Health),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn v1(state: State<Arc<AppState>>) -> (StatusCode, Json<Health>) {
    health(state).await
}

/// Whether the process lives
///
/// For orchestrators: as long as anything answers at all, this does.
#[utoipa::path(
    get, path = "/health/live", tag = "Health", operation_id = "live", security(()),
    responses((status = 200, description = "It does.", body = Status)),
)]
pub(crate) async fn live() -> Json<Status> {
    Json(Status { status: "ok" })
}

/// Whether new requests are taken
///
/// For load balancers: 503 from the moment that a shutdown begins.
#[utoipa::path(
    get, path = "/health/ready", tag = "Health", operation_id = "ready", security(()),
    responses(
        (status = 200, description = "They are.", body = Status),
        (status = 503, description = "The server is shutting down.", body = Status),
    ),
)]
pub(crate) async fn ready(State(state): State<Arc<AppState>>) -> (StatusCode, Json<Status>) {
    let (code, status) = readiness(&state);
    (code, Json(Status { status }))
}

fn readiness(state: &AppState) -> (StatusCode, &'static str) {
    if state.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    }
}
