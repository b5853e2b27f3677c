//! `/api/models`: what there is, and loading and unloading it by hand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::answer::{check_model_name, find_model, unload_model};
use crate::error::{ApiError, ErrorKind};
use crate::limits::{RestOfPath, check_content_type};
use crate::state::{AppState, EngineReport, KeepAlive, ModelStatus};

/// `GET /api/models`.
pub(crate) async fn list(State(state): State<Arc<AppState>>) -> Json<Value> {
    Json(json!({ "models": state.loader.list() }))
}

/// `POST /api/models/discover`: looks for models again.
pub(crate) async fn discover(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    check_content_type(&headers)?;
    let loader = Arc::clone(&state.loader);
    let models = tokio::task::spawn_blocking(move || loader.discover())
        .await
        .map_err(|error| {
            tracing::error!(%error, "looking for models panicked");
            ApiError::new(ErrorKind::Internal, "looking for models failed")
        })?;
    Ok(Json(
        json!({ "discovered": models.len(), "models": models }),
    ))
}

/// `POST /api/models/{name}/load` and `/unload`. Names hold slashes, so the last part is the verb.
pub(crate) async fn change(
    State(state): State<Arc<AppState>>,
    RestOfPath(path): RestOfPath,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    check_content_type(&headers)?;
    match split(&path)? {
        (name, "load") => {
            let model = find_model(&state, Some(name), KeepAlive::Default).await?;
            let engine = EngineReport::of(&model);
            Ok(Json(
                json!({ "model": model.name, "loaded": true, "engine": engine }),
            ))
        }
        (name, "unload") => {
            let unloaded = unload_model(&state, Some(name)).await?;
            Ok(Json(
                json!({ "model": name, "loaded": false, "unloaded": unloaded }),
            ))
        }
        _ => Err(unknown()),
    }
}

/// `GET /api/models/{name}/status`.
pub(crate) async fn status(
    State(state): State<Arc<AppState>>,
    RestOfPath(path): RestOfPath,
) -> Result<Json<ModelStatus>, ApiError> {
    match split(&path)? {
        (name, "status") => Ok(Json(state.loader.status(name)?)),
        _ => Err(unknown()),
    }
}

/// The name and the verb of `owner/name:tag/verb`.
fn split(path: &str) -> Result<(&str, &str), ApiError> {
    let (name, verb) = path.rsplit_once('/').ok_or_else(unknown)?;
    if name.is_empty() {
        return Err(unknown());
    }
    check_model_name(name)?;
    Ok((name, verb))
}

fn unknown() -> ApiError {
    ApiError::new(
        ErrorKind::NotFound,
        "no such route; there are …/load, …/unload and …/status",
    )
}
