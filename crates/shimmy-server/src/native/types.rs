//! The native dialect's request and its last word, which JSON, SSE and WebSocket share.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shimmy_chat::{Message, Thinking};
use shimmy_engine::{Finish, Prompt};
use utoipa::ToSchema;

use crate::answer::{Answers, Ask, Chat, Input};
use crate::error::ApiError;
use crate::fields::{
    LoraField, OneOrMany, Params, SamplingFields, constraint, deadline, max_tokens,
};
use crate::keep_alive::keep_alive;
use crate::limits::JsonBody;
use crate::messages::{WireMessage, messages};
use crate::report::{LlamaTimings, OllamaCounts, TokenCounts};

/// What a client sends.
#[derive(Debug, ToSchema)]
pub(crate) struct GenerateRequest {
    #[serde(flatten)]
    fields: GenerateFields,
    #[serde(flatten)]
    sampling: SamplingFields,
}

/// `prompt` or `messages` is required.
#[derive(Debug, Deserialize, ToSchema)]
struct GenerateFields {
    /// A model's name. Absent or `default`: the base model, or the only one there is.
    model: Option<String>,
    /// The question, or with `raw` the text to continue.
    prompt: Option<String>,
    /// A conversation; wins over `prompt`.
    messages: Option<Vec<WireMessage>>,
    /// What the model is told before the question.
    system: Option<String>,
    /// Tokens of the answer at most; what the context leaves if absent.
    #[schema(minimum = 1)]
    max_tokens: Option<i64>,
    /// The answer ends before the first of these texts.
    stop: Option<OneOrMany>,
    /// The adapters to apply; absent: those that the server was started with.
    lora: Option<Vec<LoraField>>,
    /// `"json"`, or a JSON schema that the answer must fit.
    format: Option<Value>,
    /// A grammar that the answer must fit: llama.cpp's GBNF if its first rule is defined by `::=`,
    /// Lark otherwise.
    grammar: Option<String>,
    /// How long the model stays in memory afterwards: seconds, or a duration such as `5m`; negative
    /// is for ever, and zero unloads it when nothing uses it.
    keep_alive: Option<Value>,
    /// Milliseconds that the answer may take; it then ends as it stands, as one that is too long.
    #[schema(minimum = 1, maximum = 86_400_000)]
    deadline_ms: Option<i64>,
    /// Whether to go on after the model's end token.
    ignore_eos: Option<bool>,
    /// Whether the prompt goes to the model as it is, without its template.
    raw: Option<bool>,
    /// Whether the answer comes as server-sent events.
    stream: Option<bool>,
    stream_format: Option<StreamFormat>,
}

/// What stands in the frames of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
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
        let GenerateRequest { fields, sampling } = GenerateRequest {
            fields: body.read()?,
            sampling: body.read()?,
        };
        let params = Params {
            sampling,
            max_tokens: max_tokens("max_tokens", fields.max_tokens)?,
            stop: OneOrMany::texts(fields.stop),
            ignore_eos: fields.ignore_eos.unwrap_or(false),
            deadline: deadline(fields.deadline_ms)?,
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
                thinking: Thinking::default(),
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
                caller: body.caller(),
                keep_alive: keep_alive(fields.keep_alive.as_ref())?,
            },
            stream: fields.stream.unwrap_or(false),
            format: fields.stream_format.unwrap_or_default(),
        })
    }
}

/// The last word of a JSON stream and of every WebSocket answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always true.
    done: bool,
    /// `stop`, `length` or `cancelled`.
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
