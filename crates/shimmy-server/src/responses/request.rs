//! What a request for a response says.

mod echo;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use shimmy_chat::{Message, Thinking};
use shimmy_engine::Constraint;
use utoipa::ToSchema;

use super::input;
use super::memory::Memory;
use super::response::Echo;
use super::tools::{Names, Toolbox};
use crate::answer::{Ask, Chat, Input};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::fields::{LoraField, OneOrMany, Params, SamplingFields, constraint, max_tokens};
use crate::ignored::Ignored;
use crate::limits::JsonBody;
use crate::loader::KeepAlive;
use crate::openai::habits::{self, Metadata, one_of};
use crate::parts;
use echo::echo;

/// What agents send by habit and a local model can do without.
const IGNORED: [&str; 9] = [
    "client_metadata",
    "context_management",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
];

/// What an answer can show beside its text.
const INCLUDED: [&str; 2] = [THOUGHTS, LOGPROBS];
const THOUGHTS: &str = "reasoning.encrypted_content";
const LOGPROBS: &str = "message.output_text.logprobs";

/// How the engine calls what has another name here.
const NAMES: [(&str, &str); 4] = [
    ("format", "text.format"),
    ("logprobs", "top_logprobs"),
    ("max_tokens", "max_output_tokens"),
    ("prompt", "input"),
];

/// Where a request says whether to think, and how much.
pub(super) const THINKING: (&str, &str) = ("reasoning.effort", "reasoning.effort");

/// What a client sends.
#[derive(Debug, ToSchema)]
#[schema(as = ResponsesRequest)]
pub(super) struct AllFields {
    #[serde(flatten)]
    fields: Fields,
    #[serde(flatten)]
    sampling: SamplingFields,
}

/// The fields of this dialect alone.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ResponsesFields)]
struct Fields {
    model: Option<String>,
    #[schema(schema_with = crate::openapi::text_or_list)]
    input: Option<Value>,
    instructions: Option<String>,
    previous_response_id: Option<String>,
    stream: Option<bool>,
    store: Option<bool>,
    /// False only computes the prompt, so that what follows starts sooner.
    generate: Option<bool>,
    max_output_tokens: Option<i64>,
    max_tool_calls: Option<i64>,
    metadata: Option<Metadata>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    text: Option<TextFields>,
    reasoning: Option<ReasoningFields>,
    top_logprobs: Option<u32>,
    include: Option<Vec<String>>,
    truncation: Option<String>,
    prompt_cache_key: Option<String>,
    safety_identifier: Option<String>,
    user: Option<String>,
    background: Option<bool>,
    conversation: Option<Value>,
    prompt: Option<Value>,
    stop: Option<OneOrMany>,
    grammar: Option<String>,
    lora: Option<Vec<LoraField>>,
    chat_template_kwargs: Option<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ResponsesText)]
struct TextFields {
    format: Option<Value>,
    verbosity: Option<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ResponsesReasoning)]
struct ReasoningFields {
    effort: Option<String>,
    summary: Option<String>,
    /// An earlier name of `summary`.
    generate_summary: Option<String>,
}

/// A request, read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) stream: bool,
    pub(super) plan: Plan,
    pub(super) ignored: Ignored,
}

/// What an answer has to know of its request.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) echo: Echo,
    pub(super) names: Names,
    /// Who asked, and may go on from it.
    pub(super) caller: Caller,
    pub(super) style: Style,
    /// The conversation without instructions, which a later request brings anew.
    pub(super) messages: Vec<Arc<Message>>,
    /// Nothing of the answer is to be said.
    pub(super) warm_up: bool,
}

/// What an answer shows beside its text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style {
    /// The client wants to see a summary of the thoughts. There is none but the thoughts.
    pub(super) summary: bool,
    /// The client carries the thoughts in the field for encrypted ones.
    pub(super) carried: bool,
    pub(super) logprobs: bool,
}

