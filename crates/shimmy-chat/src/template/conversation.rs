//! A conversation on its way into a template: its strings made safe, its shape chosen.
//!
//! This file owns what a template's variables hold and what has to be in the prompt afterwards. It
//! must not know Jinja, nor which attempt a template accepts.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::RenderRequest;
use super::environment::Budget;
use super::fold::{Fold, is_system};
use super::literal::{Depth, Literals, note_taken, note_taken_value};
use crate::error::TemplateError;
use crate::message::{Message, is_absent};

/// No text of a request needs this character, the last of the private-use planes.
pub(super) const WITNESS: char = '\u{10FFFD}';

/// No request, however large, may keep a template at work for longer than this.
const MAX_FUEL: u64 = 8_000_000;

/// A request whose strings have been made safe.
#[derive(Debug, PartialEq)]
pub(super) struct Conversation {
    messages: Vec<Message>,
    add_generation_prompt: bool,
    tools: Value,
    kwargs: Map<String, Value>,
}

impl Conversation {
    /// The request with stand-ins for what must stay plain text.
    pub(super) fn protect(
        request: &RenderRequest<'_>,
        literals: &mut Literals<'_>,
    ) -> Result<Self, TemplateError> {
        let conversation = Self {
            messages: request
                .messages
                .iter()
                .map(|m| protect_message(m, literals))
                .collect(),
            add_generation_prompt: request.add_generation_prompt,
            tools: request
                .tools
                .map_or(Value::Null, |tools| literals.protect_value(tools)),
            kwargs: literals.protect_map(request.kwargs),
        };
        if literals.is_exhausted() {
            let reason = "the messages hold too many different private-use characters";
            return Err(TemplateError::Render {
                reason: reason.to_owned(),
            });
        }
        Ok(conversation)
    }

    /// One user message and nothing else.
    pub(super) fn of_user(content: &str) -> Self {
        Self {
            messages: vec![Message::new("user", content)],
            add_generation_prompt: false,
            tools: Value::Null,
            kwargs: Map::new(),
        }
    }

    /// The same with tools.
    pub(super) fn with_tools(self, tools: Value) -> Self {
        Self { tools, ..self }
    }

    /// The template's variables, presented as the attempt says.
    pub(super) fn context(&self, attempt: Attempt, wants_parts: bool) -> Map<String, Value> {
        let messages = attempt.fold.apply(&self.messages).into_iter();
        let messages = messages.map(|message| message_value(message, attempt, wants_parts));
        let mut context = self.kwargs.clone();
        context.insert("messages".to_owned(), messages.collect());
        // Hugging Face passes `None` where there are no tools, and templates ask for that.
        context.insert("tools".to_owned(), self.tools.clone());
        let add = Value::Bool(self.add_generation_prompt);
        context.insert("add_generation_prompt".to_owned(), add);
        context
    }

    /// The conversation with a witness in every system message, to see whether a template writes
    /// them all, and how many there are. `None` where there is nothing to lose.
    ///
    /// Other roles are no concern: what a template leaves out of an assistant's message, such as
    /// its thoughts, is meant to be left out, and none ignores its users.
    pub(super) fn with_witnesses(&self) -> Option<(Self, usize)> {
        let mut messages = self.messages.clone();
        let mut count = 0;
        for message in messages.iter_mut().filter(|message| is_system(message)) {
            message.content.push(WITNESS);
            count += 1;
        }
        let (tools, kwargs) = (self.tools.clone(), self.kwargs.clone());
        (count > 0).then(|| {
            (
                Self {
                    messages,
                    tools,
                    kwargs,
                    ..*self
                },
                count,
            )
        })
    }

    /// Far more than any published template needs, and under a second of work.
    pub(super) fn budget(&self) -> Budget {
        let bytes = self.size();
        let fuel = 400_000 + 200 * self.messages.len() as u64 + bytes as u64 / 8;
        Budget {
            fuel: fuel.min(MAX_FUEL),
            output: (8 << 20) + 4 * bytes,
        }
    }

