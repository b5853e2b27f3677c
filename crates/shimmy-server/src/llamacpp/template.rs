//! `POST /apply-template`: a conversation as the model reads it, and nothing computed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::answer::{Chat, find_model};
use crate::blocking;
use crate::continuing::Continuing;
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::llamacpp::error::ErrorBody;
use crate::loader::KeepAlive;
use crate::messages::{WireMessage, messages};
use crate::state::AppState;
use crate::tools::{Names, tools};

/// What a client sends.
#[derive(Debug, ToSchema)]
#[schema(as = LlamaServerTemplateRequest)]
#[expect(dead_code, reason = "only described; the parts are read one by one")]
struct TemplateRequest {
    #[serde(flatten)]
    fields: TemplateFields,
    #[serde(flatten)]
    continuing: Continuing,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LlamaServerTemplateFields)]
struct TemplateFields {
    model: Option<String>,
    messages: Vec<WireMessage>,
    tools: Option<Vec<Value>>,
    chat_template_kwargs: Option<Map<String, Value>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerPrompt)]
pub(crate) struct Rendered {
    prompt: String,
}

/// Render a conversation without answering it
#[utoipa::path(
    post, path = "/apply-template", tag = "llama-server", operation_id = "llamacppApplyTemplate",
    request_body(content = TemplateRequest, examples(
        ("An example" = (value = json!({ "messages": [{ "role": "user", "content": "Hello" }] }))),
    )),
    responses(
        (status = 200, description = "The answer.", body = Rendered),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn apply(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Json<Rendered>, ApiError> {
    let fields: TemplateFields = body.read()?;
    let continuing: Continuing = body.read()?;
    let mut chat = Chat {
        tools: tools("tools", fields.tools.unwrap_or_default(), Names::OPENAI)?,
        kwargs: fields.chat_template_kwargs.unwrap_or_default(),
        ..Chat::of(messages(fields.messages)?)
    };
    continuing.apply(&mut chat, None)?;
    let model = find_model(&state, fields.model.as_deref(), KeepAlive::Default).await?;
    blocking::run(blocking::is_long(body.len()), move || {
        let prompt = chat.plan(&model, None)?.prompt.text();
        Ok(Json(Rendered { prompt }))
    })
    .await
}
