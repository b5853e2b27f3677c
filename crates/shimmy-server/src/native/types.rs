//! The native dialect's request and its last word, which JSON, SSE and WebSocket share.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shimmy_chat::Message;
use shimmy_engine::{Finish, Prompt};

use crate::answer::{Answers, Ask, Chat, Input};
use crate::error::ApiError;
use crate::fields::{LoraField, OneOrMany, Params, constraint, max_tokens};
use crate::limits::JsonBody;
use crate::messages::{WireMessage, messages};
use crate::report::{LlamaTimings, OllamaCounts, TokenCounts};
use crate::state::KeepAlive;

/// What a client sends. The fields of [`SamplingFields`](crate::fields::SamplingFields) are read
/// beside these.
#[derive(Debug, Deserialize)]
struct GenerateFields {
    model: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<WireMessage>>,
    system: Option<String>,
    max_tokens: Option<i64>,
    stop: Option<OneOrMany>,
    lora: Option<Vec<LoraField>>,
    format: Option<Value>,
    grammar: Option<String>,
    ignore_eos: Option<bool>,
    raw: Option<bool>,
    stream: Option<bool>,
    stream_format: Option<StreamFormat>,
}

/// What stands in the frames of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StreamFormat {
    /// The text itself.
    #[default]
    Raw,
    /// JSON objects, which no text can be mistaken for.
    Json,
}

/// A native request, read.
#[derive(Debug)]
pub(crate) struct GenerateBody {
    pub(crate) ask: Ask,
    pub(crate) stream: bool,
    pub(crate) format: StreamFormat,
}

impl GenerateBody {
    /// Reads a body.
    pub(crate) fn read(body: &JsonBody) -> Result<Self, ApiError> {
        let fields: GenerateFields = body.read()?;
        let params = Params {
            sampling: body.read()?,
            max_tokens: max_tokens("max_tokens", fields.max_tokens)?,
            stop: OneOrMany::texts(fields.stop),
            ignore_eos: fields.ignore_eos.unwrap_or(false),
            lora: fields.lora,
            constraint: constraint(fields.format.as_ref(), fields.grammar.as_ref())?,
            ..Params::default()
        };
        let prompt = fields.prompt.filter(|prompt| !prompt.is_empty());
        let input = match (fields.messages, prompt) {
            // Some clients send both; the messages say more.
            (Some(wire), prompt) if !wire.is_empty() || prompt.is_none() => {
                let mut messages = messages(wire)?;
                // The conversation's own system message says more than the one beside it.
                let system = fields.system.filter(|_| messages[0].role != "system");
                if let Some(system) = system {
                    messages.insert(0, Message::new("system", system));
                }
                Input::Chat(Chat::of(messages))
            }
            (_, Some(text)) if fields.raw == Some(true) => Input::Raw(Prompt::marked(text)),
            (_, Some(text)) => Input::Prompt {
                system: fields.system,
                text,
            },
            (_, None) => return Err(ApiError::field("prompt", "or `messages` is required")),
        };
        Ok(Self {
            ask: Ask {
                model: fields.model,
                input,
                params,
                choices: 1,
                bytes: body.len(),
                keep_alive: KeepAlive::Default,
            },
            stream: fields.stream.unwrap_or(false),
            format: fields.stream_format.unwrap_or_default(),
        })
    }
}

/// The last word of a JSON stream and of every WebSocket answer.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    done: bool,
    finish_reason: &'static str,
    /// Whatever Ollama's clients look for.
    done_reason: &'static str,
    usage: TokenCounts,
    timings: LlamaTimings,
    #[serde(flatten)]
    counts: OllamaCounts,
}

impl Done {
    /// Of a finished answer.
    pub(crate) fn new(answers: &Started, finish: &Finish) -> Self {
        Self {
            done: true,
            finish_reason: finish.reason.as_str(),
            done_reason: finish.reason.as_str(),
            usage: finish.usage.into(),
            timings: finish.into(),
            counts: OllamaCounts::new(finish, answers.received, answers.load),
        }
    }
}

/// What of an answer's beginning its end still needs.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    pub(crate) model: String,
    received: std::time::Instant,
    load: std::time::Duration,
}

impl Started {
    /// Of running answers.
    pub(crate) fn of(answers: &Answers) -> Self {
        Self {
            model: answers.model.name.clone(),
            received: answers.received,
            load: answers.load,
        }
    }
}
