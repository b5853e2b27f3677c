//! `POST /v1/messages` and `/v1/messages/count_tokens`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Draft};
use super::request::{AllFields, Request, Style, rename};
use super::stream::{Event, MessageFrames};
use crate::answer::{self, Answers, Progress};
use crate::anthropic::error::ErrorBody;
use crate::count::count;
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::openapi::Either;
use crate::state::AppState;
use crate::{report, sse};

/// The events of a stream, the last of one that failed among them.
type Streamed = Either<Event<'static>, ErrorBody>;

/// Continue a conversation
#[utoipa::path(
    post, path = "/v1/messages", tag = "Anthropic", operation_id = "anthropicMessage",
    request_body(content = AllFields, examples(
        ("An example" = (value = json!({ "model": "default", "max_tokens": 64, "messages": [{ "role": "user", "content": "Hello" }] }))),
        ("A stream" = (value = json!({
            "model": "default", "max_tokens": 64, "stream": true, "system": "Be brief.",
            "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Hello" }] }],
        }))),
    )),
    responses(
        (status = 200, description = "The answer.", content(
            (Answer<'static> = "application/json"),
            (inline(Streamed) = "text/event-stream"),
        )),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn create(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let Request {
        ask,
        stream,
        style,
        mut ignored,
    } = Request::read(&body)?;
    let answers = answer::start(&state, ask).await.map_err(rename)?;
    ignored.note_unheard(&answers.unheard, ("thinking", "output_config.effort"));
    let mut response = if stream {
        let frames = MessageFrames::new(answers.model.name.clone(), answers.prompt_tokens, style);
        sse::response(answers, frames, state.config.keep_alive())
    } else {
        whole(answers, style).await?
    };
    ignored.tell(&mut response);
    Ok(response)
}

/// How long a prompt is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnthropicCount)]
pub(crate) struct Counted {
    input_tokens: usize,
}

/// Count the tokens of a conversation
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", tag = "Anthropic", operation_id = "anthropicCountTokens",
    request_body(content = AllFields, examples(
        ("An example" = (value = json!({ "model": "default", "messages": [{ "role": "user", "content": "Hello" }] }))),
    )),
    responses(
        (status = 200, description = "The answer.", body = Counted),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn count_tokens(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Json<Counted>, ApiError> {
    let request = Request::read(&body)?;
    request.ignored.log();
    let input_tokens = count(&state, request.ask).await.map_err(rename)?;
    Ok(Json(Counted { input_tokens }))
}

async fn whole(mut answers: Answers, style: Style) -> Result<Response, ApiError> {
    let mut draft = Draft::new(style);
    while let Some(progress) = answers.next().await {
        match progress {
            Progress::Delta { delta, .. } => draft.push(delta),
            Progress::Failed(error) => return Err(error),
            Progress::Finished { ending, .. } => {
                let id = report::unique_id("msg_");
                let begun = Answer::begun(&id, &answers.model.name, answers.prompt_tokens, style);
                let answer = begun.complete(draft.finish(), &ending);
                return Ok(Json(answer).into_response());
            }
        }
    }
    // Answers end with one of the two words above.
    Err(ApiError::shutting_down())
}
