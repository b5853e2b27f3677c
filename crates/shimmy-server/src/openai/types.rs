//! What a chat completion request says, and the messages of its answer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shimmy_chat::Thinking;
use shimmy_engine::MAX_LOGPROBS;
use utoipa::ToSchema;

use super::habits;
use super::response_format::{ResponseFormat, shape};
use super::shapes::OtherShapes;
use super::tool_use::{CallStyle, ToolFields, ToolUse};
use crate::answer::{Ask, Call, Chat, Input};
use crate::continuing::Continuing;
use crate::error::ApiError;
use crate::fields::{LoraField, OneOrMany, Params, SamplingFields, bounded, deadline, max_tokens};
use crate::ignored::Ignored;
use crate::limits::JsonBody;
use crate::loader::KeepAlive;
use crate::messages::{WireMessage, messages};
use crate::{report, samplers};

/// What agents send by habit and a local model can do without. Present, they are left out, and
/// the answer's `x-shimmy-ignored` header says so.
pub(super) const IGNORED: [&str; 12] = [
    "id_slot",
    "metadata",
    "moderation",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
];

/// The fields of chats alone.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiChatFields)]
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
    reasoning_effort: Option<Effort>,
    grammar: Option<String>,
    ignore_eos: Option<bool>,
    deadline_ms: Option<i64>,
    lora: Option<Vec<LoraField>>,
    chat_template_kwargs: Option<Map<String, Value>>,
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
    modalities: Option<Vec<String>>,
    audio: Option<Value>,
    web_search_options: Option<Value>,
}

/// All that a client sends.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiChatRequest)]
pub(super) struct ChatRequest {
    #[serde(flatten)]
    fields: ChatFields,
    #[serde(flatten)]
    shapes: OtherShapes,
    #[serde(flatten)]
    continuing: Continuing,
    #[serde(flatten)]
    tools: ToolFields,
    #[serde(flatten)]
    sampling: SamplingFields,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiStreamOptions)]
pub(super) struct StreamOptions {
    include_usage: Option<bool>,
}

impl StreamOptions {
    /// Whether a stream ends with its usage.
    pub(super) fn include_usage(options: Option<Self>) -> bool {
        options.is_some_and(|options| options.include_usage == Some(true))
    }
}

/// How much a model is to think.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[schema(as = OpenAiEffort)]
#[serde(rename_all = "lowercase")]
enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    #[serde(rename = "xhigh")]
    ExtraHigh,
    Max,
}

impl Effort {
    fn as_str(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::ExtraHigh => "xhigh",
            Effort::Max => "max",
        }
    }
}

/// A chat completion request, read.
#[derive(Debug)]
pub(super) struct ChatBody {
    pub(super) ask: Ask,
    pub(super) stream: bool,
    pub(super) answer: AnswerStyle,
    pub(super) include_usage: bool,
    /// The field that asks for a shape.
    pub(super) shape_field: Option<&'static str>,
    /// The fields that were sent and left out.
    pub(super) ignored: Ignored,
}

/// What the request wants to see in the answer's messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerStyle {
    pub(super) calls: CallStyle,
    pub(super) logprobs: bool,
}

impl ChatBody {
    /// Reads a body.
    pub(super) fn read(body: &JsonBody) -> Result<Self, ApiError> {
        let ChatRequest {
            fields,
            shapes,
            continuing,
            tools,
            sampling,
        } = ChatRequest {
            fields: body.read()?,
            shapes: body.read()?,
            continuing: body.read()?,
            tools: body.read()?,
            sampling: body.read()?,
        };
        refuse_unsupported(&fields)?;
        samplers::refuse_foreign(body)?;
        habits::check(body)?;
        let logprobs = logprobs(&fields)?;
        let ToolUse {
            tools,
            choice,
            parallel,
            style,
        } = tools.read()?;
        // The older name is checked even where the newer one wins.
        let limit = max_tokens("max_completion_tokens", fields.max_completion_tokens)?;
        let older_limit = max_tokens("max_tokens", fields.max_tokens)?;
        let shape = shape(fields.response_format, fields.grammar.as_ref(), shapes)?;
        let shape_field = shape.field();
        let params = Params {
            sampling,
            max_tokens: limit.or(older_limit),
            stop: OneOrMany::texts(fields.stop),
            ignore_eos: fields.ignore_eos.unwrap_or(false),
            deadline: deadline(fields.deadline_ms)?,
            lora: fields.lora,
            constraint: shape.constraint,
            logprobs,
            ..Params::default()
        };
        let kwargs = fields.chat_template_kwargs.unwrap_or_default();
        let mut chat = Chat {
            tools,
            tool_choice: choice,
            parallel_calls: parallel,
            thinking: thinking(fields.reasoning_effort, &kwargs),
            kwargs,
            ..Chat::of(messages(fields.messages)?)
        };
        continuing.apply(&mut chat, shape_field)?;
        Ok(Self {
            ask: Ask {
                model: fields.model,
                input: Input::Chat(chat),
                params,
                choices: fields.n.unwrap_or(1) as usize,
                bytes: body.len(),
                caller: body.caller(),
                keep_alive: KeepAlive::Default,
            },
            stream: fields.stream.unwrap_or(false),
            answer: AnswerStyle {
                calls: style,
                logprobs: logprobs.is_some(),
            },
            include_usage: StreamOptions::include_usage(fields.stream_options),
            shape_field,
            ignored: Ignored::fields(body, &IGNORED)?,
        })
    }
}

