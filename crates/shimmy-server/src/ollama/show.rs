//! `POST /api/show`: what a model's file says of it.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shimmy_chat::Message;
use utoipa::ToSchema;

use super::error::ErrorBody;
use super::models::{Details, capabilities};
use crate::answer::{DEFAULT_MODEL, check_model_name};
use crate::error::ApiError;
use crate::failures::Loading;
use crate::ignored::Ignored;
use crate::limits::JsonBody;
use crate::model_info::ModelDetails;
use crate::state::AppState;

/// What a client sends.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaShowRequest)]
pub(crate) struct ShowRequest {
    /// Absent or `default`: the default model.
    model: Option<String>,
    /// An older name for it.
    name: Option<String>,
    /// Left out: long lists of the metadata are never told.
    verbose: Option<bool>,
}

/// What is known of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaShow)]
pub(crate) struct Show {
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<String>,
    /// The context that a request may hold, and how its makers would have it asked: lines of a
    /// name and a value.
    parameters: String,
    /// Its own template, in Jinja or in Go's template language; empty where it has none.
    template: String,
    /// What it is told before every conversation that brings no such words of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    /// Messages that every conversation goes on from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Line>,
    details: Details,
    /// Its metadata. What is too long to be told is null.
    #[schema(value_type = Object)]
    model_info: Map<String, Value>,
    capabilities: Vec<&'static str>,
    #[schema(value_type = Option<String>, format = DateTime)]
    modified_at: Option<Timestamp>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaShownMessage)]
struct Line {
    role: String,
    content: String,
}

/// What a model's file says of it
#[utoipa::path(
    post, path = "/api/show", tag = "Ollama", operation_id = "ollamaShow",
    request_body(content = ShowRequest, examples(
        ("An example" = (value = json!({ "model": "default" }))),
    )),
    responses(
        (status = 200, description = "What is known of it.", body = Show),
        Loading<ErrorBody>,
    ),
)]
pub(crate) async fn show(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let request: ShowRequest = body.read()?;
    let name = [request.model, request.name].into_iter().flatten();
    let name = name.into_iter().find(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| DEFAULT_MODEL.to_owned());
    check_model_name(&name)?;
    let details = state.loader.details(&name).await?;
    let mut response = Json(Show::from(details)).into_response();
    let mut ignored = Ignored::default();
    if request.verbose == Some(true) {
        ignored.note("verbose");
    }
    ignored.tell(&mut response);
    Ok(response)
}

impl From<ModelDetails> for Show {
    fn from(details: ModelDetails) -> Self {
        let ModelDetails {
            info,
            template,
            license,
            system,
            messages,
            context,
            parameters,
            mut metadata,
        } = details;
        let mut lines = format!("{:<30} {context}", "num_ctx");
        for (name, value) in parameters {
            let values = match value {
                Value::Array(values) => values,
                value => vec![value],
            };
            for value in values {
                // Writing to a text does not fail. Texts are quoted, as there.
                let _ = write!(lines, "\n{name:<30} {value}");
            }
        }
        // It stands in a field of its own.
        metadata.remove("tokenizer.chat_template");
        if let Some(count) = info.parameter_count {
            metadata.insert("general.parameter_count".to_owned(), count.into());
        }
        Self {
            license,
            parameters: lines,
            template: template.unwrap_or_default(),
            system,
            messages: messages.into_iter().map(Line::from).collect(),
            details: Details::from(&info),
            model_info: metadata,
            capabilities: capabilities(&info),
            modified_at: info.modified,
        }
    }
}

impl From<Message> for Line {
    fn from(Message { role, content, .. }: Message) -> Self {
        Self { role, content }
    }
}
