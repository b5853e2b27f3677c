//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::envelope::{Completion, Envelope, Streamed};
use super::error::ErrorBody;
use super::logprobs::ChatLogprobs;
use super::response_format::rename;
use super::stream::{ChunkChoice, ChunkFrames};
use super::tool_use::CallStyle;
use super::types::{AnswerMessage, AnswerStyle, ChatBody, ChatRequest, IGNORED as LEFT_OUT};
use super::usage::{Endings, finish_reason};
use crate::answer::{self, Answered, Answers, Ending};
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::sse;
use crate::state::AppState;

/// How ids begin, and what the objects call themselves.
const WHOLE: (&str, &str) = ("chatcmpl-", "chat.completion");
const PIECE: (&str, &str) = ("chatcmpl-", "chat.completion.chunk");

/// Where a request says whether to think, and how much.
const THINKING: (&str, &str) = ("reasoning_effort", "reasoning_effort");

fn description() -> String {
    format!(
        "One JSON answer, or with `stream` chunks as server-sent events that end with `[DONE]`; a \
         stream that fails ends with an event that holds `error` instead.\n\n\
         What a local model can do without is accepted and left out, and the header \
         `x-shimmy-ignored` says so: {}. What would change the meaning of the answer and cannot be \
         done is a 400 that names the field.",
        LEFT_OUT.map(|field| format!("`{field}`")).join(", ")
    )
}

/// The events of a stream.
type Event = Streamed<ChunkChoice<'static>>;

/// Continue a conversation
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "OpenAI", operation_id = "openaiChatCompletion",
    description = description(),
    request_body(content = ChatRequest, examples(
        ("A question" = (value = json!({
            "model": "default",
            "messages": [{ "role": "user", "content": "Why is the sky blue?" }],
        }))),
        ("A stream with usage" = (value = json!({
            "model": "default", "stream": true, "stream_options": { "include_usage": true },
            "max_completion_tokens": 128, "temperature": 0.7,
            "messages": [
                { "role": "developer", "content": "Answer in one sentence." },
                { "role": "user", "content": [{ "type": "text", "text": "Why is the sky blue?" }] },
            ],
        }))),
        ("Data that fits a schema" = (value = json!({
            "model": "default", "max_completion_tokens": 256,
            "messages": [{ "role": "user", "content": "A person, as JSON." }],
            "response_format": { "type": "json_schema", "json_schema": {
                "schema": {
                    "type": "object",
                    "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
                    "required": ["name", "age"],
                },
            }},
        }))),
    )),
    responses(
        (status = 200, description = "The answer.",
            headers(("x-shimmy-ignored" = String, description = "The fields that were left out.")),
            content(
                (Completion<Choice> = "application/json"),
                (inline(Event) = "text/event-stream"),
            )),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn completions(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let ChatBody {
        ask,
        stream,
        answer,
        include_usage,
        shape_field,
        mut ignored,
    } = ChatBody::read(&body)?;
    // All choices answer to the one prompt.
    let endings = Endings::new(ask.choices);
    let answers = answer::start(&state, ask)
        .await
        // The engine has names of its own.
        .map_err(|error| rename(error, shape_field))?;
    ignored.note_unheard(&answers.unheard, THINKING);
    let mut response = if stream {
        let envelope = Envelope::new(PIECE, answers.model.name.clone(), include_usage, endings);
        let frames = ChunkFrames::new(envelope, answer);
        sse::response(answers, frames, state.config.keep_alive())
    } else {
        whole(answers, answer, endings).await?.into_response()
    };
    ignored.tell(&mut response);
    Ok(response)
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiChoice)]
struct Choice {
    index: usize,
    message: AnswerMessage,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
}

async fn whole(
    mut answers: Answers,
    style: AnswerStyle,
    mut endings: Endings,
) -> Result<Json<Completion<Choice>>, ApiError> {
    let mut choices = Vec::new();
    for (index, answered) in answers.collect().await?.into_iter().enumerate() {
        let Answered {
            content,
            reasoning,
            calls,
            logprobs,
            ending,
        } = answered;
        choices.push(Choice {
            index,
            message: AnswerMessage::new(content, reasoning, calls, style.calls),
            logprobs: style.logprobs.then(|| logprobs.as_slice().into()),
            finish_reason: reason(&ending, style.calls),
        });
        endings.push(index, ending);
    }
    let model = answers.model.name.clone();
    Ok(Json(Completion::new(WHOLE, model, choices, &endings)))
}

/// Why a choice ended: an answer that was cut short did not end with its calls.
pub(super) fn reason(ending: &Ending, style: CallStyle) -> &'static str {
    match (finish_reason(ending.finish.reason), style) {
        ("stop", CallStyle::Tools) if ending.calls > 0 => "tool_calls",
        ("stop", CallStyle::Function) if ending.calls > 0 => "function_call",
        (reason, _) => reason,
    }
}
