//! `POST /api/generate` as Ollama's clients know it: lines of JSON, streaming unless told not to.

use std::time::{Duration, Instant};

use axum::Json;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shimmy_chat::Delta;
use shimmy_engine::{Finish, Prompt, TokenLogprobs};
use utoipa::ToSchema;

use crate::answer::{self, Ask, DEFAULT_MODEL, Ending, Input};
use crate::error::ApiError;
use crate::fields::{self, OneOrMany, Params, SamplingFields, constraint};
use crate::limits::JsonBody;
use crate::native;
use crate::report::{self, OllamaCounts};
use crate::sse::{self, Frames};
use crate::state::{AppState, KeepAlive};

/// What a client sends.
#[derive(Debug, ToSchema)]
#[schema(as = OllamaGenerateRequest)]
pub(crate) struct GenerateRequest {
    #[serde(flatten)]
    fields: GenerateFields,
    #[serde(flatten)]
    sampling: SamplingOptions,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaGenerateFields)]
struct GenerateFields {
    model: Option<String>,
    prompt: Option<String>,
    system: Option<String>,
    raw: Option<bool>,
    stream: Option<bool>,
    format: Option<Value>,
    options: Option<Options>,
    /// Seconds or a duration; only zero with an empty prompt means something here.
    keep_alive: Option<Value>,
    suffix: Option<String>,
    template: Option<String>,
    images: Option<Vec<Value>>,
    context: Option<Vec<Value>>,
}

/// `options`, by Ollama's names; the sampling fields are read beside these.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = OllamaOptions)]
struct Options {
    /// Negative means no limit.
    num_predict: Option<i64>,
    stop: Option<OneOrMany>,
}

/// The sampling fields, which stand one level deeper than elsewhere.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaSamplingOptions)]
struct SamplingOptions {
    options: Option<SamplingFields>,
}

/// Answers one request.
pub(crate) async fn generate(state: &AppState, body: &JsonBody) -> Result<Response, ApiError> {
    let GenerateRequest { fields, sampling } = GenerateRequest {
        fields: body.read()?,
        sampling: body.read()?,
    };
    refuse_unsupported(&fields)?;
    let Some(text) = fields.prompt.clone().filter(|prompt| !prompt.is_empty()) else {
        return load_or_unload(state, &fields).await;
    };
    let options = fields.options.unwrap_or_default();
    let params = Params {
        sampling: sampling.options.unwrap_or_default(),
        max_tokens: max_tokens(options.num_predict)?,
        stop: OneOrMany::texts(options.stop),
        constraint: constraint(fields.format.as_ref(), None)?,
        ..Params::default()
    };
    let input = match fields.raw {
        Some(true) => Input::Raw(Prompt::marked(text)),
        _ => Input::Prompt {
            system: fields.system.filter(|text| !text.is_empty()),
            text,
        },
    };
    let ask = Ask {
        model: fields.model,
        input,
        params,
        choices: 1,
        bytes: body.len(),
        caller: body.caller(),
        keep_alive: KeepAlive::Default,
    };
    let mut answers = answer::start(state, ask).await?;
    let mut lines = Lines {
        model: answers.model.name.clone(),
        received: answers.received,
        load: answers.load,
    };
    if fields.stream == Some(false) {
        let answered = answers.collect_one().await?;
        let line = lines.last(&answered.content, &answered.ending.finish);
        return Ok(Json(line).into_response());
    }
    let mut response = Response::new(sse::body(answers, lines, state.config.keep_alive()));
    let content_type = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// What would change the meaning of the answer is refused, never left out in silence.
fn refuse_unsupported(fields: &GenerateFields) -> Result<(), ApiError> {
    let sent = [
        (
            "suffix",
            fields.suffix.as_ref().is_some_and(|text| !text.is_empty()),
        ),
        (
            "template",
            fields
                .template
                .as_ref()
                .is_some_and(|text| !text.is_empty()),
        ),
        (
            "images",
            fields.images.as_ref().is_some_and(|list| !list.is_empty()),
        ),
        (
            "context",
            fields.context.as_ref().is_some_and(|list| !list.is_empty()),
        ),
    ];
    match sent.into_iter().find(|(_, sent)| *sent) {
        Some((field, _)) => Err(ApiError::field(field, "is not supported yet")),
        None => Ok(()),
    }
}

fn max_tokens(num_predict: Option<i64>) -> Result<Option<u32>, ApiError> {
    match num_predict {
        None | Some(..0) => Ok(None),
        count => fields::max_tokens("options.num_predict", count),
    }
}

/// An empty prompt only loads the model, and with `keep_alive: 0` unloads it.
async fn load_or_unload(state: &AppState, fields: &GenerateFields) -> Result<Response, ApiError> {
    let unload = match &fields.keep_alive {
        Some(Value::Number(seconds)) => seconds.as_f64() == Some(0.0),
        Some(Value::String(duration)) => duration.trim_end_matches(['s', 'm', 'h']) == "0",
        _ => false,
    };
    let name = fields.model.as_deref();
    let (model, done_reason) = if unload {
        answer::unload_model(state, name).await?;
        (name.unwrap_or(DEFAULT_MODEL).to_owned(), "unload")
    } else {
        let model = answer::find_model(state, name, KeepAlive::Default).await?;
        (model.name.clone(), "load")
    };
    let line = Line {
        model: &model,
        created_at: report::now(),
        response: "",
        done: true,
        rest: None,
    };
    Ok(Json(Loaded { line, done_reason }).into_response())
}

#[derive(Serialize)]
struct Loaded<'a> {
    #[serde(flatten)]
    line: Line<'a>,
    done_reason: &'static str,
}

