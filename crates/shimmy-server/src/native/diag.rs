//! `GET /diag`: the machine and the build, for people who look for a fault.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::state::AppState;

/// The facts of this process, and beside them whatever the binary knows of devices and builds.
pub(crate) async fn diag(State(state): State<Arc<AppState>>) -> Json<Value> {
    let cores = std::thread::available_parallelism().map(usize::from).ok();
    let mut body = json!({
        "service": "shimmy",
        "version": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "cores": cores,
        "uptime_seconds": state.started.elapsed().as_secs(),
        "models": state.model_counts(),
    });
    if let (Some(body), Value::Object(facts)) = (body.as_object_mut(), state.loader.diagnostics()) {
        body.extend(facts);
    }
    Json(body)
}
