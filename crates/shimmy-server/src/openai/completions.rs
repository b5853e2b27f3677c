//! `POST /v1/completions`: prompts that are continued as they stand.

mod stream;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shimmy_engine::{Prompt, PromptPart};
use utoipa::ToSchema;

use super::envelope::{Completion, Envelope, Streamed};
use super::logprobs::{TextLogprobs, TextReporter};
use super::response_format::{ResponseFormat, rename, shape};
use super::shapes::OtherShapes;
use super::types::StreamOptions;
use super::usage::{Endings, finish_reason};
use crate::answer::{self, Answered, Answers, Ask, Input};
use crate::error::ApiError;
use crate::failures::Answering;
use crate::fields::{LoraField, OneOrMany, Params, SamplingFields, bounded, deadline, max_tokens};
use crate::gap::Gap;
use crate::ignored::Ignored;
use crate::limits::JsonBody;
use crate::loader::KeepAlive;
use crate::openai::error::ErrorBody;
use crate::prompts::{self, prompts};
use crate::state::AppState;
use crate::{blocking, samplers, sse};
use stream::TextFrames;

/// How ids begin, and what the objects call themselves: whole and in pieces the same.
const KIND: (&str, &str) = ("cmpl-", "text_completion");

/// The vendor's limit on `logprobs`.
const MOST_LOGPROBS: u32 = 5;

/// What a local model can do without.
const IGNORED: [&str; 2] = ["id_slot", "user"];

/// What a client sends.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiCompletionRequest)]
struct TextRequest {
    #[serde(flatten)]
    fields: TextFields,
    #[serde(flatten)]
    shapes: OtherShapes,
    #[serde(flatten)]
    sampling: SamplingFields,
}

/// The fields of completions alone.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiCompletionFields)]
struct TextFields {
    model: Option<String>,
    #[schema(schema_with = prompts::schema)]
    prompt: Option<Value>,
    suffix: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
    best_of: Option<u32>,
    echo: Option<bool>,
    logprobs: Option<i64>,
    max_tokens: Option<i64>,
    stop: Option<OneOrMany>,
    response_format: Option<ResponseFormat>,
    grammar: Option<String>,
    ignore_eos: Option<bool>,
    deadline_ms: Option<i64>,
    lora: Option<Vec<LoraField>>,
}

/// A completion request, read.
struct TextBody {
    ask: Ask,
    stream: bool,
    include_usage: bool,
    /// Likeliest tokens to report beside each chosen one.
    logprobs: Option<u32>,
    /// The prompts, where they are to be repeated before their answers.
    echo: Vec<Prompt>,
    /// The field that asks for a shape.
    shape_field: Option<&'static str>,
    ignored: Ignored,
}

/// The events of a stream.
type Event = Streamed<TextChoice<'static>>;

