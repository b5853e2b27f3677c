//! One message of a conversation, in the shape that chat templates read.
//!
//! The dialects of the server translate into this type; it must not know theirs.

use serde::Serialize;
use serde_json::Value;

/// One message, serialised into the template's context field by field.
///
/// Absent fields are absent keys and not nulls: templates ask `'tool_calls' in message` and
/// `message.name is defined`. A field that holds `Value::Null` counts as absent, because clients
/// send explicit nulls.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` or whatever the client wrote.
    pub role: String,
    /// The text; parts are already joined.
    pub content: String,
    /// Who speaks, where a conversation has several users or tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The calls that an assistant made, in OpenAI's shape.
    #[serde(skip_serializing_if = "is_absent")]
    pub tool_calls: Option<Value>,
    /// Which call a `tool` message answers.
    #[serde(skip_serializing_if = "is_absent")]
    pub tool_call_id: Option<Value>,
    /// What an assistant thought before it answered.
    #[serde(skip_serializing_if = "is_absent")]
    pub reasoning_content: Option<Value>,
}

impl Message {
    /// A message with nothing but a role and a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            ..Self::default()
        }
    }
}

pub(crate) fn is_absent(value: &Option<Value>) -> bool {
    value.as_ref().is_none_or(Value::is_null)
}
