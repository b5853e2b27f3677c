//! `/api/models`: what there is, and loading and unloading it by hand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ErrorBody;
use crate::answer::{check_model_name, find_model, unload_model};
use crate::error::{ApiError, ErrorKind};
use crate::failures::{Finding, Guarded, Loading};
use crate::limits::{RestOfPath, check_content_type};
use crate::loader::KeepAlive;
use crate::model_info::{EngineReport, ModelInfo, ModelStatus};
use crate::public::without_folders;
use crate::state::AppState;

/// The models there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Models {
    models: Vec<ModelInfo>,
}

/// The models there are, counted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Discovered {
    discovered: usize,
    models: Vec<ModelInfo>,
}

/// A model in memory.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Loaded {
    /// Its name.
    model: String,
    /// Always true.
    loaded: bool,
    engine: EngineReport,
}

/// A model no longer in memory.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Unloaded {
    /// The name it was asked for by.
    model: String,
    /// Always false.
    loaded: bool,
    /// Whether it was in memory before.
    unloaded: bool,
}

/// The models there are
#[utoipa::path(
    get, path = "/api/models", tag = "Models", operation_id = "listModels",
    responses(
        (status = 200, description = "Every model known now, by name.", body = Models),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn list(State(state): State<Arc<AppState>>) -> Json<Models> {
    let models = state.loader.list();
    Json(Models { models })
}

/// Look for models again
#[utoipa::path(
    post, path = "/api/models/discover", tag = "Models", operation_id = "discoverModels",
    responses(
        (status = 200, description = "What was found.", body = Discovered),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn discover(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
) -> Result<Json<Discovered>, ApiError> {
    check_content_type(&headers)?;
    let loader = Arc::clone(&state.loader);
    let models = tokio::task::spawn_blocking(move || loader.discover())
        .await
        .map_err(|error| {
            tracing::error!(%error, "looking for models panicked");
            ApiError::new(ErrorKind::Internal, "looking for models failed")
        })?;
    Ok(Json(Discovered {
        discovered: models.len(),
        models,
    }))
}

/// `POST /api/models/{name}/load` and `/unload`. Names hold slashes, so the last part is the verb.
pub(crate) async fn change(
    State(state): State<Arc<AppState>>,
    RestOfPath(path): RestOfPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_content_type(&headers)?;
    match split(&path)? {
        (name, "load") => Ok(load(&state, name).await?.into_response()),
        (name, "unload") => Ok(unload(&state, name).await?.into_response()),
        _ => Err(unknown()),
    }
}

/// Load a model
///
/// Requests load their model by themselves; this does it before the first one comes.
#[utoipa::path(
    post, path = "/api/models/{name}/load", tag = "Models", operation_id = "loadModel",
    params(("name" = String, Path, description = "Its name, slashes and all, or `default`.")),
    responses(
        (status = 200, description = "It is in memory.", body = Loaded),
        Loading<ErrorBody>,
    ),
)]
pub(crate) async fn load(state: &AppState, name: &str) -> Result<Json<Loaded>, ApiError> {
    let model = find_model(state, Some(name), KeepAlive::Default).await?;
    Ok(Json(Loaded {
        model: model.name.clone(),
        loaded: true,
        engine: EngineReport::of(&model),
    }))
}

/// Take a model out of memory
///
/// Answers that run go on to their end, and the memory is given back with the last one.
#[utoipa::path(
    post, path = "/api/models/{name}/unload", tag = "Models", operation_id = "unloadModel",
    params(("name" = String, Path, description = "Its name, slashes and all, or `default`.")),
    responses(
        (status = 200, description = "It is not in memory.", body = Unloaded),
        Loading<ErrorBody>,
    ),
)]
pub(crate) async fn unload(state: &AppState, name: &str) -> Result<Json<Unloaded>, ApiError> {
    Ok(Json(Unloaded {
        unloaded: unload_model(state, Some(name)).await?,
        model: name.to_owned(),
        loaded: false,
    }))
}

/// How a model is doing
#[utoipa::path(
    get, path = "/api/models/{name}/status", tag = "Models", operation_id = "modelStatus",
    params(("name" = String, Path, description = "Its name, slashes and all, or `default`.")),
    responses(
        (status = 200, description = "The file, and the engine while it runs.", body = ModelStatus),
        Finding<ErrorBody>,
    ),
)]
pub(crate) async fn status(
    State(state): State<Arc<AppState>>,
    RestOfPath(path): RestOfPath,
) -> Result<Json<ModelStatus>, ApiError> {
    match split(&path)? {
        (name, "status") => {
            let mut status = state.loader.status(name)?;
            status.failure = status.failure.as_deref().map(without_folders);
            Ok(Json(status))
        }
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
