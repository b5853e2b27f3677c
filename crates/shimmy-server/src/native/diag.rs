//! `GET /diag`: the machine and the build, for people who look for a fault.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::error::ErrorBody;
use crate::failures::Guarded;
use crate::model_info::ModelCounts;
use crate::state::AppState;

/// The facts of this process, and beside them whatever the binary knows of devices and builds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Diagnostics {
    /// Always `shimmy`.
    #[schema(example = "shimmy")]
    service: &'static str,
    #[schema(example = "0.1.0")]
    version: &'static str,
    #[schema(example = "linux")]
    os: &'static str,
    #[schema(example = "x86_64")]
    architecture: &'static str,
    /// Those that this process may use; `null` where the system does not say.
    cores: Option<usize>,
    uptime_seconds: u64,
    models: ModelCounts,
    /// Engines, devices, placements, memory: what there is depends on the build.
    #[serde(flatten)]
    facts: Map<String, Value>,
}

/// The machine and the build
///
/// For people who look for a fault. Never secrets or paths.
#[utoipa::path(
    get, path = "/diag", tag = "Observe", operation_id = "diagnostics",
    responses(
        (status = 200, description = "The facts.", body = Diagnostics),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn diag(State(state): State<Arc<AppState>>) -> Json<Diagnostics> {
    let cores = std::thread::available_parallelism().map(usize::from).ok();
    let facts = match state.loader.diagnostics() {
        Value::Object(facts) => facts,
        _ => Map::new(),
    };
    Json(Diagnostics {
        service: "shimmy",
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
        cores,
        uptime_seconds: state.started.elapsed().as_secs(),
        models: state.model_counts(),
        facts,
    })
}
