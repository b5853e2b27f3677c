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
        ignored,
    } = ChatBody::read(&body)?;
    let answers = answer::start(&state, ask).await.map_err(rename)?;
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
    let usage = answer::total_usage(answered.iter().map(|answered| &answered.ending.finish));
    let choices = answered
        .into_iter()
        .enumerate()
        .map(|(index, answered)| Choice {
            index,
            message: AnswerMessage {
                role: "assistant",
                content: answered.content,
                reasoning_content: answered.reasoning,
                refusal: None,
                annotations: [],
            },
            logprobs: None,
            finish_reason: finish_reason(answered.ending.finish.reason),
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
