//! Tools for models whose template knows none: told in words, called in the commonest notation,
//! with calls and results of earlier messages as text that any template takes.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::message::{Message, is_absent};
use crate::notation::{HERMES, NOTATIONS, Notation};
use crate::request::Tool;

/// The notation that is taught, with what a family writes all the same.
pub(crate) fn notation(source: &str) -> &'static Notation {
    let of_family = NOTATIONS
        .iter()
        .find(|notation| notation.name == "gemma" && notation.is_told_by(source));
    of_family.copied().unwrap_or(&HERMES)
}

/// The conversation with `tools` told in its system message, and everything about calls as text.
pub(crate) fn messages<'a>(messages: &'a [Message], tools: &[Tool]) -> Cow<'a, [Message]> {
    let speaks_of_calls =
        |message: &Message| message.role == "tool" || !is_absent(&message.tool_calls);
    if tools.is_empty() && !messages.iter().any(speaks_of_calls) {
        return Cow::Borrowed(messages);
    }
    let mut told: Vec<Message> = messages.iter().map(as_text).collect();
    if !tools.is_empty() {
        let text = introduction(tools);
        match told.first_mut() {
            Some(first) if matches!(first.role.as_str(), "system" | "developer") => {
                first.content = format!("{}\n\n{text}", first.content);
            }
            _ => told.insert(0, Message::new("system", text)),
        }
    }
    Cow::Owned(told)
}

fn introduction(tools: &[Tool]) -> String {
    let tools: Vec<String> = tools
        .iter()
        .map(|tool| tool.definition()["function"].to_string())
        .collect();
    format!(
        "You can call functions. These are the functions, each with the JSON schema of its \
         arguments:\n<tools>\n{}\n</tools>\n\nTo call one, write a JSON object with its name and \
         its arguments between these marks, and nothing after them:\n<tool_call>\n{{\"name\": \
         \"function-name\", \"arguments\": {{\"argument\": \"value\"}}}}\n</tool_call>\nThe result \
         comes back between <tool_response> and </tool_response>. Call a function only if it helps \
         to answer.",
        tools.join("\n")
    )
}

fn as_text(message: &Message) -> Message {
    let mut told = message.clone();
    if message.role == "tool" {
        let content = &message.content;
        told.role = "user".to_owned();
        told.content = format!("<tool_response>\n{content}\n</tool_response>");
        told.tool_call_id = None;
        told.name = None;
    }
    let calls = told.tool_calls.take();
    for call in calls.iter().filter_map(Value::as_array).flatten() {
        let text = call_text(&call["function"]);
        if !told.content.is_empty() {
            told.content.push('\n');
        }
        told.content.push_str(&text);
    }
    told
}

fn call_text(function: &Value) -> String {
    // OpenAI has the arguments as the text of an object.
    let arguments = match &function["arguments"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        other => other.clone(),
    };
    let (name, arguments) = (&function["name"], &arguments);
    format!("<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>")
}
