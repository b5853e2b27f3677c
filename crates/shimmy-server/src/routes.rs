//! The whole route table, and what happens around every route.
//!
//! What is not in the table does not exist, and the guard stands before the table: a path that
//! matches nothing tells a stranger as little as one that does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt;

use crate::auth::{Guard, guard};
use crate::error::{ApiError, ErrorKind, render};
use crate::state::AppState;
use crate::{native, openai};

/// The table.
pub(crate) fn router(entrance: Guard) -> Router {
    let state = Arc::clone(&entrance.state);
    Router::new()
        // Open to everyone: see `auth`.
        .route("/health", get(native::health::health))
        .route("/health/live", get(native::health::live))
        .route("/health/ready", get(native::health::ready))
        // Native, and Ollama's where the paths are the same.
        .route("/api/generate", post(native::generate::generate))
        .route("/ws/generate", get(native::ws::generate))
        .route("/api/models", get(native::models::list))
        .route("/api/models/discover", post(native::models::discover))
        .route(
            "/api/models/{*path}",
            get(native::models::status).post(native::models::change),
        )
        .route("/diag", get(native::diag::diag))
        // OpenAI.
        .route("/v1/chat/completions", post(openai::chat::completions))
        .route("/v1/models", get(openai::models::list))
        .route("/v1/models/{*id}", get(openai::models::one))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(entrance, guard))
        .layer(from_fn_with_state(Arc::clone(&state), edge))
        .with_state(state)
}

async fn not_found(request: Request) -> ApiError {
    let message = format!(
        "no such route: {} {}",
        request.method(),
        request.uri().path()
    );
    ApiError::new(ErrorKind::NotFound, message)
}

/// `Allow` is added by the router. A plain `OPTIONS` asks for nothing else.
async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let message = format!("{method} is not allowed here");
    ApiError::new(ErrorKind::MethodNotAllowed, message).into_response()
}

/// The outermost layer: errors get their bodies, panics become errors.
async fn edge(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| {
        // The panic hook has written what and where; the client only learns whose fault it was.
        ApiError::new(ErrorKind::Internal, "the server failed on this request").into_response()
    });
    let mut response = render(&path, response);
    if state.is_draining() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    tracing::debug!(%method, path = ?path, status = response.status().as_u16(), "answered");
    response
}
