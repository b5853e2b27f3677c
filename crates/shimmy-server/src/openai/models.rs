//! `GET /v1/models` and `/v1/models/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ErrorBody;
use crate::adapters::AdapterListing;
use crate::answer::check_model_name;
use crate::anthropic;
use crate::anthropic::models::{Page, PageQuery, is_client, model, page};
use crate::error::ApiError;
use crate::failures::{Finding, Guarded};
use crate::limits::RestOfPath;
use crate::loader::LoadError;
use crate::model_info::{Capability, ModelInfo};
use crate::openapi::Either;
use crate::state::AppState;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiModelList)]
pub(crate) struct ModelList {
    /// Always `list`.
    object: &'static str,
    data: Vec<Model>,
}

/// A model, with what clients probe for beside the vendor's four keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiModel)]
pub(crate) struct Model {
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When its file was last changed; 0 where that is not known.
    created: i64,
    owned_by: &'static str,
    /// What it is made of: its own name or, of an adapter, the file's.
    root: String,
    /// The model that an adapter is for.
    parent: Option<String>,
    context_length: Option<u32>,
    meta: Meta,
    capabilities: Vec<&'static str>,
}

/// llama-server's facts about the file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiModelMeta)]
struct Meta {
    n_ctx_train: Option<u32>,
    n_params: Option<u64>,
    size: u64,
    architecture: String,
    quantization: Option<String>,
    loaded: bool,
}

impl From<ModelInfo> for Model {
    fn from(info: ModelInfo) -> Self {
        Self {
            root: info.name.clone(),
            parent: None,
            id: info.name,
            object: "model",
            created: info.modified.map_or(0, jiff::Timestamp::as_second),
            owned_by: "shimmy",
            context_length: info.context_length,
            meta: Meta {
                n_ctx_train: info.context_length,
                n_params: info.parameter_count,
                size: info.size_bytes,
                architecture: info.model_type,
                quantization: info.quantization,
                loaded: info.loaded,
            },
            capabilities: capabilities(&info.capabilities, info.chat),
        }
    }
}

/// In llama-server's words, which has none of its own for what only makes vectors or scores.
fn capabilities(known: &[Capability], chats: bool) -> Vec<&'static str> {
    if known.contains(&Capability::Embedding) {
        return vec!["embedding"];
    }
    if known.contains(&Capability::Rerank) {
        return vec!["rerank"];
    }
    match chats {
        true => vec!["completion", "chat"],
        false => vec!["completion"],
    }
}

impl Model {
    /// An adapter: its model, with the adapter applied.
    fn adapter(adapter: AdapterListing, models: &[ModelInfo]) -> Self {
        let parent = adapter.parent.as_ref();
        let parent = parent.and_then(|parent| models.iter().find(|model| model.name == *parent));
        let modified = adapter.modified;
        let model = Self::from(ModelInfo {
            loaded: adapter.loaded,
            name: adapter.name,
            ..parent.cloned().unwrap_or_default()
        });
        Self {
            created: modified.map_or(0, jiff::Timestamp::as_second),
            root: adapter.file,
            parent: adapter.parent,
            ..model
        }
    }
}

/// The list, as the vendor's clients or Anthropic's read it.
type Listed = Either<ModelList, Page>;

/// One model, in the same two shapes.
type Described = Either<Model, anthropic::models::Model>;

/// The models there are
///
/// Adapters are models of their own, whose `parent` is the model that they are for. Those that can be loaded, as far as is known. Anthropic's clients, which send
/// `anthropic-version`, get their own shape.
#[utoipa::path(
    get, path = "/v1/models", tag = "OpenAI", operation_id = "openaiListModels",
    params(("limit" = Option<u32>, Query, description = "How many at most.")),
    responses(
        (status = 200, description = "By name.", body = inline(Listed)),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn list(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|_| {
        ApiError::field(
            "limit",
            "is no number, or another part of the query is wrong",
        )
    })?;
    if is_client(&headers) {
        return Ok(Json(page(&state, &query)?).into_response());
    }
    let limit = query.limit.unwrap_or(usize::MAX);
    let models = state.loader.list();
    let adapters = state.loader.adapters().into_iter();
    let adapters: Vec<Model> = adapters
        .map(|adapter| Model::adapter(adapter, &models))
        .collect();
    let models = models.into_iter().filter(|model| model.problem.is_none());
    let all = models.map(Model::from).chain(adapters);
    let list = ModelList {
        object: "list",
        data: all.take(limit).collect(),
    };
    Ok(Json(list).into_response())
}

/// One model
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "OpenAI", operation_id = "openaiModel",
    params(("id" = String, Path, description = "Its name, slashes and all, or `default`.")),
    responses(
        (status = 200, description = "What is known of it.", body = inline(Described)),
        Finding<ErrorBody>,
    ),
)]
pub(crate) async fn one(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    RestOfPath(name): RestOfPath,
) -> Result<Response, ApiError> {
    // A trailing slash is another path, not another spelling of this one.
    if name.ends_with('/') {
        return Err(LoadError::NotFound {
            name,
            suggestions: Vec::new(),
        }
        .into());
    }
    check_model_name(&name)?;
    let mut adapters = state.loader.adapters().into_iter();
    if let Some(adapter) = adapters.find(|adapter| adapter.name == name) {
        let adapter = Model::adapter(adapter, &state.loader.list());
        return Ok(Json(adapter).into_response());
    }
    let info = state.loader.status(&name)?.info;
    if is_client(&headers) {
        return Ok(Json(model(&state, info)).into_response());
    }
    Ok(Json(Model::from(info)).into_response())
}