/// Continue a text
#[utoipa::path(
    post, path = "/v1/completions", tag = "OpenAI", operation_id = "openaiCompletion",
    request_body(content = TextRequest, examples(
        ("An example" = (value = json!({ "model": "default", "prompt": "Once upon a time", "max_tokens": 16 }))),
        ("A stream of two answers" = (value = json!({
            "model": "default", "prompt": ["Once", "Twice"], "max_tokens": 4, "logprobs": 2,
            "stream": true, "stream_options": { "include_usage": true },
        }))),
    )),
    responses(
        (status = 200, description = "The answer.", content(
            (Completion<WholeChoice> = "application/json"),
            (inline(Event) = "text/event-stream"),
        )),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn completions(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let TextBody {
        ask,
        stream,
        include_usage,
        logprobs,
        echo,
        shape_field,
        ignored,
    } = TextBody::read(&body, state.config.max_prompts)?;
    let (per_prompt, is_long) = (ask.choices, blocking::is_long(ask.bytes));
    let endings = Endings::new(per_prompt);
    let answers = answer::start(&state, ask)
        .await
        .map_err(|error| rename(error, shape_field))?;
    let model = Arc::clone(&answers.model);
    let spell = move || Ok(echo.iter().map(|p| prompts::text(&model, p)).collect());
    let style = TextStyle {
        logprobs,
        echo: blocking::run(is_long, spell).await?,
        per_prompt,
    };
    let mut response = if stream {
        let envelope = Envelope::new(KIND, answers.model.name.clone(), include_usage, endings);
        let frames = TextFrames::new(envelope, style);
        sse::response(answers, frames, state.config.keep_alive())
    } else {
        whole(answers, &style, endings).await?.into_response()
    };
    ignored.tell(&mut response);
    Ok(response)
}

impl TextBody {
    fn read(body: &JsonBody, max_prompts: usize) -> Result<Self, ApiError> {
        let TextRequest {
            fields,
            shapes,
            sampling,
        } = TextRequest {
            fields: body.read()?,
            shapes: body.read()?,
            sampling: body.read()?,
        };
        samplers::refuse_foreign(body)?;
        let choices = fields.n.unwrap_or(1);
        if fields.best_of.is_some_and(|best_of| best_of != choices) {
            let reason = "must be the same as `n`: answers are not compared with each other";
            return Err(ApiError::field("best_of", reason));
        }
        let logprobs = bounded("logprobs", fields.logprobs, 0..=MOST_LOGPROBS)?;
        let echo = fields.echo.unwrap_or(false);
        if echo && logprobs.is_some() {
            let reason = "cannot be combined with `echo`: a prompt's tokens get no probabilities";
            return Err(ApiError::field("logprobs", reason));
        }
        let shape = shape(fields.response_format, fields.grammar.as_ref(), shapes)?;
        let shape_field = shape.field();
        let params = Params {
            sampling,
            max_tokens: max_tokens("max_tokens", fields.max_tokens)?,
            stop: OneOrMany::texts(fields.stop),
            ignore_eos: fields.ignore_eos.unwrap_or(false),
            deadline: deadline(fields.deadline_ms)?,
            lora: fields.lora,
            constraint: shape.constraint,
            logprobs,
            ..Params::default()
        };
        let prompts = prompts("prompt", fields.prompt, max_prompts)?;
        let echo = if echo { prompts.clone() } else { Vec::new() };
        let input = match fields.suffix.filter(|suffix| !suffix.is_empty()) {
            Some(suffix) => Input::Gap(gap(prompts, suffix)?),
            None => Input::Several(prompts),
        };
        Ok(Self {
            ask: Ask {
                model: fields.model,
                input,
                params,
                choices: choices as usize,
                bytes: body.len(),
                caller: body.caller(),
                keep_alive: KeepAlive::Default,
            },
            stream: fields.stream.unwrap_or(false),
            include_usage: StreamOptions::include_usage(fields.stream_options),
            logprobs,
            echo,
            shape_field,
            ignored: Ignored::fields(body, &IGNORED)?,
        })
    }
}

/// One text in front of the gap and one behind it.
fn gap(mut prompts: Vec<Prompt>, after: String) -> Result<Gap, ApiError> {
    let parts = prompts.pop().map(|prompt| prompt.parts);
    match parts.as_deref() {
        Some([PromptPart::Marked(before)]) if prompts.is_empty() => Ok(Gap {
            before: before.clone(),
            after,
            field: "suffix",
            ..Gap::default()
        }),
        _ => Err(ApiError::field(
            "suffix",
            "needs a `prompt` that is one text: the one in front of the gap",
        )),
    }
}

/// What the request wants to see beside the text.
struct TextStyle {
    logprobs: Option<u32>,
    /// By prompt; empty where nothing is repeated.
    echo: Vec<String>,
    /// How many choices each prompt has.
    per_prompt: usize,
}

impl TextStyle {
    /// What the text of a choice begins with.
    fn echo(&self, choice: usize) -> &str {
        let prompt = choice / self.per_prompt.max(1);
        self.echo.get(prompt).map_or("", String::as_str)
    }

    /// Where probabilities were asked for: what reports those of a choice.
    fn reporter(&self, choice: usize) -> Option<TextReporter> {
        let begun = self.echo(choice).chars().count();
        self.logprobs.map(|top| TextReporter::new(begun, top))
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiTextChunkChoice)]
struct TextChoice<'a> {
    text: &'a str,
    index: usize,
    logprobs: Option<TextLogprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiTextChoice)]
struct WholeChoice {
    text: String,
    index: usize,
    logprobs: Option<TextLogprobs>,
    finish_reason: &'static str,
}

async fn whole(
    mut answers: Answers,
    style: &TextStyle,
    mut endings: Endings,
) -> Result<Json<Completion<WholeChoice>>, ApiError> {
    let mut choices = Vec::new();
    for (index, answered) in answers.collect().await?.into_iter().enumerate() {
        let Answered {
            content,
            logprobs,
            ending,
            ..
        } = answered;
        let reporter = style.reporter(index);
        choices.push(WholeChoice {
            text: format!("{}{content}", style.echo(index)),
            index,
            logprobs: reporter.map(|mut reporter| reporter.report(&logprobs)),
            finish_reason: finish_reason(ending.finish.reason),
        });
        endings.push(index, ending);
    }
    let model = answers.model.name.clone();
    Ok(Json(Completion::new(KIND, model, choices, &endings)))
}
