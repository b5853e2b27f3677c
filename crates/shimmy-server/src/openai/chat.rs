//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::stream::ChunkFrames;
use super::types::{AnswerMessage, ChatBody, Choice, Completion, FINGERPRINT, finish_reason};
use crate::answer::{self, Answers};
use crate::error::ApiError;
use crate::limits::JsonBody;
use crate::state::AppState;
use crate::{report, sse};

/// Names the fields of the request that were accepted and left out.
static IGNORED: HeaderName = HeaderName::from_static("x-shimmy-ignored");

/// The handler.
pub(crate) async fn completions(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let ChatBody {
        ask,
        stream,
        include_usage,
        mut ignored,
    } = ChatBody::read(&body)?;
    let has_tools = ask.input.has_tools();
    let answers = answer::start(&state, ask).await.map_err(rename)?;
    // Which only the model's template can tell.
    if has_tools && !answers.model.template.source().contains("tools") {
        ignored.push("tools");
        ignored.sort_unstable();
    }
    let mut response = if stream {
        let frames = ChunkFrames::new(answers.model.name.clone(), include_usage);
        sse::response(answers, frames, state.config.keep_alive())
    } else {
        whole(answers).await?.into_response()
    };
    if !ignored.is_empty() {
        let names = ignored.join(", ");
        tracing::info!(fields = %names, "left out what a local model can do without");
        if let Ok(names) = HeaderValue::from_str(&names) {
            response.headers_mut().insert(IGNORED.clone(), names);
        }
    }
    Ok(response)
}

/// What the engine calls `format` stands in `response_format` here.
fn rename(error: ApiError) -> ApiError {
    match error.param.as_deref() {
        Some("format") => {
            let message = error.message.replace("`format`", "`response_format`");
            ApiError {
                message,
                param: Some("response_format".to_owned()),
                ..error
            }
        }
        _ => error,
    }
}

async fn whole(mut answers: Answers) -> Result<Json<Completion>, ApiError> {
    let answered = answers.collect().await?;
    let usage = answer::total_usage(answered.iter().map(|(_, finish)| finish));
    let choices = answered
        .into_iter()
        .enumerate()
        .map(|(index, (content, finish))| Choice {
            index,
            message: AnswerMessage {
                role: "assistant",
                content,
                refusal: None,
                annotations: [],
            },
            logprobs: None,
            finish_reason: finish_reason(finish.reason),
        });
    Ok(Json(Completion {
        id: report::unique_id("chatcmpl-"),
        object: "chat.completion",
        created: Timestamp::now().as_second(),
        model: answers.model.name.clone(),
        system_fingerprint: FINGERPRINT,
        choices: choices.collect(),
        usage: usage.into(),
    }))
}
