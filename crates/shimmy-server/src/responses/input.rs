//! The items of a request, as the messages that a template reads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use shimmy_chat::Message;

use super::custom;
use super::tools::flat;
use crate::error::ApiError;
use crate::ignored::Ignored;
use crate::parts::{kind, neither, not_text, read, text, unseen};
use crate::thoughts;

/// Between texts of one turn that came as several items.
const BREAK: &str = "\n\n";

/// Looks for an item that an earlier answer held.
pub(super) type FindItem<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// The messages of a request, and the tools that came among them.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) messages: Vec<Message>,
    pub(super) tools: Vec<Value>,
}

/// Reads a request's `input`, which goes on from the messages in `before`.
pub(super) fn messages(
    input: &Value,
    before: &[Arc<Message>],
    find: FindItem<'_>,
    ignored: &mut Ignored,
) -> Result<Read, ApiError> {
    let items = match input {
        Value::String(text) => {
            return Ok(Read {
                messages: vec![Message::new("user", text.as_str())],
                tools: Vec::new(),
            });
        }
        Value::Array(items) => items,
        _ => {
            return Err(ApiError::field(
                "input",
                "must be a string or a list of items",
            ));
        }
    };
    let mut reader = Reader {
        called: before.iter().flat_map(|message| called(message)).collect(),
        ..Reader::default()
    };
    let mut referred = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("input[{index}]");
        let found = match item_kind(item) {
            Some("item_reference") => {
                let id = text(&at, item, "id")?;
                // Once each, so that a small request cannot stand for an endless conversation.
                if !referred.insert(id.clone()) {
                    let reason = format!("names the item '{id}' for a second time");
                    return Err(ApiError::field(format!("{at}.id"), reason));
                }
                let found = find(&id).ok_or_else(|| {
                    let reason = format!("names the item '{id}', which is not kept");
                    ApiError::field(format!("{at}.id"), reason)
                })?;
                Some(found)
            }
            _ => None,
        };
        reader.item(&at, found.as_ref().unwrap_or(item), ignored)?;
    }
    Ok(reader.finish())
}

/// What an item is: its word for it, or what its fields say.
fn item_kind(item: &Value) -> Option<&str> {
    let has = |name: &str| !item[name].is_null();
    match &item["type"] {
        Value::String(kind) => Some(kind),
        Value::Null if has("role") => Some("message"),
        Value::Null if has("output") => Some("function_call_output"),
        Value::Null if has("arguments") => Some("function_call"),
        Value::Null if has("id") => Some("item_reference"),
        _ => None,
    }
}

/// The calls that a message holds: their ids and the functions.
fn called(message: &Message) -> impl Iterator<Item = (String, String)> {
    let calls = message.tool_calls.as_ref().and_then(Value::as_array);
    calls.into_iter().flatten().filter_map(|call| {
        let name = call["function"]["name"].as_str()?;
        Some((call["id"].as_str()?.to_owned(), name.to_owned()))
    })
}

#[derive(Debug, Default)]
struct Reader {
    read: Read,
    /// The assistant's turn, which comes as several items.
    turn: Option<Turn>,
    /// The functions that were called, by the ids of the calls.
    called: HashMap<String, String>,
}

#[derive(Debug, Default)]
struct Turn {
    content: String,
    thoughts: String,
    calls: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct WireMessage {
    role: Role,
    content: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
    System,
    Developer,
}

#[derive(Debug, Deserialize)]
struct Call {
    call_id: String,
    name: String,
    namespace: Option<String>,
    arguments: Option<String>,
    input: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Output {
    call_id: String,
    output: Value,
}

#[derive(Debug, Deserialize)]
struct Thought {
    summary: Option<Vec<Value>>,
    content: Option<Vec<Value>>,
    encrypted_content: Option<String>,
}

#[derive(Debug, Deserialize)]
struct MoreTools {
    tools: Vec<Value>,
}

impl Reader {
    fn item(&mut self, at: &str, item: &Value, ignored: &mut Ignored) -> Result<(), ApiError> {
        match item_kind(item) {
            Some("message") => self.message(at, read(at, item)?),
            Some("function_call") => {
                let call: Call = read(at, item)?;
                let arguments = call.arguments.clone();
                let arguments = arguments.ok_or_else(|| missing(at, "arguments"))?;
                self.call(call, arguments);
                Ok(())
            }
            Some("custom_tool_call") => {
                let call: Call = read(at, item)?;
                let input = call.input.clone().ok_or_else(|| missing(at, "input"))?;
                self.call(call, custom::arguments(&input));
                Ok(())
            }
            Some("function_call_output" | "custom_tool_call_output") => {
                let output: Output = read(at, item)?;
                self.output(at, output, ignored)
            }
            Some("reasoning") => self.thought(at, read(at, item)?),
            Some("additional_tools") => {
                let more: MoreTools = read(at, item)?;
                self.read.tools.extend(more.tools);
                Ok(())
            }
            Some(kind) if kind.contains("compaction") => {
                let reason = "is a conversation in a form that only its maker can read";
                Err(ApiError::field(at, reason))
            }
            Some(kind) => {
                ignored.note(format!("input.{kind}"));
                Ok(())
            }
            None => Err(missing(at, "type")),
        }
    }

