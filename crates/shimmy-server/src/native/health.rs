//! `/health`, `/health/live` and `/health/ready`: whether the server lives and takes work.
//!
//! Open to everyone, so they must not name models or tell anything of requests.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::state::AppState;

/// `GET /health`: 200 with the facts, 503 while draining.
pub(crate) async fn health(State(state): State<Arc<AppState>>) -> (StatusCode, Json<Value>) {
    let (code, status) = readiness(&state);
    let body = json!({
        "status": status,
        "service": "shimmy",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": state.started.elapsed().as_secs(),
        "models": state.model_counts(),
    });
    (code, Json(body))
}

/// `GET /health/live`: 200 as long as anything answers at all.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /health/ready`: whether new requests are taken.
pub(crate) async fn ready(State(state): State<Arc<AppState>>) -> (StatusCode, Json<Value>) {
    let (code, status) = readiness(&state);
    (code, Json(json!({ "status": status })))
}

fn readiness(state: &AppState) -> (StatusCode, &'static str) {
    if state.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    }
}
