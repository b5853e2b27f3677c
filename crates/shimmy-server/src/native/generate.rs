//! `POST /api/generate`: one JSON answer or a stream of server-sent events.
//!
//! On the same path Ollama's clients are answered in their dialect; which one a client speaks is
//! decided here and nowhere else.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::stream::{JsonFrames, RawFrames};
use super::types::{Done, GenerateBody, Started, StreamFormat};
use crate::answer::{self, Answered, Answers};
use crate::error::ApiError;
use crate::limits::JsonBody;
use crate::state::AppState;
use crate::{ollama, report, sse};

/// The handler.
pub(crate) async fn generate(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    if ollama::is_client(&headers) {
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
#[derive(Debug, Serialize)]
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