    fn message(&mut self, at: &str, message: WireMessage) -> Result<(), ApiError> {
        let refuse = |at: &str, kind: &str| Err(not_text(at, kind));
        let content = content(&format!("{at}.content"), &message.content, refuse)?;
        let role = match message.role {
            Role::Assistant => {
                append(&mut self.turn().content, &content);
                return Ok(());
            }
            Role::User => "user",
            Role::System | Role::Developer => "system",
        };
        self.end_turn();
        self.read.messages.push(Message::new(role, content));
        Ok(())
    }

    fn call(&mut self, call: Call, arguments: String) {
        let name = flat(call.namespace.as_deref(), &call.name);
        self.called.insert(call.call_id.clone(), name.clone());
        self.turn().calls.push(json!({
            "id": call.call_id,
            "type": "function",
            "function": { "name": name, "arguments": arguments },
        }));
    }

    fn output(&mut self, at: &str, output: Output, ignored: &mut Ignored) -> Result<(), ApiError> {
        let replace = |_: &str, kind: &str| {
            ignored.note(format!("output.{kind}"));
            Ok(unseen(kind))
        };
        let content = content(&format!("{at}.output"), &output.output, replace)?;
        self.end_turn();
        self.read.messages.push(Message {
            name: self.called.get(&output.call_id).cloned(),
            tool_call_id: Some(Value::String(output.call_id)),
            ..Message::new("tool", content)
        });
        Ok(())
    }

    /// Thoughts, from the first place that has any: the text itself, what the client carried for
    /// us, the summary.
    fn thought(&mut self, at: &str, thought: Thought) -> Result<(), ApiError> {
        let texts = |name: &str, parts: Option<Vec<Value>>| -> Result<String, ApiError> {
            let mut whole = String::new();
            for (index, part) in parts.iter().flatten().enumerate() {
                append(
                    &mut whole,
                    &text(&format!("{at}.{name}[{index}]"), part, "text")?,
                );
            }
            Ok(whole)
        };
        let shown = texts("content", thought.content)?;
        let summary = texts("summary", thought.summary)?;
        let carried = thought.encrypted_content.as_deref();
        let carried = carried.and_then(thoughts::unseal).unwrap_or_default();
        let found = [shown.as_str(), carried, summary.as_str()];
        let found = found.into_iter().find(|text| !text.is_empty());
        append(&mut self.turn().thoughts, found.unwrap_or_default());
        Ok(())
    }

    fn turn(&mut self) -> &mut Turn {
        self.turn.get_or_insert_default()
    }

    fn end_turn(&mut self) {
        let Some(turn) = self.turn.take() else {
            return;
        };
        let Turn {
            content,
            thoughts,
            calls,
        } = turn;
        // Thoughts that nothing came of, or that cannot be read here, are no turn.
        if content.is_empty() && calls.is_empty() {
            return;
        }
        self.read.messages.push(Message {
            tool_calls: (!calls.is_empty()).then_some(Value::Array(calls)),
            reasoning_content: (!thoughts.is_empty()).then_some(Value::String(thoughts)),
            ..Message::new("assistant", content)
        });
    }

    fn finish(mut self) -> Read {
        self.end_turn();
        self.read
    }
}

/// A text, or a list of parts with one each; `other` has a word on parts without.
fn content(
    at: &str,
    content: &Value,
    mut other: impl FnMut(&str, &str) -> Result<String, ApiError>,
) -> Result<String, ApiError> {
    let parts = match content {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        _ => return Err(neither(at, content)),
    };
    let mut whole = String::new();
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}[{index}]");
        whole.push_str(&match kind(&at, part)? {
            "input_text" | "output_text" | "text" => text(&at, part, "text")?,
            "refusal" => text(&at, part, "refusal")?,
            kind => other(&at, kind)?,
        });
    }
    Ok(whole)
}

fn append(whole: &mut String, more: &str) {
    if !whole.is_empty() && !more.is_empty() {
        whole.push_str(BREAK);
    }
    whole.push_str(more);
}

fn missing(at: &str, name: &str) -> ApiError {
    ApiError::field(format!("{at}.{name}"), "is required")
}

#[cfg(test)]
mod tests;
