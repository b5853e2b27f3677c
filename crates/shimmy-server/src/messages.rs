//! Messages in OpenAI's shape, which the native dialect shares, and what they mean to a template.
//! Roles and calls of tools are read here for Ollama's dialect too.

use serde::Deserialize;
use serde_json::{Value, json};
use shimmy_chat::Message;
use utoipa::ToSchema;

use crate::error::ApiError;

/// Whose message it is: a closed set, so that a misspelt role is an error and not a new speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Developer,
    System,
    User,
    Assistant,
    Tool,
    Function,
}

impl Role {
    /// The name that templates know.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Role::Developer | Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool | Role::Function => "tool",
        }
    }
}

/// One message of a request. `null` counts as absent.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(as = Message)]
pub(crate) struct WireMessage {
    role: Role,
    /// Required, except of an assistant that only called tools.
    content: Option<Content>,
    name: Option<String>,
    tool_calls: Option<Vec<Value>>,
    /// What was there before `tool_calls`: a single function.
    function_call: Option<Value>,
    /// Which call a tool answers to.
    tool_call_id: Option<String>,
    reasoning_content: Option<String>,
    refusal: Option<String>,
}

#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of content parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message. Loose, so that what is wrong with a part can be said with its place.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(as = ContentPart)]
struct Part {
    /// `text`, `input_text`, `output_text` or `refusal`.
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
}

/// The messages of a request, for the template.
pub(crate) fn messages(wire: Vec<WireMessage>) -> Result<Vec<Message>, ApiError> {
    if wire.is_empty() {
        return Err(ApiError::field("messages", "is empty"));
    }
    wire.into_iter()
        .enumerate()
        .map(|(index, wire)| message(index, wire))
        .collect()
}

fn message(index: usize, wire: WireMessage) -> Result<Message, ApiError> {
    let at = format!("messages[{index}]");
    let calls = wire.tool_calls.unwrap_or_default().into_iter().enumerate();
    let mut tool_calls = calls
        .map(|(call, wire)| tool_call(&format!("{at}.tool_calls[{call}]"), &wire))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(function) = wire.function_call.filter(|_| tool_calls.is_empty()) {
        let function = called(&format!("{at}.function_call"), &function)?;
        tool_calls.push(json!({ "type": "function", "function": function }));
    }
    let is_empty = matches!(&wire.content, Some(Content::Parts(parts)) if parts.is_empty());
    if is_empty && wire.role == Role::User {
        return Err(ApiError::field(format!("{at}.content"), "is empty"));
    }
    let content = match wire.content {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => join(index, parts)?,
        // An assistant that only called tools, or refused, has said nothing.
        None if wire.role == Role::Assistant => wire.refusal.unwrap_or_default(),
        None => {
            return Err(ApiError::field(format!("{at}.content"), "is required"));
        }
    };
    Ok(Message {
        role: wire.role.as_str().to_owned(),
        content,
        name: wire.name,
        tool_calls: (!tool_calls.is_empty()).then_some(Value::Array(tool_calls)),
        tool_call_id: wire.tool_call_id.map(Value::String),
        reasoning_content: wire.reasoning_content.map(Value::String),
    })
}

/// A call of an earlier answer, in the one shape that templates are given.
pub(crate) fn tool_call(at: &str, wire: &Value) -> Result<Value, ApiError> {
    if let Some(kind) = wire["type"].as_str().filter(|kind| *kind != "function") {
        let reason = format!("is {kind:?}, but only functions can be called");
        return Err(ApiError::field(format!("{at}.type"), reason));
    }
    let function = called(&format!("{at}.function"), &wire["function"])?;
    match &wire["id"] {
        Value::Null => Ok(json!({ "type": "function", "function": function })),
        id @ Value::String(_) => Ok(json!({ "id": id, "type": "function", "function": function })),
        _ => Err(ApiError::field(format!("{at}.id"), "must be a text")),
    }
}

/// A function and its arguments: the text of a JSON object.
fn called(at: &str, wire: &Value) -> Result<Value, ApiError> {
    let Some(name) = wire["name"].as_str() else {
        return Err(ApiError::field(format!("{at}.name"), "is required"));
    };
    let arguments = match &wire["arguments"] {
        // What some clients send for a function without any.
        Value::Null => "{}".to_owned(),
        Value::String(text) if text.is_empty() => "{}".to_owned(),
        Value::String(text) => text.clone(),
        object @ Value::Object(_) => object.to_string(),
        _ => {
            let reason = "must be the text of a JSON object";
            return Err(ApiError::field(format!("{at}.arguments"), reason));
        }
    };
    Ok(json!({ "name": name, "arguments": arguments }))
}

/// The text parts, one after the other. Anything else would silently change the question.
fn join(message: usize, parts: Vec<Part>) -> Result<String, ApiError> {
    let mut whole = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        let at = || format!("messages[{message}].content[{index}]");
        let text = match part.kind.as_str() {
            "text" | "input_text" | "output_text" => part.text,
            "refusal" => part.refusal,
            kind => {
                let reason = format!("has the type {kind:?}, but this model reads only text");
                return Err(ApiError::field(at(), reason));
            }
        };
        let text = text.ok_or_else(|| ApiError::field(format!("{}.text", at()), "is required"))?;
        whole.push_str(&text);
    }
    Ok(whole)
}
