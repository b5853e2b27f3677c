//! The lines of an answer. Not streamed, an answer is its last line with everything in it.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use shimmy_chat::Delta;
use shimmy_engine::{Finish, TokenLogprobs};
use utoipa::ToSchema;

use super::error;
use super::options::renamed;
use super::request::Common;
use crate::answer::{self, Answered, Answers, Call, DEFAULT_MODEL, Ending, Input};
use crate::error::ApiError;
use crate::limits::JsonBody;
use crate::loader::KeepAlive;
use crate::openai::logprobs::ChatToken;
use crate::report::{self, OllamaCounts};
use crate::sse::{self, Frames};
use crate::state::AppState;

/// How a route writes what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    Generate,
}

/// A line of either route.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Chat(ChatLine<'a>),
    Generate(GenerateLine<'a>),
}

/// A line of `/api/chat`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaChatLine)]
pub(crate) struct ChatLine<'a> {
    model: &'a str,
    created_at: String,
    message: AnswerMessage<'a>,
    done: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<ChatToken>,
    #[serde(flatten)]
    rest: Option<Rest>,
}

/// What the assistant says in a line.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaAnswerMessage)]
struct AnswerMessage<'a> {
    /// Always `assistant`.
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

/// A call of a tool, whole.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaToolCall)]
struct ToolCall {
    id: String,
    function: Function,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaFunction)]
struct Function {
    /// Which call of the answer this is.
    index: usize,
    name: String,
    arguments: Map<String, Value>,
}

/// A line of `/api/generate`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaGenerateLine)]
pub(crate) struct GenerateLine<'a> {
    model: &'a str,
    created_at: String,
    response: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    done: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<ChatToken>,
    #[serde(flatten)]
    rest: Option<Rest>,
}

/// What only the last line has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaRest)]
struct Rest {
    /// `stop`, `length`, `load` or `unload`.
    done_reason: &'static str,
    /// Absent where nothing was asked.
    #[serde(flatten)]
    counts: Option<OllamaCounts>,
}

/// Answers a request, in lines or in one piece.
pub(super) async fn answered(
    state: &AppState,
    common: Common,
    input: Input,
    body: &JsonBody,
    shape: Shape,
) -> Result<Response, ApiError> {
    let (stream, mut ignored) = (common.stream, common.ignored.clone());
    let context = common.params.context;
    let mut answers = answer::start(state, common.ask(input, body))
        .await
        .map_err(renamed)?;
    let served = answers.model.session.engine().context();
    if context.is_some_and(|context| context as usize > served) {
        // Nothing is cut for it: what does not fit is an error with both numbers.
        ignored.note("options.num_ctx");
    }
    ignored.note_unheard(&answers.unheard, ("think", "think"));
    let lines = Lines::new(shape, &answers);
    let mut response = if stream {
        streamed(sse::body(answers, lines, state.config.keep_alive()))
    } else {
        lines.whole(answers.collect_one().await?)
    };
    ignored.tell(&mut response);
    Ok(response)
}

/// A response of lines.
pub(super) fn streamed(body: Body) -> Response {
    sse::unbuffered("application/x-ndjson", body)
}

/// Appends one line.
pub(super) fn line(value: &impl Serialize, out: &mut Vec<u8>) {
    sse::json(value, out);
    out.push(b'\n');
}

/// A request that asks nothing: it loads the model, or with a `keep_alive` of zero unloads it.
pub(super) async fn load_or_unload(
    state: &AppState,
    common: &Common,
    shape: Shape,
) -> Result<Response, ApiError> {
    let name = common.model.as_deref();
    let (model, done_reason) = if common.keep_alive == KeepAlive::For(Duration::ZERO) {
        answer::unload_model(state, name).await?;
        (name.unwrap_or(DEFAULT_MODEL).to_owned(), "unload")
    } else {
        let model = answer::find_model(state, name, common.keep_alive).await?;
        (model.name.clone(), "load")
    };
    let rest = Rest {
        done_reason,
        counts: None,
    };
    let line = shape.line(&model, Said::default(), Some(rest));
    let mut response = Json(line).into_response();
    common.ignored.tell(&mut response);
    Ok(response)
}

/// What one line says.
#[derive(Debug, Default)]
struct Said<'a> {
    text: &'a str,
    thinking: &'a str,
    calls: Vec<ToolCall>,
    logprobs: &'a [TokenLogprobs],
}