impl Request {
    /// Reads a body.
    pub(super) fn read(body: &JsonBody, memory: Memory<'_>) -> Result<Self, ApiError> {
        let AllFields {
            mut fields,
            sampling,
        } = AllFields {
            fields: body.read()?,
            sampling: body.read()?,
        };
        refuse_unsupported(&fields)?;
        habits::check(body)?;
        check_words(&fields)?;
        let mut ignored = Ignored::fields(body, &IGNORED)?;

        let previous = fields.previous_response_id.as_deref();
        let previous = previous.map(|id| memory.answer(id)).transpose()?;
        let before = previous.as_ref().map_or(&[][..], |kept| &kept.messages);
        let find = |id: &str| memory.item(id);
        let read = match &fields.input {
            Some(input) => input::messages(input, before, &find, &mut ignored)?,
            None => input::Read::default(),
        };
        let mut messages = before.to_vec();
        messages.extend(read.messages.into_iter().map(Arc::new));
        if messages.is_empty() && fields.instructions.is_none() {
            let reason = match fields.input {
                Some(_) => "holds nothing to answer",
                None => "is required",
            };
            return Err(ApiError::field("input", reason));
        }

        let mut toolbox = Toolbox::default();
        let tools = fields.tools.take().unwrap_or_default();
        toolbox.add("tools", &tools, &mut ignored)?;
        toolbox.add("input.tools", &read.tools, &mut ignored)?;
        toolbox.choose(fields.tool_choice.as_ref())?;

        let params = params(&mut fields, &sampling)?;
        let style = style(&fields);
        note_ignored(&fields, &mut ignored);
        let bytes = body.len() + previous.as_ref().map_or(0, |kept| kept.bytes);
        let chat = Chat {
            tools: toolbox.tools,
            tool_choice: toolbox.choice,
            parallel_calls: fields.parallel_tool_calls.unwrap_or(true),
            thinking: thinking(fields.reasoning.as_ref()),
            kwargs: fields.chat_template_kwargs.take().unwrap_or_default(),
            ..Chat::of(conversation(fields.instructions.as_deref(), &messages))
        };
        let (model, stream) = (fields.model.take(), fields.stream.unwrap_or(false));
        let warm_up = fields.generate == Some(false);
        Ok(Self {
            ask: Ask {
                model,
                input: Input::Chat(chat),
                params,
                choices: 1,
                bytes,
                caller: body.caller(),
                keep_alive: KeepAlive::Default,
            },
            stream,
            plan: Plan {
                echo: echo(fields, tools, &sampling),
                names: toolbox.names,
                caller: body.caller(),
                style,
                messages,
                warm_up,
            },
            ignored,
        })
    }
}

/// An error of the engine in this dialect's names.
pub(super) fn rename(error: ApiError) -> ApiError {
    error.renamed(&NAMES)
}

/// What would change the meaning of the answer is refused, never left out in silence.
fn refuse_unsupported(fields: &Fields) -> Result<(), ApiError> {
    let unsupported = |field, reason| Err(ApiError::field(field, reason));
    if fields.background == Some(true) {
        return unsupported("background", "is not supported: stream the answer instead");
    }
    if fields.conversation.as_ref().is_some_and(|id| !id.is_null()) {
        return unsupported(
            "conversation",
            "is not supported: send `previous_response_id` or all of the input",
        );
    }
    if fields
        .prompt
        .as_ref()
        .is_some_and(|prompt| !prompt.is_null())
    {
        return unsupported(
            "prompt",
            "is not supported: there are no stored prompts here",
        );
    }
    Ok(())
}

/// Refuses words that the vendor does not know, most of which the answer repeats.
fn check_words(fields: &Fields) -> Result<(), ApiError> {
    const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
    const SUMMARIES: [&str; 4] = ["auto", "concise", "detailed", "none"];
    let reasoning = fields.reasoning.as_ref();
    let effort = reasoning.and_then(|reasoning| reasoning.effort.as_deref());
    let summary = reasoning.and_then(|reasoning| reasoning.summary.as_deref());
    let older = reasoning.and_then(|reasoning| reasoning.generate_summary.as_deref());
    let text = fields.text.as_ref();
    let verbosity = text.and_then(|text| text.verbosity.as_deref());
    one_of("reasoning.effort", effort, &EFFORTS)?;
    one_of("reasoning.summary", summary, &SUMMARIES)?;
    one_of("reasoning.generate_summary", older, &SUMMARIES)?;
    one_of("text.verbosity", verbosity, &habits::VERBOSITIES)?;
    one_of(
        "truncation",
        fields.truncation.as_deref(),
        &["auto", "disabled"],
    )
}

