//! A conversation in this dialect's blocks, and what it means to a template.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shimmy_chat::Message;
use utoipa::ToSchema;

use super::blocks::{Texts, plain, without_billing};
use crate::error::ApiError;
use crate::ignored::Ignored;
use crate::parts::{kind, neither, read, text, unseen};
use crate::thoughts;

/// One message of a request.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicMessage)]
pub(super) struct WireMessage {
    role: Role,
    #[serde(default)]
    #[schema(schema_with = crate::openapi::text_or_list)]
    content: Value,
    /// Of a system's message: until when it is in force.
    clear_at: Option<String>,
    output_config: Option<TurnConfig>,
}

/// What a system's message says about the turns after it.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicTurnConfig)]
struct TurnConfig {
    effort: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = AnthropicRole)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
    System,
}

/// A conversation for a template.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
    /// An assistant's text at the end: the answer goes on from it.
    pub(super) opening: Option<String>,
    pub(super) changes: Changes,
    /// How much is to be thought, where the conversation has come to say so.
    pub(super) effort: Option<String>,
}

/// What a conversation says about the tools of its request.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Tools that were declared for later, and have been asked for.
    pub(super) loaded: HashSet<String>,
    /// Tools that are there no more.
    pub(super) removed: HashSet<String>,
    /// Tools that were declared on the way.
    pub(super) declared: Vec<Value>,
}

/// Reads the system's texts and the messages.
pub(super) fn conversation(
    system: Option<&Value>,
    wire: &[WireMessage],
    ignored: &mut Ignored,
) -> Result<Conversation, ApiError> {
    let mut reader = Reader::default();
    let last_user = wire.iter().rposition(|message| message.role == Role::User);
    if let Some(system) = system.filter(|system| !system.is_null()) {
        reader.system("system", system)?;
    }
    if wire.is_empty() {
        return Err(ApiError::field("messages", "is empty"));
    }
    for (index, message) in wire.iter().enumerate() {
        let at = format!("messages[{index}].content");
        match message.role {
            Role::System => {
                let said = reader.messages.len();
                match message.content {
                    Value::Null if message.output_config.is_some() => {}
                    _ => reader.system(&at, &message.content)?,
                }
                let is_over = message.clear_at.as_deref() == Some("next_user_message")
                    && last_user.is_some_and(|last| last > index);
                if is_over {
                    reader.messages.truncate(said);
                }
                let config = message.output_config.as_ref();
                let effort = config.and_then(|config| config.effort.clone());
                reader.effort = effort.or(reader.effort);
            }
            Role::User => reader.user(&at, &message.content, ignored)?,
            Role::Assistant => reader.assistant(&at, &message.content)?,
        }
    }
    let mut messages = reader.messages;
    let opening = match messages.pop_if(|message| message.role == "assistant") {
        Some(message) if message.tool_calls.is_some() => {
            let reason = "ends with calls of tools, and their results are not there";
            return Err(ApiError::field("messages", reason));
        }
        last => last.map(|message| message.content),
    };
    Ok(Conversation {
        messages,
        opening: opening.filter(|opening| !opening.is_empty()),
        changes: reader.changes,
        effort: reader.effort,
    })
}

#[derive(Debug, Default)]
struct Reader {
    messages: Vec<Message>,
    /// The tools that were called, by the ids of the calls: some templates name them again with
    /// the results.
    called: HashMap<String, String>,
    changes: Changes,
    effort: Option<String>,
}

impl Reader {
    fn system(&mut self, at: &str, content: &Value) -> Result<(), ApiError> {
        let mut texts = Texts::default();
        match content {
            Value::String(text) => texts.push(without_billing(text)),
            Value::Array(blocks) => {
                for (index, block) in blocks.iter().enumerate() {
                    let at = format!("{at}[{index}]");
                    match kind(&at, block)? {
                        "tool_addition" => self.add_tool(&at, block)?,
                        "tool_removal" => self.remove_tool(&at, block)?,
                        _ => texts.push(without_billing(&plain(&at, block)?)),
                    }
                }
            }
            _ => return Err(neither(at, content)),
        }
        if let Some(text) = texts.take() {
            self.messages.push(Message::new("system", text));
        }
        Ok(())
    }

    fn add_tool(&mut self, at: &str, block: &Value) -> Result<(), ApiError> {
        let tool = &block["tool"];
        if tool["type"] == "tool_definition" {
            self.changes.declared.push(tool["definition"].clone());
            return Ok(());
        }
        let name = text(&format!("{at}.tool"), tool, "name")?;
        self.changes.removed.remove(&name);
        self.changes.loaded.insert(name);
        Ok(())
    }

