//! Messages in OpenAI's shape, which the native dialect shares, and what they mean to a template.

use serde::Deserialize;
use serde_json::Value;
use shimmy_chat::Message;

use crate::error::ApiError;

/// Whose message it is: a closed set, so that a misspelt role is an error and not a new speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Developer,
    System,
    User,
    Assistant,
    Tool,
    Function,
}

impl Role {
    /// The name that templates know.
    fn as_str(self) -> &'static str {
        match self {
            Role::Developer | Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool | Role::Function => "tool",
        }
    }
}

/// One message of a request. `null` counts as absent.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WireMessage {
    role: Role,
    content: Option<Content>,
    name: Option<String>,
    tool_calls: Option<Vec<Value>>,
    tool_call_id: Option<String>,
    reasoning_content: Option<String>,
    refusal: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of content parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// Loose, so that what is wrong with a part can be said with its place.
#[derive(Debug, Clone, Deserialize)]
struct Part {
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
    let tool_calls = wire.tool_calls.filter(|calls| !calls.is_empty());
    let content = match wire.content {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => join(index, parts)?,
        // An assistant that only called tools, or refused, has said nothing.
        None if wire.role == Role::Assistant => wire.refusal.unwrap_or_default(),
        None => {
            return Err(ApiError::field(
                format!("messages[{index}].content"),
                "is required",
            ));
        }
    };
    Ok(Message {
        role: wire.role.as_str().to_owned(),
        content,
        name: wire.name,
        tool_calls: tool_calls.map(Value::Array),
        tool_call_id: wire.tool_call_id.map(Value::String),
        reasoning_content: wire.reasoning_content.map(Value::String),
    })
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
