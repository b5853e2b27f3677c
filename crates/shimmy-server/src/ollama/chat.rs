//! `POST /api/chat`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::{ChatLine, Shape, answered, load_or_unload};
use super::error::ErrorBody;
use super::messages::{WireMessage, messages};
use super::options::AllOptions;
use super::request::{Common, CommonFields};
use crate::answer::{Chat, Input};
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::state::AppState;
use crate::tools::{Names, tools};

/// What a client sends.
#[derive(Debug, ToSchema)]
#[schema(as = OllamaChatRequest)]
#[expect(dead_code, reason = "only described; the parts are read one by one")]
pub(crate) struct ChatRequest {
    #[serde(flatten)]
    common: CommonFields,
    #[serde(flatten)]
    fields: ChatFields,
    #[serde(flatten)]
    options: ChatOptions,
}

#[derive(Debug, ToSchema)]
#[schema(as = OllamaChatOptions)]
#[expect(dead_code, reason = "only described")]
struct ChatOptions {
    options: Option<AllOptions>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaChatFields)]
struct ChatFields {
    /// The conversation. Without any, the model is only loaded, or with a `keep_alive` of zero
    /// unloaded.
    messages: Option<Vec<WireMessage>>,
    /// Functions that the model may call, in OpenAI's shape.
    tools: Option<Vec<Value>>,
}

/// Continue a conversation, as Ollama's clients ask
///
/// Lines of JSON, or with `stream: false` one object. Calls of tools come whole. A stream that
/// fails ends with a line that holds `error`.
#[utoipa::path(
    post, path = "/api/chat", tag = "Ollama", operation_id = "ollamaChat",
    request_body(content = ChatRequest, examples(
        ("A question" = (value = json!({
            "model": "default",
            "messages": [{ "role": "user", "content": "Why is the sky blue?" }],
        }))),
        ("Not as a stream, with options" = (value = json!({
            "model": "default", "stream": false, "keep_alive": "10m", "think": false,
            "messages": [
                { "role": "system", "content": "Answer in one sentence." },
                { "role": "user", "content": "Why is the sky blue?" },
            ],
            "options": { "num_ctx": 2048, "num_predict": 64, "temperature": 0.2, "seed": 1 },
        }))),
        ("Only load the model" = (value = json!({ "model": "default", "keep_alive": -1 }))),
    )),
    responses(
        (status = 200, description = "The answer.",
            headers(("x-shimmy-ignored" = String, description = "The fields that were left out.")),
            content(
                (ChatLine<'static> = "application/x-ndjson"),
                (ChatLine<'static> = "application/json"),
            )),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn chat(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let fields: ChatFields = body.read()?;
    let common = Common::read(&body)?;
    let messages = messages(fields.messages.unwrap_or_default())?;
    let tools = tools("tools", fields.tools.unwrap_or_default(), Names::OLLAMA)?;
    if messages.is_empty() {
        return load_or_unload(&state, &common, Shape::Chat).await;
    }
    let chat = Chat {
        tools,
        thinking: common.thinking.clone(),
        ..Chat::of(messages)
    };
    answered(&state, common, Input::Chat(chat), &body, Shape::Chat).await
}