/// What would change the meaning of the answer is refused, never left out in silence.
fn refuse_unsupported(fields: &ChatFields) -> Result<(), ApiError> {
    if fields.web_search_options.is_some() {
        let reason = "is refused: this server does not search the web";
        return Err(ApiError::field("web_search_options", reason));
    }
    if fields.audio.is_some() {
        let reason = "is refused: this server answers with text only";
        return Err(ApiError::field("audio", reason));
    }
    if fields
        .modalities
        .iter()
        .flatten()
        .any(|modality| modality != "text")
    {
        return Err(ApiError::field("modalities", "may only hold \"text\""));
    }
    Ok(())
}

/// How many likely tokens to report beside each chosen one; none reports nothing.
fn logprobs(fields: &ChatFields) -> Result<Option<u32>, ApiError> {
    let top = bounded("top_logprobs", fields.top_logprobs, 0..=MAX_LOGPROBS)?;
    match (fields.logprobs, top) {
        (Some(true), top) => Ok(Some(top.unwrap_or(0))),
        (_, Some(1..)) => Err(ApiError::field(
            "top_logprobs",
            "needs `logprobs` to be true",
        )),
        _ => Ok(None),
    }
}

/// Little effort means none: a local model's template can only be told to think or not to.
fn thinking(effort: Option<Effort>, kwargs: &Map<String, Value>) -> Thinking {
    let switched = kwargs.get("enable_thinking").and_then(Value::as_bool);
    let spared = matches!(effort, Some(Effort::None | Effort::Minimal)).then_some(false);
    Thinking {
        enabled: switched.or(spared),
        effort: effort.map(|effort| effort.as_str().to_owned()),
    }
}

/// A message of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiAnswerMessage)]
pub(super) struct AnswerMessage {
    role: &'static str,
    /// Null where the model only called tools.
    content: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning_content: String,
    #[schema(schema_with = crate::openapi::null)]
    refusal: Option<()>,
    #[schema(schema_with = crate::openapi::empty)]
    annotations: [(); 0],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiToolCall)]
struct ToolCallBody {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiFunctionCall)]
struct FunctionBody {
    name: String,
    arguments: String,
}

impl AnswerMessage {
    /// What the model said, thought and called.
    pub(super) fn new(
        content: String,
        reasoning: String,
        calls: Vec<Call>,
        style: CallStyle,
    ) -> Self {
        let only_calls = content.is_empty() && !calls.is_empty();
        let mut functions = calls.into_iter().map(|call| FunctionBody {
            name: call.name,
            arguments: call.arguments,
        });
        let (function_call, tool_calls) = match style {
            CallStyle::Function => (functions.next(), Vec::new()),
            CallStyle::Tools => (None, functions.map(ToolCallBody::new).collect()),
        };
        Self {
            role: "assistant",
            content: (!only_calls).then_some(content),
            reasoning_content: reasoning,
            refusal: None,
            annotations: [],
            tool_calls,
            function_call,
        }
    }
}

impl ToolCallBody {
    fn new(function: FunctionBody) -> Self {
        Self {
            id: call_id(),
            kind: "function",
            function,
        }
    }
}

/// An id for a call, by which its result will be told.
pub(super) fn call_id() -> String {
    report::unique_id("call_")
}