impl Shape {
    fn line<'a>(self, model: &'a str, said: Said<'a>, rest: Option<Rest>) -> Line<'a> {
        let created_at = report::now();
        let done = rest.is_some();
        let logprobs = said.logprobs.iter().map(ChatToken::from).collect();
        match self {
            Shape::Chat => Line::Chat(ChatLine {
                model,
                created_at,
                message: AnswerMessage {
                    role: "assistant",
                    content: said.text,
                    thinking: said.thinking,
                    tool_calls: said.calls,
                },
                done,
                logprobs,
                rest,
            }),
            Shape::Generate => Line::Generate(GenerateLine {
                model,
                created_at,
                response: said.text,
                thinking: said.thinking,
                done,
                logprobs,
                rest,
            }),
        }
    }
}

impl ToolCall {
    /// The call, or the text of one whose arguments are no object because it was cut short.
    fn new(index: usize, call: Call) -> Result<Self, String> {
        match serde_json::from_str(&call.arguments) {
            Ok(arguments) => Ok(Self {
                id: report::unique_id("call_"),
                function: Function {
                    index,
                    name: call.name,
                    arguments,
                },
            }),
            Err(_) => Err(format!("{}({}", call.name, call.arguments)),
        }
    }
}

/// The lines of one answer.
struct Lines {
    shape: Shape,
    model: String,
    received: Instant,
    load: Duration,
    /// The call that is being written: clients get calls only whole.
    call: Option<Call>,
    /// Calls that are whole.
    calls: usize,
    /// Of tokens that have not come with a line yet.
    logprobs: Vec<TokenLogprobs>,
}

impl Lines {
    fn new(shape: Shape, answers: &Answers) -> Self {
        Self {
            shape,
            model: answers.model.name.clone(),
            received: answers.received,
            load: answers.load,
            call: None,
            calls: 0,
            logprobs: Vec::new(),
        }
    }

    /// An answer that is not streamed.
    fn whole(&self, answered: Answered) -> Response {
        let mut text = answered.content;
        let mut calls = Vec::with_capacity(answered.calls.len());
        for call in answered.calls {
            match ToolCall::new(calls.len(), call) {
                Ok(call) => calls.push(call),
                Err(cut) => text.push_str(&cut),
            }
        }
        let said = Said {
            text: &text,
            thinking: &answered.reasoning,
            calls,
            logprobs: &answered.logprobs,
        };
        let rest = self.rest(&answered.ending.finish);
        Json(self.shape.line(&self.model, said, Some(rest))).into_response()
    }

    fn rest(&self, finish: &Finish) -> Rest {
        Rest {
            done_reason: finish.reason.as_str(),
            counts: Some(OllamaCounts::new(finish, self.received, self.load)),
        }
    }

    fn write(&mut self, said: Said<'_>, rest: Option<Rest>, out: &mut Vec<u8>) {
        let logprobs = std::mem::take(&mut self.logprobs);
        let said = Said {
            logprobs: &logprobs,
            ..said
        };
        line(&self.shape.line(&self.model, said, rest), out);
    }

    /// The call that has been written, now that something else follows.
    fn end_call(&mut self, out: &mut Vec<u8>) {
        let Some(call) = self.call.take() else {
            return;
        };
        match ToolCall::new(self.calls, call) {
            Ok(call) => {
                self.calls += 1;
                let calls = vec![call];
                let said = Said {
                    calls,
                    ..Said::default()
                };
                self.write(said, None, out);
            }
            Err(cut) => self.write(Said::of(&cut), None, out),
        }
    }
}

impl<'a> Said<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }
}

impl Frames for Lines {
    fn delta(&mut self, _: usize, delta: &Delta, logprobs: &[TokenLogprobs], out: &mut Vec<u8>) {
        if !matches!(delta, Delta::ToolArguments { .. }) {
            self.end_call(out);
        }
        self.logprobs.extend_from_slice(logprobs);
        match delta {
            Delta::Content(text) => self.write(Said::of(text), None, out),
            Delta::Reasoning(thinking) => {
                let said = Said {
                    thinking,
                    ..Said::default()
                };
                self.write(said, None, out);
            }
            Delta::ToolCall { name, .. } => {
                self.call = Some(Call {
                    name: name.clone(),
                    arguments: String::new(),
                });
            }
            Delta::ToolArguments { json, .. } => {
                if let Some(call) = &mut self.call {
                    call.arguments.push_str(json);
                }
            }
        }
    }

    fn finished(&mut self, _: usize, ending: Ending, out: &mut Vec<u8>) {
        self.end_call(out);
        self.logprobs.extend_from_slice(&ending.logprobs);
        let rest = self.rest(&ending.finish);
        self.write(Said::default(), Some(rest), out);
    }

    fn close(&mut self, _: &mut Vec<u8>) {}

    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        line(&error::body(error), out);
    }

    /// Lines of JSON have no comments: an empty text is the only sign of life there is.
    fn idle(&mut self, out: &mut Vec<u8>) {
        self.write(Said::default(), None, out);
    }
}

#[cfg(test)]
mod tests;
