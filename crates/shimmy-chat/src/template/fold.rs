//! Orders of the same messages, from the one that came to the plainest that any template takes.
//!
//! Clients send `developer` messages, a `system` message in the middle and several messages of one
//! role in a row, while many templates raise an exception at anything but `system? (user
//! assistant)*`. This file owns how messages are rearranged, and drops no text when it does. It
//! must not know templates: it is told to fold further, not why.

use crate::message::{Message, is_absent};

/// How far the messages are folded; each step includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// The client's order.
    AsTheyCame,
    /// One system message, in front.
    SystemFirst,
    /// No two messages of one role in a row.
    Alternating,
    /// The system text is the beginning of the first user message.
    SystemInUser,
    /// Only users and assistants, and a user speaks first.
    TwoRoles,
}

impl Fold {
    pub(super) const ALL: [Self; 5] = [
        Self::AsTheyCame,
        Self::SystemFirst,
        Self::Alternating,
        Self::SystemInUser,
        Self::TwoRoles,
    ];

    /// The messages, folded this far.
    pub(super) fn apply(self, messages: &[Message]) -> Vec<Message> {
        let messages = messages.iter().cloned().map(developer_is_system).collect();
        match self {
            Self::AsTheyCame => messages,
            Self::SystemFirst => system_first(messages),
            Self::Alternating => alternating(system_first(messages)),
            Self::SystemInUser => alternating(system_in_user(messages)),
            Self::TwoRoles => user_speaks_first(alternating(two_roles(system_in_user(messages)))),
        }
    }
}

/// Whether a message instructs the model, under either of the role's names.
pub(super) fn is_system(message: &Message) -> bool {
    matches!(message.role.as_str(), "system" | "developer")
}

/// OpenAI renamed the role; no template of an open model but gpt-oss's knows the new name, and
/// that one takes both.
fn developer_is_system(mut message: Message) -> Message {
    if message.role == "developer" {
        message.role = "system".to_owned();
    }
    message
}

fn take_system(messages: Vec<Message>) -> (Option<String>, Vec<Message>) {
    let (system, others): (Vec<_>, Vec<_>) = messages
        .into_iter()
        .partition(|message| message.role == "system");
    let text = system
        .into_iter()
        .map(|message| message.content)
        .reduce(|a, b| join(&a, &b));
    (text, others)
}

fn system_first(messages: Vec<Message>) -> Vec<Message> {
    let (system, mut others) = take_system(messages);
    if let Some(text) = system {
        others.insert(0, Message::new("system", text));
    }
    others
}

fn system_in_user(messages: Vec<Message>) -> Vec<Message> {
    let (system, mut others) = take_system(messages);
    let Some(text) = system else { return others };
    match others.iter_mut().find(|message| message.role == "user") {
        Some(user) => user.content = join(&text, &user.content),
        None => others.insert(0, Message::new("user", text)),
    }
    others
}

fn two_roles(mut messages: Vec<Message>) -> Vec<Message> {
    for message in &mut messages {
        if message.role != "assistant" {
            message.role = "user".to_owned();
        }
    }
    messages
}

fn user_speaks_first(mut messages: Vec<Message>) -> Vec<Message> {
    if messages
        .first()
        .is_some_and(|message| message.role == "assistant")
    {
        messages.insert(0, Message::new("user", ""));
    }
    messages
}

fn alternating(messages: Vec<Message>) -> Vec<Message> {
    let mut merged: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        match merged.last_mut() {
            Some(last) if can_merge(last, &message) => merge(last, message),
            _ => merged.push(message),
        }
    }
    merged
}

/// Results of different tool calls stay apart, as does everything after a call: what a template
/// writes for a call belongs after the text.
fn can_merge(first: &Message, second: &Message) -> bool {
    first.role == second.role
        && first.name == second.name
        && is_absent(&first.tool_calls)
        && is_absent(&first.tool_call_id)
        && is_absent(&second.tool_call_id)
        && is_absent(&second.reasoning_content)
}

fn merge(first: &mut Message, second: Message) {
    first.content = join(&first.content, &second.content);
    first.tool_calls = second.tool_calls;
}

fn join(first: &str, second: &str) -> String {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second.to_owned(),
        (_, true) => first.to_owned(),
        _ => format!("{first}\n\n{second}"),
    }
}
