//! `GET /metrics`: the server in numbers, for Prometheus and for people.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};

use crate::failures::Guarded;
use crate::metrics::Report;
use crate::native::error::ErrorBody;
use crate::state::AppState;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The server in numbers
///
/// Counters, histograms and gauges: requests, tokens, latencies, queues, caches and models.
/// `Accept` chooses the format: OpenMetrics, JSON, or Prometheus' older text where it names neither.
#[utoipa::path(
    get, path = "/metrics", tag = "Observe", operation_id = "metrics",
    responses(
        (status = 200, description = "Every metric as it stands now.", content(
            (String = "text/plain"),
            (String = "application/openmetrics-text"),
            (Report = "application/json"),
        )),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn metrics(State(state): State<Arc<AppState>>, headers: HeaderMap) -> Response {
    let exposition = state.metrics.exposition();
    let vary = [(VARY, "accept")];
    let text = |format: &'static str, text: String| -> Response {
        let content_type: [(HeaderName, &str); 1] = [(CONTENT_TYPE, format)];
        (vary.clone(), content_type, text).into_response()
    };
    if accepts(&headers, "application/openmetrics-text") {
        text(OPEN_METRICS, exposition.into_open_metrics())
    } else if accepts(&headers, "application/json") {
        (vary.clone(), Json(exposition.to_report())).into_response()
    } else {
        text(CLASSIC, exposition.to_classic())
    }
}

fn accepts(headers: &HeaderMap, format: &str) -> bool {
    let mut values = headers.get_all(ACCEPT).iter();
    values.any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.to_ascii_lowercase().contains(format))
    })
}
