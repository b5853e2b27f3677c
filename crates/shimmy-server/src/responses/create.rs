//! `POST /v1/responses` and `/v1/responses/input_tokens`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shimmy_chat::Delta;
use shimmy_engine::TokenLogprobs;
use utoipa::ToSchema;

use super::events::{Event, Nowhere};
use super::memory::Memory;
use super::request::{AllFields, Request, THINKING, rename};
use super::writer::Writer;
use crate::answer::{self, Answers, Ending, Progress};
use crate::count::count;
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::openai::error::ErrorBody;
use crate::sse::{self, Frames};
use crate::state::AppState;

/// Answer, and keep the answer
#[utoipa::path(
    post, path = "/v1/responses", tag = "OpenAI", operation_id = "openaiResponse",
    request_body(content = AllFields, examples(
        ("An example" = (value = json!({ "model": "default", "input": "Hello" }))),
        ("A stream" = (value = json!({
            "model": "default", "stream": true, "instructions": "Be brief.",
            "input": [{ "role": "user", "content": [{ "type": "input_text", "text": "Hello" }] }],
        }))),
    )),
    responses(
        (status = 200, description = "The answer.", content(
            (super::response::Response = "application/json"),
            (Event<'static> = "text/event-stream"),
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
        plan,
        mut ignored,
    } = Request::read(&body, memory(&state, &body))?;
    let answers = answer::start(&state, ask).await.map_err(rename)?;
    ignored.note_unheard(&answers.unheard, THINKING);
    let writer = Writer::new(&answers.model, plan);
    let mut response = if stream {
        let keep_alive = state.config.keep_alive();
        sse::response(answers, Events { writer, state }, keep_alive)
    } else {
        whole(answers, writer, &state).await?
    };
    ignored.tell(&mut response);
    Ok(response)
}

/// How long a prompt is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResponsesCount)]
pub(crate) struct Counted {
    object: &'static str,
    input_tokens: usize,
}

/// Count the tokens of a request
#[utoipa::path(
    post, path = "/v1/responses/input_tokens", tag = "OpenAI", operation_id = "openaiResponseInputTokens",
    request_body(content = AllFields, examples(
        ("An example" = (value = json!({ "model": "default", "input": "Hello" }))),
    )),
    responses(
        (status = 200, description = "The answer.", body = Counted),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn input_tokens(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Json<Counted>, ApiError> {
    let request = Request::read(&body, memory(&state, &body))?;
    request.ignored.log();
    Ok(Json(Counted {
        object: "response.input_tokens",
        input_tokens: count(&state, request.ask).await.map_err(rename)?,
    }))
}

fn memory<'a>(state: &'a AppState, body: &JsonBody) -> Memory<'a> {
    Memory {
        kept: &state.responses,
        caller: body.caller(),
        last: None,
    }
}

async fn whole(
    mut answers: Answers,
    mut writer: Writer,
    state: &AppState,
) -> Result<Response, ApiError> {
    while let Some(progress) = answers.next().await {
        match progress {
            Progress::Delta {
                delta, logprobs, ..
            } => writer.delta(&delta, &logprobs, &mut Nowhere),
            Progress::Failed(error) => return Err(error),
            Progress::Finished { ending, .. } => {
                let kept = writer.finished(&ending, &state.responses, &mut Nowhere);
                return Ok(Json(&kept.response).into_response());
            }
        }
    }
    // Answers end with one of the two words above.
    Err(ApiError::shutting_down())
}

/// One stream of server-sent events.
struct Events {
    writer: Writer,
    state: Arc<AppState>,
}

impl Frames for Events {
    fn open(&mut self, out: &mut Vec<u8>) {
        self.writer.open(out);
    }

    fn delta(&mut self, _: usize, delta: &Delta, logprobs: &[TokenLogprobs], out: &mut Vec<u8>) {
        self.writer.delta(delta, logprobs, out);
    }

    fn finished(&mut self, _: usize, ending: Ending, out: &mut Vec<u8>) {
        self.writer.finished(&ending, &self.state.responses, out);
    }

    fn close(&mut self, _: &mut Vec<u8>) {}

    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        self.writer.broken(error, out);
        self.writer.failed(error, out);
    }

    fn idle(&mut self, out: &mut Vec<u8>) {
        self.writer.idle(out);
    }
}
