//! `GET` and `POST /lora-adapters`: the adapters of a model, and how strongly each applies where a
//! request does not say.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use shimmy_engine::{AdapterId, AdapterScale};
use utoipa::ToSchema;

use crate::adapters::AdapterInfo;
use crate::answer::find_model;
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::llamacpp::error::ErrorBody;
use crate::loader::KeepAlive;
use crate::query::QueryFields;
use crate::state::AppState;

#[derive(Debug, Deserialize)]
pub(crate) struct AdaptersQuery {
    model: Option<String>,
}

/// An adapter in memory.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerAdapter)]
pub(crate) struct AdapterBody {
    id: u32,
    name: String,
    /// The file's own name: folders are nobody's business.
    path: String,
    scale: f32,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LlamaServerAdapterSetting)]
struct ScaleBody {
    id: u32,
    scale: f32,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerSuccess)]
pub(crate) struct Success {
    success: bool,
}

impl From<AdapterInfo> for AdapterBody {
    fn from(adapter: AdapterInfo) -> Self {
        let file = adapter.path.file_name().unwrap_or_default();
        Self {
            id: adapter.id.0,
            path: file.to_string_lossy().into_owned(),
            name: adapter.name,
            scale: adapter.scale,
        }
    }
}

/// The adapters of the default model
#[utoipa::path(
    get, path = "/lora-adapters", tag = "llama-server", operation_id = "llamacppAdapters",
    responses(
        (status = 200, description = "The answer.", body = Vec<AdapterBody>),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn list(
    State(state): State<Arc<AppState>>,
    QueryFields(query): QueryFields<AdaptersQuery>,
) -> Result<Json<Vec<AdapterBody>>, ApiError> {
    let model = find_model(&state, query.model.as_deref(), KeepAlive::Default).await?;
    let adapters = model.adapters.all().into_iter();
    Ok(Json(adapters.map(AdapterBody::from).collect()))
}

/// Set how strongly the adapters of the default model apply
///
/// For requests that do not say. Those that are not in the list do not apply.
#[utoipa::path(
    post, path = "/lora-adapters", tag = "llama-server", operation_id = "llamacppScaleAdapters",
    request_body(content = Vec<ScaleBody>, examples(
        ("An example" = (value = json!([{ "id": 0, "scale": 0.5 }]))),
    )),
    responses(
        (status = 200, description = "The answer.", body = Success),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn scale(
    State(state): State<Arc<AppState>>,
    QueryFields(query): QueryFields<AdaptersQuery>,
    body: JsonBody,
) -> Result<Json<Success>, ApiError> {
    let scales: Vec<ScaleBody> = body.read()?;
    // The engine's own bound, see `Session::prepare`.
    let is_sensible = |scale: f32| scale.is_finite() && scale.abs() <= 100.0;
    if let Some(wrong) = scales.iter().find(|scale| !is_sensible(scale.scale)) {
        let reason = format!("must be between -100 and 100, got {}", wrong.scale);
        return Err(ApiError::field("scale", reason));
    }
    let model = find_model(&state, query.model.as_deref(), KeepAlive::Default).await?;
    let scales: Vec<AdapterScale> = scales
        .into_iter()
        .map(|ScaleBody { id, scale }| AdapterScale {
            id: AdapterId(id),
            scale,
        })
        .collect();
    let set = model.adapters.set_scales(&scales);
    set.map_err(|AdapterId(id)| {
        ApiError::field(
            "id",
            format_args!("names adapter {id}, which is not loaded"),
        )
    })?;
    Ok(Json(Success { success: true }))
}
