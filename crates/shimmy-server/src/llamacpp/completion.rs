//! `POST /completion` (and `/completions`), `POST /infill`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::answer::{Described, Last};
use super::request::{CompletionBody, CompletionRequest, InfillRequest};
use super::stream::{CompletionFrames, Piece};
use crate::answer;
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::llamacpp::error::ErrorBody;
use crate::openapi::{OneOfThree, OneOrList, Picked};
use crate::state::AppState;
use crate::{blocking, sse};

/// One choice, or the list of several.
type Whole = OneOrList<Picked<Last<'static>>>;

/// Pieces of text, the last word of each choice, or why there is none.
type Event = OneOfThree<Piece<'static>, Picked<Last<'static>>, ErrorBody>;

/// Continue a text
#[utoipa::path(
    post, path = "/completion", tag = "llama-server", operation_id = "llamacppCompletion",
    request_body(content = CompletionRequest, examples(
        ("An example" = (value = json!({ "prompt": "Once upon a time", "n_predict": 16 }))),
        ("A stream" = (value = json!({
            "prompt": "Once upon a time", "n_predict": 4, "n_probs": 2, "stream": true,
        }))),
        ("Several answers" = (value = json!({ "prompt": ["Once", [72, "i"]], "n_predict": 4 }))),
        ("Only some fields" = (value = json!({
            "prompt": "Once", "n_predict": 4, "response_fields": ["content", "timings/predicted_ms"],
        }))),
    )),
    responses(
        (status = 200, description = "The answer.", content(
            (inline(Whole) = "application/json"),
            (inline(Event) = "text/event-stream"),
        )),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn completion(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let read = CompletionBody::read(&body, state.config.max_prompts)?;
    answered(&state, read).await
}

/// Fill the gap in a text
#[utoipa::path(
    post, path = "/infill", tag = "llama-server", operation_id = "llamacppInfill",
    request_body(content = InfillRequest, examples(
        ("An example" = (value = json!({ "input_prefix": "a = ", "input_suffix": ";", "n_predict": 4 }))),
    )),
    responses(
        (status = 200, description = "The answer.", content(
            (inline(Whole) = "application/json"),
            (inline(Event) = "text/event-stream"),
        )),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn infill(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    answered(&state, CompletionBody::read_infill(&body)?).await
}

async fn answered(state: &AppState, body: CompletionBody) -> Result<Response, ApiError> {
    let CompletionBody {
        ask,
        asked,
        choices_field,
        ignored,
    } = body;
    let (stream, is_long) = (asked.stream, blocking::is_long(ask.bytes));
    let mut answers = answer::start(state, ask)
        .await
        // The engine's and the other dialects' names for them.
        .map_err(|error| {
            error
                .renamed(&[("format", "json_schema")])
                .renamed(&[("n", choices_field)])
        })?;
    let model = Arc::clone(&answers.model);
    let describe = move || Described::new(&model, asked);
    let described = blocking::run(is_long, describe).await?;
    let mut response = if stream {
        let frames = CompletionFrames::new(described, answers.prompt_lengths());
        sse::response(answers, frames, state.config.keep_alive())
    } else {
        let answered = answers.collect().await?;
        let mut choices: Vec<Value> = answered
            .iter()
            .enumerate()
            .map(|(index, answered)| described.whole(index, answered))
            .collect();
        // One answer stands alone; several are a list.
        let whole = match choices.len() {
            1 => choices.swap_remove(0),
            _ => Value::Array(choices),
        };
        Json(whole).into_response()
    };
    ignored.tell(&mut response);
    Ok(response)
}
