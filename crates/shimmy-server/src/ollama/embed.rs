//! `POST /api/embed`, and `POST /api/embeddings`, which was there before it.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shimmy_engine::{Prompt, PromptPart};
use utoipa::ToSchema;

use super::error::ErrorBody;
use crate::answer::find_model;
use crate::blocking;
use crate::error::ApiError;
use crate::failures::Answering;
use crate::fields::OneOrMany;
use crate::ignored::Ignored;
use crate::keep_alive::keep_alive;
use crate::limits::JsonBody;
use crate::model::LoadedModel;
use crate::report::nanoseconds;
use crate::state::AppState;
use crate::vectors::{self, Vectors, finished};

/// What a client sends.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaEmbedRequest)]
pub(crate) struct EmbedRequest {
    model: Option<String>,
    /// A text or several. Without any, the model is only loaded.
    input: Option<OneOrMany>,
    /// Whether texts that are too long are cut at their ends. Otherwise they are refused.
    truncate: Option<bool>,
    /// How many numbers of each vector.
    #[schema(minimum = 1)]
    dimensions: Option<u32>,
    keep_alive: Option<Value>,
    /// Left out: they are about answers.
    #[schema(value_type = Option<Object>)]
    options: Option<Value>,
}

/// The vectors.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaEmbedAnswer)]
pub(crate) struct EmbedAnswer {
    model: String,
    /// One for each text, of the length 1.
    embeddings: Vec<Vec<f32>>,
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: u32,
}

/// What a client of the older route sends.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaEmbeddingsRequest)]
pub(crate) struct EmbeddingsRequest {
    model: Option<String>,
    /// One text. Without any, the model is only loaded.
    prompt: Option<String>,
    keep_alive: Option<Value>,
    /// Left out: they are about answers.
    #[schema(value_type = Option<Object>)]
    options: Option<Value>,
}

/// The vector.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaEmbeddingsAnswer)]
pub(crate) struct EmbeddingsAnswer {
    /// As the model gives it, of any length.
    embedding: Vec<f32>,
}

/// Make vectors of texts, as Ollama's clients ask
#[utoipa::path(
    post, path = "/api/embed", tag = "Ollama", operation_id = "ollamaEmbed",
    request_body(content = EmbedRequest, examples(
        ("An example" = (value = json!({ "model": "default", "input": ["first", "second"] }))),
    )),
    responses(
        (status = 200, description = "The vectors.", body = EmbedAnswer),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn embed(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let received = Instant::now();
    let request: EmbedRequest = body.read()?;
    if request.dimensions == Some(0) {
        return Err(ApiError::field("dimensions", "must be at least 1, got 0"));
    }
    let texts = match request.input {
        // As the vendor has it: a text that is empty is none, but one of several is refused.
        Some(OneOrMany::One(text)) if text.is_empty() => Vec::new(),
        input => OneOrMany::texts(input),
    };
    if texts.len() > state.config.max_texts {
        let reason = format!(
            "may hold {} entries, got {}",
            state.config.max_texts,
            texts.len()
        );
        return Err(ApiError::field("input", reason));
    }
    let model = model(&state, request.model, request.keep_alive.as_ref()).await?;
    let load_duration = nanoseconds(received.elapsed());
    let name = model.name.clone();
    let mut answer = EmbedAnswer {
        model: name,
        embeddings: Vec::with_capacity(texts.len()),
        total_duration: 0,
        load_duration,
        prompt_eval_count: 0,
    };
    if !texts.is_empty() {
        let texts = texts.into_iter().map(text).collect();
        let texts = match request.truncate {
            Some(false) => texts,
            // As the vendor has it: who minds says so.
            None | Some(true) => cut(&model, texts).await?,
        };
        let made = vectors::embed_by(&state, model, "input", texts).await?;
        answer.prompt_eval_count = made.tokens;
        for vector in made.vectors {
            answer
                .embeddings
                .push(finished(vector, request.dimensions)?);
        }
    }
    answer.total_duration = nanoseconds(received.elapsed());
    Ok(told(Json(answer), request.options.as_ref()))
}

/// Make a vector of a text, as Ollama's older clients ask
#[utoipa::path(
    post, path = "/api/embeddings", tag = "Ollama", operation_id = "ollamaEmbeddings",
    request_body(content = EmbeddingsRequest, examples(
        ("An example" = (value = json!({ "model": "default", "prompt": "a text" }))),
    )),
    responses(
        (status = 200, description = "The vector.", body = EmbeddingsAnswer),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn embeddings(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let request: EmbeddingsRequest = body.read()?;
    let model = model(&state, request.model, request.keep_alive.as_ref()).await?;
    let prompt = request.prompt.filter(|prompt| !prompt.is_empty());
    let embedding = match prompt {
        None => Vec::new(),
        Some(prompt) => {
            let Vectors { vectors, .. } =
                vectors::embed_by(&state, model, "prompt", vec![text(prompt)]).await?;
            vectors.into_iter().next().unwrap_or_default()
        }
    };
    let answer = Json(EmbeddingsAnswer { embedding });
    Ok(told(answer, request.options.as_ref()))
}

async fn model(
    state: &AppState,
    name: Option<String>,
    time: Option<&Value>,
) -> Result<Arc<LoadedModel>, ApiError> {
    find_model(state, name.as_deref(), keep_alive(time)?).await
}

fn text(text: String) -> Prompt {
    Prompt::marked(text)
}

/// The texts, those that are too long without their ends: what the client asked for by name.
async fn cut(model: &Arc<LoadedModel>, texts: Vec<Prompt>) -> Result<Vec<Prompt>, ApiError> {
    let Some((_, limit)) = model.session.engine().embedding() else {
        return Ok(texts);
    };
    // The mark that the model ends texts with needs its place too.
    let end = model.session.tokenizer().text_marks().end;
    let limit = limit.saturating_sub(usize::from(end.is_some()));
    let model = Arc::clone(model);
    let is_long = blocking::is_long(texts.iter().map(Prompt::bytes).sum());
    blocking::run(is_long, move || {
        let cut = |text: &Prompt| {
            let parts = vec![PromptPart::Tokens(
                model.session.tokenize_start(text, limit)?,
            )];
            Ok(Prompt { parts })
        };
        texts.iter().map(cut).collect()
    })
    .await
}

fn told(answer: impl IntoResponse, options: Option<&Value>) -> Response {
    let mut response = answer.into_response();
    let mut ignored = Ignored::default();
    let is_empty = |options: &Value| options.as_object().is_some_and(serde_json::Map::is_empty);
    if options.is_some_and(|options| !options.is_null() && !is_empty(options)) {
        ignored.note("options");
    }
    ignored.tell(&mut response);
    response
}