    fn size(&self) -> usize {
        let messages: usize = self
            .messages
            .iter()
            .map(|m| m.role.len() + m.content.len() + extras(m).map(value_size).sum::<usize>())
            .sum();
        let kwargs: usize = self.kwargs.values().map(value_size).sum();
        messages + kwargs + value_size(&self.tools)
    }
}

/// How the arguments of tool calls reach the template: OpenAI sends the text of a JSON object,
/// most templates want the object, a few the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arguments {
    Objects,
    AsTheyCame,
}

/// One way to present a conversation to a template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    fold: Fold,
    arguments: Arguments,
}

impl Attempt {
    /// Nothing changed.
    pub(super) const PLAIN: Self = Self {
        fold: Fold::AsTheyCame,
        arguments: Arguments::AsTheyCame,
    };

    /// All ways that differ, gentlest first.
    pub(super) fn all(conversation: &Conversation) -> Vec<Self> {
        let has_calls = conversation
            .messages
            .iter()
            .any(|message| !is_absent(&message.tool_calls));
        let mut attempts = Vec::new();
        let mut last = None;
        for fold in Fold::ALL {
            let messages = Some(fold.apply(&conversation.messages));
            if messages == last {
                continue;
            }
            last = messages;
            attempts.push(Self {
                fold,
                arguments: Arguments::Objects,
            });
            if has_calls {
                attempts.push(Self {
                    fold,
                    arguments: Arguments::AsTheyCame,
                });
            }
        }
        attempts
    }
}

/// Adds the characters of the request that could be mistaken for stand-ins.
pub(super) fn note_taken_by(request: &RenderRequest<'_>, taken: &mut HashSet<char>) {
    for message in request.messages {
        note_taken(&message.role, taken);
        note_taken(&message.content, taken);
        message.name.iter().for_each(|name| note_taken(name, taken));
        extras(message).for_each(|value| note_taken_value(value, taken));
    }
    request
        .tools
        .into_iter()
        .for_each(|tools| note_taken_value(tools, taken));
    for (key, value) in request.kwargs {
        note_taken(key, taken);
        note_taken_value(value, taken);
    }
}

fn message_value(mut message: Message, attempt: Attempt, wants_parts: bool) -> Value {
    if attempt.arguments == Arguments::Objects {
        message.tool_calls.iter_mut().for_each(parse_arguments);
    }
    // A struct of strings and JSON values always serialises.
    let mut value = serde_json::to_value(&message).unwrap_or_default();
    if wants_parts {
        value["content"] = json!([{ "type": "text", "text": message.content }]);
    }
    value
}

fn extras(message: &Message) -> impl Iterator<Item = &Value> {
    [
        &message.tool_calls,
        &message.tool_call_id,
        &message.reasoning_content,
    ]
    .into_iter()
    .flatten()
}

fn protect_message(message: &Message, literals: &mut Literals<'_>) -> Message {
    let mut protect = |value: &Option<Value>| value.as_ref().map(|v| literals.protect_value(v));
    let tool_calls = protect(&message.tool_calls);
    let tool_call_id = protect(&message.tool_call_id);
    let reasoning_content = protect(&message.reasoning_content);
    Message {
        // Templates do build tokens around a role (`'<|' + role + '|>'`), and who chooses roles
        // need not forge them: only whole special texts are kept out.
        role: literals.protect_at(&message.role, Depth::Whole),
        content: literals.protect(&message.content),
        name: message.name.as_ref().map(|name| literals.protect(name)),
        tool_calls,
        tool_call_id,
        reasoning_content,
    }
}

fn parse_arguments(calls: &mut Value) {
    for call in calls.as_array_mut().into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else {
            continue;
        };
        let object = arguments
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok());
        if let Some(object @ Value::Object(_)) = object {
            *arguments = object;
        }
    }
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_size).sum::<usize>() + 1,
        Value::Object(map) => {
            map.iter()
                .map(|(k, v)| k.len() + value_size(v))
                .sum::<usize>()
                + 1
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}
