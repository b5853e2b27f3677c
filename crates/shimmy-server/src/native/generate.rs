//! `POST /api/generate`: one JSON answer or a stream of server-sent events.
//!
//! On the same path Ollama's clients are answered in their dialect; which one a client speaks is
//! decided here and nowhere else.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ErrorBody;
use super::stream::{JsonFrames, RawFrames, TextEvent};
use super::types::{Done, GenerateBody, GenerateRequest, Started, StreamFormat};
use crate::answer::{self, Answered, Answers};
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::openapi::Either;
use crate::state::AppState;
use crate::{ollama, report, sse};

/// A request in the dialect that the client speaks.
type Asked = Either<GenerateRequest, ollama::generate::GenerateRequest>;

/// An answer in that dialect.
type Answer = Either<Whole, ollama::generate::GenerateLine<'static>>;

/// The data of an event, with `stream_format: "json"`.
type Event = Either<TextEvent<'static>, Done>;

/// Ask a model
///
/// One JSON answer, or with `stream` a stream of server-sent events: raw text, or with
/// `stream_format: "json"` objects whose last one has `done`. Both end with `[DONE]`; a stream that
/// fails ends with an `error` event instead.
///
/// Clients that accept `application/x-ndjson` or call themselves `ollama/…` are answered in
/// Ollama's dialect: lines of JSON, streaming unless told not to.
#[utoipa::path(
    post, path = "/api/generate", tag = "Generate", operation_id = "generate",
    request_body(content = inline(Asked), examples(
        ("A question" = (value = json!({
            "prompt": "Why is the sky blue?", "max_tokens": 64,
        }))),
        ("A conversation" = (value = json!({
            "model": "default", "temperature": 0.2, "stop": ["\n\n"],
            "messages": [
                { "role": "system", "content": "Answer in one word." },
                { "role": "user", "content": "What is the capital of France?" },
            ],
        }))),
        ("Data that fits a schema" = (value = json!({
            "prompt": "A person, as JSON.", "max_tokens": 256,
            "format": {
                "type": "object",
                "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
                "required": ["name", "age"],
            },
        }))),
        ("A stream" = (value = json!({
            "prompt": "Tell me a story.", "max_tokens": 128, "stream": true,
            "stream_format": "json",
        }))),
    )),
    responses(
        (status = 200, description = "The answer.", content(
            (inline(Answer) = "application/json"),
            (inline(Event) = "text/event-stream"),
            (ollama::generate::GenerateLine<'static> = "application/x-ndjson"),
        )),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn generate(
    State(state): State<Arc<AppState>>,
    ollama::Speaks(ollama): ollama::Speaks,
    body: JsonBody,
) -> Result<Response, ApiError> {
    if ollama {
        return ollama::generate::generate(&state, &body).await;
    }
    let GenerateBody {
        ask,
        stream,
        format,
    } = GenerateBody::read(&body)?;
    let answers = answer::start(&state, ask).await?;
    let keep_alive = state.config.keep_alive();
    Ok(match (stream, format) {
        (false, _) => whole(answers).await?.into_response(),
        (true, StreamFormat::Raw) => sse::response(answers, RawFrames::default(), keep_alive),
        (true, StreamFormat::Json) => {
            let frames = JsonFrames::new(Started::of(&answers));
            sse::response(answers, frames, keep_alive)
        }
    })
}

/// A whole answer, under every name that its known readers look for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GenerateAnswer)]
struct Whole {
    model: String,
    created_at: String,
    response: String,
    /// The same as `response`.
    text: String,
    /// What the model thought before it answered.
    #[serde(skip_serializing_if = "String::is_empty")]
    thinking: String,
    /// Prompt and answer.
    tokens_used: u32,
    #[serde(flatten)]
    done: Done,
}

async fn whole(mut answers: Answers) -> Result<Json<Whole>, ApiError> {
    let started = Started::of(&answers);
    let Answered {
        content,
        reasoning,
        ending,
        ..
    } = answers.collect_one().await?;
    let usage = ending.finish.usage;
    Ok(Json(Whole {
        model: started.model.clone(),
        created_at: report::now(),
        response: content.clone(),
        text: content,
        thinking: reasoning,
        tokens_used: usage.prompt_tokens + usage.completion_tokens,
        done: Done::new(&started, &ending.finish),
    }))
}
