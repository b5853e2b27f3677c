//! The model list in this dialect's shape, page by page.
//!
//! It lives at OpenAI's paths; which of the two a client wants, its version header tells.

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::model_info::ModelInfo;
use crate::state::AppState;

/// Models of a page where nothing is said, and at most.
const PAGE: usize = 20;
const LARGEST_PAGE: usize = 1000;

/// Which part of the list.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PageQuery {
    pub(crate) limit: Option<usize>,
    after_id: Option<String>,
    before_id: Option<String>,
}

/// One page of the list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnthropicModelPage)]
pub(crate) struct Page {
    data: Vec<Model>,
    has_more: bool,
    first_id: Option<String>,
    last_id: Option<String>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnthropicModel)]
pub(crate) struct Model {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    display_name: String,
    /// When its file was last changed; the epoch, as the vendor has it, where that is not known.
    #[schema(value_type = String, format = DateTime)]
    created_at: jiff::Timestamp,
    lifecycle: &'static str,
    /// What the engine holds; not known before it is loaded.
    max_input_tokens: Option<usize>,
    max_tokens: Option<usize>,
    #[schema(schema_with = crate::openapi::null)]
    capabilities: Option<()>,
}

/// Whether a request is that of one of this vendor's clients.
pub(crate) fn is_client(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// A page of the models that can be loaded.
pub(crate) fn page(state: &AppState, query: &PageQuery) -> Result<Page, ApiError> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        let reason = format!("must be between 1 and {LARGEST_PAGE}, got {limit}");
        return Err(ApiError::field("limit", reason));
    }
    let mut models = state.loader.list();
    models.retain(|model| model.problem.is_none());
    let place = |field: &str, id: &String| {
        let found = models.iter().position(|model| model.name == *id);
        found.ok_or_else(|| ApiError::field(field, "names no model"))
    };
    let (range, has_more) = match (&query.after_id, &query.before_id) {
        (Some(_), Some(_)) => {
            return Err(ApiError::field(
                "before_id",
                "cannot be combined with `after_id`",
            ));
        }
        (None, Some(id)) => {
            let end = place("before_id", id)?;
            let start = end.saturating_sub(limit);
            (start..end, start > 0)
        }
        (after, None) => {
            let after = after.as_ref().map(|id| place("after_id", id)).transpose()?;
            let start = after.map_or(0, |place| place + 1);
            let end = (start + limit).min(models.len());
            (start..end, end < models.len())
        }
    };
    let data: Vec<Model> = models.drain(range).map(|info| model(state, info)).collect();
    Ok(Page {
        has_more,
        first_id: data.first().map(|model| model.id.clone()),
        last_id: data.last().map(|model| model.id.clone()),
        data,
    })
}

/// One model.
pub(crate) fn model(state: &AppState, info: ModelInfo) -> Model {
    let status = state.loader.status(&info.name).ok();
    let context = status.and_then(|status| Some(status.engine?.context));
    Model {
        kind: "model",
        display_name: info.name.clone(),
        id: info.name,
        created_at: info.modified.unwrap_or(jiff::Timestamp::UNIX_EPOCH),
        lifecycle: "active",
        max_input_tokens: context,
        max_tokens: context,
        capabilities: None,
    }
}