    fn remove_tool(&mut self, at: &str, block: &Value) -> Result<(), ApiError> {
        let name = text(&format!("{at}.tool"), &block["tool"], "name")?;
        self.changes.removed.insert(name);
        Ok(())
    }

    /// A user's message holds what the user says and what came of the assistant's calls.
    fn user(&mut self, at: &str, content: &Value, ignored: &mut Ignored) -> Result<(), ApiError> {
        let blocks = match content {
            Value::String(text) => {
                self.messages.push(Message::new("user", text.as_str()));
                return Ok(());
            }
            Value::Array(blocks) => blocks,
            _ => return Err(neither(at, content)),
        };
        let mut texts = Texts::default();
        let mut has_results = false;
        for (index, block) in blocks.iter().enumerate() {
            let at = format!("{at}[{index}]");
            if kind(&at, block)? == "tool_result" {
                // What was said before a result stays before it.
                let said = texts.take().map(|said| Message::new("user", said));
                self.messages.extend(said);
                let result = self.result(&at, block, ignored)?;
                self.messages.push(result);
                has_results = true;
            } else {
                texts.push(&plain(&at, block)?);
            }
        }
        match texts.take() {
            None if has_results => {}
            said => self
                .messages
                .push(Message::new("user", said.unwrap_or_default())),
        }
        Ok(())
    }

    fn result(
        &mut self,
        at: &str,
        block: &Value,
        ignored: &mut Ignored,
    ) -> Result<Message, ApiError> {
        let result: ToolResult = read(at, block)?;
        let mut texts = Texts::default();
        match &result.content {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => texts.push(text),
            Some(Value::Array(blocks)) => {
                for (index, block) in blocks.iter().enumerate() {
                    let at = format!("{at}.content[{index}]");
                    let kind = kind(&at, block)?;
                    if kind == "tool_reference" {
                        let name = text(&at, block, "tool_name")?;
                        texts.push(&name);
                        self.changes.loaded.insert(name);
                    } else if kind == "image" || block["source"]["type"] == "base64" {
                        texts.push(&unseen(kind));
                        ignored.note(format!("tool_result.{kind}"));
                    } else {
                        texts.push(&plain(&at, block)?);
                    }
                }
            }
            Some(other) => return Err(neither(&format!("{at}.content"), other)),
        }
        let mut content = texts.take().unwrap_or_default();
        if result.is_error == Some(true) {
            // Templates have no other place for this.
            content.insert_str(0, "Error: ");
        }
        Ok(Message {
            name: self.called.get(&result.tool_use_id).cloned(),
            tool_call_id: Some(Value::String(result.tool_use_id)),
            ..Message::new("tool", content)
        })
    }

    fn assistant(&mut self, at: &str, content: &Value) -> Result<(), ApiError> {
        let blocks = match content {
            Value::String(text) => {
                self.messages.push(Message::new("assistant", text.as_str()));
                return Ok(());
            }
            Value::Array(blocks) => blocks,
            _ => return Err(neither(at, content)),
        };
        let (mut texts, mut thinking, mut calls) = (Texts::default(), Texts::default(), Vec::new());
        for (index, block) in blocks.iter().enumerate() {
            let at = format!("{at}[{index}]");
            match kind(&at, block)? {
                "tool_use" => {
                    let call: ToolUse = read(&at, block)?;
                    self.called.insert(call.id.clone(), call.name.clone());
                    calls.push(json!({ "id": call.id, "type": "function", "function": {
                        "name": call.name, "arguments": Value::Object(call.input).to_string() } }));
                }
                "thinking" => {
                    let thought: Thought = read(&at, block)?;
                    let carried = thought.signature.as_deref().and_then(thoughts::unseal);
                    match thought.thinking.as_str() {
                        "" => thinking.push(carried.unwrap_or_default()),
                        shown => thinking.push(shown),
                    }
                }
                // Only the vendor can read it.
                "redacted_thinking" => {}
                _ => texts.push(&plain(&at, block)?),
            }
        }
        self.messages.push(Message {
            tool_calls: (!calls.is_empty()).then_some(Value::Array(calls)),
            reasoning_content: thinking.take().map(Value::String),
            ..Message::new("assistant", texts.take().unwrap_or_default())
        });
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
struct ToolResult {
    tool_use_id: String,
    content: Option<Value>,
    is_error: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct ToolUse {
    id: String,
    name: String,
    input: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Thought {
    thinking: String,
    signature: Option<String>,
}

#[cfg(test)]
mod tests;
