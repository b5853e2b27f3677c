//! Messages as Ollama's clients write them, and what they mean to a template.

use serde::Deserialize;
use serde_json::Value;
use shimmy_chat::Message;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::messages::{Role, tool_call};

/// One message of a request. `null` counts as absent, and so does an empty text.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(as = OllamaMessage)]
pub(super) struct WireMessage {
    role: Role,
    content: Option<String>,
    /// What an assistant thought before it answered.
    thinking: Option<String>,
    /// Refused: no model here sees pictures yet.
    images: Option<Vec<Value>>,
    /// The calls that an assistant made: `{"function": {"name", "arguments": {…}}}`.
    tool_calls: Option<Vec<Value>>,
    /// Which function a tool's message is the outcome of.
    tool_name: Option<String>,
    /// Which call it answers to, where calls have ids.
    tool_call_id: Option<String>,
}

/// The messages of a request, for the template.
pub(super) fn messages(wire: Vec<WireMessage>) -> Result<Vec<Message>, ApiError> {
    let wire = wire.into_iter().enumerate();
    wire.map(|(index, message)| read(&format!("messages[{index}]"), message))
        .collect()
}

/// Refuses pictures: an answer that has not seen them would look like one that has.
pub(super) fn refuse_images(field: &str, images: Option<&Vec<Value>>) -> Result<(), ApiError> {
    match images {
        Some(images) if !images.is_empty() => Err(ApiError::field(
            field,
            "cannot be seen: this model reads only text",
        )),
        _ => Ok(()),
    }
}

fn read(at: &str, wire: WireMessage) -> Result<Message, ApiError> {
    refuse_images(&format!("{at}.images"), wire.images.as_ref())?;
    let calls = wire.tool_calls.unwrap_or_default().into_iter().enumerate();
    let tool_calls = calls
        .map(|(call, wire)| tool_call(&format!("{at}.tool_calls[{call}]"), &wire))
        .collect::<Result<Vec<_>, _>>()?;
    let thinking = wire.thinking.filter(|text| !text.is_empty());
    Ok(Message {
        role: wire.role.as_str().to_owned(),
        content: wire.content.unwrap_or_default(),
        name: wire.tool_name,
        tool_calls: (!tool_calls.is_empty()).then_some(Value::Array(tool_calls)),
        tool_call_id: wire.tool_call_id.map(Value::String),
        reasoning_content: thinking.map(Value::String),
    })
}