/// A line of a stream; not streamed, the only one.
#[derive(Serialize, ToSchema)]
#[schema(as = OllamaGenerateLine)]
pub(crate) struct Line<'a> {
    model: &'a str,
    created_at: String,
    response: &'a str,
    done: bool,
    #[serde(flatten)]
    rest: Option<Rest>,
}

/// What only the last line has.
#[derive(Serialize, ToSchema)]
#[schema(as = OllamaGenerateRest)]
struct Rest {
    done_reason: &'static str,
    #[serde(flatten)]
    counts: OllamaCounts,
}

struct Lines {
    model: String,
    received: Instant,
    load: Duration,
}

impl Lines {
    fn last<'a>(&'a mut self, text: &'a str, finish: &Finish) -> Line<'a> {
        let counts = OllamaCounts::new(finish, self.received, self.load);
        Line {
            model: &self.model,
            created_at: report::now(),
            response: text,
            done: true,
            rest: Some(Rest {
                done_reason: finish.reason.as_str(),
                counts,
            }),
        }
    }
}

impl Lines {
    fn text(&self, text: &str, out: &mut Vec<u8>) {
        let created_at = report::now();
        let text = Line {
            model: &self.model,
            created_at,
            response: text,
            done: false,
            rest: None,
        };
        line(&text, out);
    }
}

fn line(value: &impl Serialize, out: &mut Vec<u8>) {
    sse::json(value, out);
    out.push(b'\n');
}

impl Frames for Lines {
    fn delta(&mut self, _: usize, delta: &Delta, _: &[TokenLogprobs], out: &mut Vec<u8>) {
        if let Delta::Content(text) = delta {
            self.text(text, out);
        }
    }

    fn finished(&mut self, _: usize, ending: Ending, out: &mut Vec<u8>) {
        line(&self.last("", &ending.finish), out);
    }

    fn close(&mut self, _out: &mut Vec<u8>) {}

    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        line(&native::error::body(error), out);
    }

    /// Lines of JSON have no comments: an empty text is the only sign of life there is.
    fn idle(&mut self, out: &mut Vec<u8>) {
        self.text("", out);
    }
}