fn note_ignored(fields: &Fields, ignored: &mut Ignored) {
    if fields
        .text
        .as_ref()
        .is_some_and(|text| text.verbosity.is_some())
    {
        ignored.note("text.verbosity");
    }
    // Nothing is ever dropped from a conversation: one that does not fit is an error.
    if fields.truncation.as_deref() == Some("auto") {
        ignored.note("truncation");
    }
    let includes = fields.include.iter().flatten();
    for name in includes.filter(|name| !INCLUDED.contains(&name.as_str())) {
        ignored.note(format!("include.{name}"));
    }
}

fn conversation(instructions: Option<&str>, messages: &[Arc<Message>]) -> Vec<Message> {
    let instructions = instructions.filter(|text| !text.is_empty());
    let instructions = instructions.map(|text| Message::new("system", text));
    let messages = messages.iter().map(|message| Message::clone(message));
    instructions.into_iter().chain(messages).collect()
}

fn params(fields: &mut Fields, sampling: &SamplingFields) -> Result<Params, ApiError> {
    let limit = max_tokens("max_output_tokens", fields.max_output_tokens)?;
    max_tokens("max_tool_calls", fields.max_tool_calls)?;
    let format = fields.text.as_ref().and_then(|text| text.format.as_ref());
    let shape = format.map(shape).transpose()?.flatten();
    let grammar = constraint(None, fields.grammar.as_ref())?;
    if shape.is_some() && grammar.is_some() {
        let reason = "cannot be combined with another output format";
        return Err(ApiError::field("grammar", reason));
    }
    let wants_logprobs = style(fields).logprobs || fields.top_logprobs.is_some_and(|top| top > 0);
    Ok(Params {
        sampling: sampling.clone(),
        // The prompt has been computed when the first token comes.
        max_tokens: if fields.generate == Some(false) {
            Some(1)
        } else {
            limit
        },
        stop: OneOrMany::texts(fields.stop.take()),
        lora: fields.lora.take(),
        constraint: shape.or(grammar),
        logprobs: wants_logprobs.then_some(fields.top_logprobs.unwrap_or(0)),
        ..Params::default()
    })
}

fn style(fields: &Fields) -> Style {
    let includes = |name: &str| fields.include.iter().flatten().any(|other| other == name);
    let reasoning = fields.reasoning.as_ref();
    Style {
        summary: reasoning.is_some_and(|reasoning| summary(reasoning).is_some()),
        carried: includes(THOUGHTS),
        logprobs: includes(LOGPROBS),
    }
}

fn summary(reasoning: &ReasoningFields) -> Option<&String> {
    let summary = reasoning.summary.as_ref();
    let summary = summary.or(reasoning.generate_summary.as_ref());
    summary.filter(|summary| *summary != "none")
}

fn thinking(reasoning: Option<&ReasoningFields>) -> Thinking {
    match reasoning.and_then(|reasoning| reasoning.effort.as_deref()) {
        Some("none") => Thinking {
            enabled: Some(false),
            effort: None,
        },
        effort => Thinking {
            enabled: None,
            effort: effort.map(str::to_owned),
        },
    }
}

fn shape(format: &Value) -> Result<Option<Constraint>, ApiError> {
    let at = "text.format";
    if format.is_null() {
        return Ok(None);
    }
    match parts::kind(at, format)? {
        "text" => Ok(None),
        "json_object" => Ok(Some(Constraint::JsonObject)),
        "json_schema" => match &format["schema"] {
            schema @ Value::Object(_) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
            Value::Null => Err(ApiError::field(format!("{at}.schema"), "is required")),
            _ => Err(ApiError::field(format!("{at}.schema"), "must be an object")),
        },
        kind => {
            let reason =
                format!("is {kind:?}, but must be \"text\", \"json_object\" or \"json_schema\"");
            Err(ApiError::field(format!("{at}.type"), reason))
        }
    }
}
