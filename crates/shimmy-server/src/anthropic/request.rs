//! What a request for a message says.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use shimmy_chat::Thinking;
use shimmy_engine::Constraint;
use utoipa::ToSchema;

use super::content::{WireMessage, conversation};
use super::tools::{choice, tools};
use crate::answer::{Ask, Chat, Hindrance, Input};
use crate::error::ApiError;
use crate::fields::{Params, SamplingFields, max_tokens};
use crate::ignored::Ignored;
use crate::limits::JsonBody;
use crate::loader::KeepAlive;

/// What agents send by habit and a local model can do without.
const IGNORED: [&str; 9] = [
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "metadata",
    "service_tier",
    "speed",
    "user_profile_id",
    "workspace_id",
];

/// How the engine calls what has another name here.
const NAMES: [(&str, &str); 3] = [
    ("format", "output_config.format"),
    ("prompt", "messages"),
    ("stop", "stop_sequences"),
];

/// What a client sends.
#[derive(Debug, ToSchema)]
#[schema(as = AnthropicRequest)]
pub(super) struct AllFields {
    #[serde(flatten)]
    fields: Fields,
    #[serde(flatten)]
    sampling: SamplingFields,
}

/// The fields of this dialect alone.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicFields)]
struct Fields {
    model: Option<String>,
    messages: Vec<WireMessage>,
    #[schema(schema_with = crate::openapi::text_or_list)]
    system: Option<Value>,
    max_tokens: Option<i64>,
    stop_sequences: Option<Vec<String>>,
    stream: Option<bool>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    thinking: Option<WireThinking>,
    output_config: Option<OutputConfig>,
    /// An earlier name of `output_config.format`.
    output_format: Option<OutputFormat>,
    #[schema(value_type = Option<Vec<Object>>)]
    mcp_servers: Option<Vec<IgnoredAny>>,
    #[schema(value_type = Option<Object>)]
    context_management: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicThinking)]
struct WireThinking {
    #[serde(rename = "type")]
    kind: String,
    budget_tokens: Option<i64>,
    display: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicOutputConfig)]
struct OutputConfig {
    effort: Option<String>,
    format: Option<OutputFormat>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicOutputFormat)]
struct OutputFormat {
    #[serde(rename = "type")]
    kind: String,
    schema: Option<Value>,
}

/// A request, read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) stream: bool,
    pub(super) style: Style,
    pub(super) ignored: Ignored,
}

/// What an answer shows beside its text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style {
    /// Thoughts are there, but their text is not to be shown.
    pub(super) omits_thoughts: bool,
    /// The client asked for its context to be managed, and looks for what came of it.
    pub(super) tells_edits: bool,
}

impl Request {
    /// Reads a body.
    pub(super) fn read(body: &JsonBody) -> Result<Self, ApiError> {
        let AllFields { fields, sampling } = AllFields {
            fields: body.read()?,
            sampling: body.read()?,
        };
        let mut ignored = Ignored::fields(body, &IGNORED)?;
        if fields
            .mcp_servers
            .is_some_and(|servers| !servers.is_empty())
        {
            let reason = "is not supported: connect them in the client, as tools";
            return Err(ApiError::field("mcp_servers", reason));
        }
        let conversation = conversation(fields.system.as_ref(), &fields.messages, &mut ignored)?;
        let tools = tools(
            fields.tools.as_deref().unwrap_or_default(),
            &conversation.changes,
            &mut ignored,
        )?;
        let (tool_choice, parallel_calls) = choice(fields.tool_choice.as_ref(), &tools)?;
        let (effort, format) = match fields.output_config {
            Some(config) => (config.effort, config.format),
            None => (None, None),
        };
        let constraint = match (format, fields.output_format) {
            (Some(format), _) => Some(shape("output_config.format", format)?),
            (None, Some(format)) => Some(shape("output_format", format)?),
            (None, None) => None,
        };
        let style = Style {
            omits_thoughts: fields
                .thinking
                .as_ref()
                .is_some_and(|thinking| thinking.display.as_deref() == Some("omitted")),
            tells_edits: fields.context_management.is_some(),
        };
        let mut chat = Chat {
            tools,
            tool_choice,
            parallel_calls,
            thinking: Thinking {
                enabled: enabled(fields.thinking, &mut ignored)?,
                effort: conversation.effort.or(effort),
            },
            ..Chat::of(conversation.messages)
        };
        if let Some(opening) = conversation.opening {
            open(&mut chat, opening, constraint.is_some())?;
        }
        let params = Params {
            sampling,
            max_tokens: max_tokens("max_tokens", fields.max_tokens)?,
            stop: fields.stop_sequences.unwrap_or_default(),
            constraint,
            ..Params::default()
        };
        Ok(Self {
            ask: Ask {
                model: fields.model,
                input: Input::Chat(chat),
                params,
                choices: 1,
                bytes: body.len(),
                caller: body.caller(),
                keep_alive: KeepAlive::Default,
            },
            stream: fields.stream.unwrap_or(false),
            style,
            ignored,
        })
    }
}

/// An error of the engine in this dialect's names.
pub(super) fn rename(error: ApiError) -> ApiError {
    error.renamed(&NAMES)
}

/// Whether the model is to think; what the model is used to where it is left to it.
fn enabled(
    thinking: Option<WireThinking>,
    ignored: &mut Ignored,
) -> Result<Option<bool>, ApiError> {
    let Some(thinking) = thinking else {
        return Ok(None);
    };
    if max_tokens("thinking.budget_tokens", thinking.budget_tokens)?.is_some() {
        // Models end their thoughts themselves; none can be told a number.
        ignored.note("thinking.budget_tokens");
    }
    Ok(match thinking.kind.as_str() {
        "enabled" => Some(true),
        "disabled" => Some(false),
        "adaptive" => None,
        _ => {
            ignored.note("thinking.type");
            None
        }
    })
}

fn shape(at: &str, format: OutputFormat) -> Result<Constraint, ApiError> {
    if format.kind != "json_schema" {
        let reason = format!("must be \"json_schema\", got {:?}", format.kind);
        return Err(ApiError::field(format!("{at}.type"), reason));
    }
    match format.schema {
        Some(schema @ Value::Object(_)) => Ok(Constraint::JsonSchema(schema)),
        Some(_) => Err(ApiError::field(format!("{at}.schema"), "must be an object")),
        None => Err(ApiError::field(format!("{at}.schema"), "is required")),
    }
}

/// Lets the answer go on from an assistant's message at the end, where nothing else has a say in
/// how it begins.
fn open(chat: &mut Chat, opening: String, has_shape: bool) -> Result<(), ApiError> {
    chat.go_on_from(opening, has_shape).map_err(|hindrance| {
        let by = match hindrance {
            Hindrance::Shape => "output_config.format",
            Hindrance::Choice => "tool_choice",
            Hindrance::Thinking => "thinking",
        };
        let reason =
            format!("ends with an assistant's message to go on from, which `{by}` rules out");
        ApiError::field("messages", reason)
    })
}
