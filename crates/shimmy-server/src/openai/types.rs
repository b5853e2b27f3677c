//! What a chat completion request says, and the objects of its answer.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shimmy_chat::ToolChoice;
use shimmy_engine::{Constraint, FinishReason, Usage};

use crate::answer::{Ask, Chat, Input};
use crate::error::ApiError;
use crate::fields::{LoraField, OneOrMany, Params, constraint, max_tokens};
use crate::limits::JsonBody;
use crate::messages::{WireMessage, messages};
use crate::state::KeepAlive;
use crate::tools::tools;

/// What agents send by habit and a local model can do without. Present, they are left out, and
/// the answer's `x-shimmy-ignored` header says so.
const IGNORED: [&str; 12] = [
    "metadata",
    "moderation",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
];

/// What a client sends. The fields of [`SamplingFields`](crate::fields::SamplingFields) are read
/// beside these.
#[derive(Debug, Deserialize)]
struct ChatFields {
    model: Option<String>,
    messages: Vec<WireMessage>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    stop: Option<OneOrMany>,
    response_format: Option<ResponseFormat>,
    grammar: Option<String>,
    ignore_eos: Option<bool>,
    lora: Option<Vec<LoraField>>,
    chat_template_kwargs: Option<Map<String, Value>>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    functions: Option<Vec<Value>>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    modalities: Option<Vec<String>>,
    audio: Option<Value>,
    web_search_options: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: JsonSchema },
}

#[derive(Debug, Deserialize)]
struct JsonSchema {
    schema: Option<Value>,
}

/// A chat completion request, read.
#[derive(Debug)]
pub(super) struct ChatBody {
    pub(super) ask: Ask,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// The fields that were sent and left out.
    pub(super) ignored: Vec<&'static str>,
}

impl ChatBody {
    /// Reads a body.
    pub(super) fn read(body: &JsonBody) -> Result<Self, ApiError> {
        let fields: ChatFields = body.read()?;
        refuse_unsupported(&fields)?;
        let ignored = ignored(&body.read()?);
        let tools = tools("tools", fields.tools.unwrap_or_default())?;
        let tool_choice = match fields.tool_choice.as_ref().and_then(Value::as_str) {
            Some("none") => ToolChoice::None,
            _ => ToolChoice::Auto,
        };
        // The older name is checked even where the newer one wins.
        let limit = max_tokens("max_completion_tokens", fields.max_completion_tokens)?;
        let older_limit = max_tokens("max_tokens", fields.max_tokens)?;
        let params = Params {
            sampling: body.read()?,
            max_tokens: limit.or(older_limit),
            stop: OneOrMany::texts(fields.stop),
            ignore_eos: fields.ignore_eos.unwrap_or(false),
            lora: fields.lora,
            constraint: shape(fields.response_format, fields.grammar)?,
            ..Params::default()
        };
        let messages = messages(fields.messages)?;
        let kwargs = fields.chat_template_kwargs.unwrap_or_default();
        Ok(Self {
            ask: Ask {
                model: fields.model,
                input: Input::Chat(Chat {
                    tools,
                    tool_choice,
                    kwargs,
                    ..Chat::of(messages)
                }),
                params,
                choices: fields.n.unwrap_or(1) as usize,
                bytes: body.len(),
                keep_alive: KeepAlive::Default,
            },
            stream: fields.stream.unwrap_or(false),
            include_usage: fields
                .stream_options
                .is_some_and(|options| options.include_usage == Some(true)),
            ignored,
        })
    }
}

/// What would change the meaning of the answer is refused, never left out in silence.
fn refuse_unsupported(fields: &ChatFields) -> Result<(), ApiError> {
    let unsupported = |field| Err(ApiError::field(field, "is not supported yet"));
    if fields.logprobs == Some(true) {
        return unsupported("logprobs");
    }
    if fields.top_logprobs.is_some_and(|count| count > 0) {
        return unsupported("top_logprobs");
    }
    if fields.web_search_options.is_some() {
        return unsupported("web_search_options");
    }
    if fields
        .functions
        .as_ref()
        .is_some_and(|functions| !functions.is_empty())
    {
        return Err(ApiError::field(
            "functions",
            "is not supported: send `tools`",
        ));
    }
    if fields.audio.is_some() {
        return unsupported("audio");
    }
    if fields
        .modalities
        .iter()
        .flatten()
        .any(|modality| modality != "text")
    {
        return Err(ApiError::field("modalities", "may only hold \"text\""));
    }
    match &fields.tool_choice {
        None => Ok(()),
        Some(Value::String(choice)) if choice == "auto" || choice == "none" => Ok(()),
        Some(Value::String(choice)) if choice != "required" => {
            let reason = "must be \"auto\", \"none\", \"required\" or an object that names a tool";
            Err(ApiError::field("tool_choice", reason))
        }
        Some(_) => Err(ApiError::field(
            "tool_choice",
            "is not supported yet except as \"auto\" and \"none\"",
        )),
    }
}

/// Which of the fields to be left out are there and say something.
fn ignored(present: &BTreeMap<String, Option<IgnoredAny>>) -> Vec<&'static str> {
    let sent = |field: &&str| present.get(*field).is_some_and(Option::is_some);
    IGNORED.into_iter().filter(sent).collect()
}

fn shape(
    format: Option<ResponseFormat>,
    grammar: Option<String>,
) -> Result<Option<Constraint>, ApiError> {
    let format = match format {
        None | Some(ResponseFormat::Text) => None,
        Some(ResponseFormat::JsonObject) => Some(Value::from("json")),
        Some(ResponseFormat::JsonSchema { json_schema }) => match json_schema.schema {
            Some(schema @ Value::Object(_)) => Some(schema),
            // The vendor allows a format without a schema: then only JSON is asked for.
            None => Some(Value::from("json")),
            Some(_) => {
                let field = "response_format.json_schema.schema";
                return Err(ApiError::field(field, "must be an object"));
            }
        },
    };
    constraint(format.as_ref(), grammar.as_ref())
}

/// A complete answer.
#[derive(Debug, Serialize)]
pub(super) struct Completion {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) created: i64,
    pub(super) model: String,
    pub(super) system_fingerprint: &'static str,
    pub(super) choices: Vec<Choice>,
    pub(super) usage: UsageBody,
}

#[derive(Debug, Serialize)]
pub(super) struct Choice {
    pub(super) index: usize,
    pub(super) message: AnswerMessage,
    pub(super) logprobs: Option<()>,
    pub(super) finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct AnswerMessage {
    pub(super) role: &'static str,
    pub(super) content: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reasoning_content: String,
    pub(super) refusal: Option<()>,
    pub(super) annotations: [(); 0],
}

/// Tokens, with the details that the vendor's schema requires.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct UsageBody {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: u32,
    audio_tokens: u32,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u32,
    audio_tokens: u32,
    accepted_prediction_tokens: u32,
    rejected_prediction_tokens: u32,
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached_tokens,
                audio_tokens: 0,
            },
            completion_tokens_details: CompletionDetails::default(),
        }
    }
}

/// The vendor has no word for an answer that was stopped from outside: it stopped.
pub(super) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Cancelled => "stop",
        FinishReason::Length => "length",
    }
}

/// Names the build that answered: what the vendor's field is for.
pub(super) const FINGERPRINT: &str = concat!("shimmy-", env!("CARGO_PKG_VERSION"));
