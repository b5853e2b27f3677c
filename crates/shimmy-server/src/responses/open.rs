//! An item from its first event to its last.

use super::custom::InputReader;
use super::events::{Body, Events, Inside, OfItem, Sink};
use super::item::{Item, Part, Status, WireLogprobs};
use super::request::Style;
use crate::thoughts;

/// The item that is being written.
#[derive(Debug)]
pub(super) struct Open {
    item: Item,
    output_index: usize,
    style: Style,
    /// What has been said, thought or put into a call so far.
    text: String,
    logprobs: Vec<WireLogprobs>,
    /// Reads the free text of a custom tool.
    input: InputReader,
}

impl Open {
    /// Begins an item, and the part that its text is in.
    pub(super) fn begin(
        item: Item,
        output_index: usize,
        style: Style,
        events: &mut Events,
        sink: &mut impl Sink,
    ) -> Self {
        let added = OfItem {
            output_index,
            item: &item,
        };
        events.send("response.output_item.added", Body::Item(added), sink);
        let open = Self {
            item,
            output_index,
            style,
            text: String::new(),
            logprobs: Vec::new(),
            input: InputReader::default(),
        };
        if let Some(part) = open.part(String::new(), Vec::new()) {
            let kind = match part {
                Part::Summary { .. } => "response.reasoning_summary_part.added",
                _ => "response.content_part.added",
            };
            let added = Inside {
                part: Some(&part),
                ..open.inside()
            };
            events.send(kind, Body::Inside(added), sink);
        }
        open
    }

    /// Whether this is a message.
    pub(super) fn is_message(&self) -> bool {
        matches!(self.item, Item::Message { .. })
    }

    /// Whether these are thoughts.
    pub(super) fn is_reasoning(&self) -> bool {
        matches!(self.item, Item::Reasoning { .. })
    }

    /// More of what it says, or of its arguments.
    pub(super) fn grow(
        &mut self,
        more: &str,
        logprobs: Vec<WireLogprobs>,
        events: &mut Events,
        sink: &mut impl Sink,
    ) {
        let decoded;
        let (kind, delta) = match &self.item {
            Item::Message { .. } => ("response.output_text.delta", more),
            Item::Reasoning { .. } if self.style.summary => {
                ("response.reasoning_summary_text.delta", more)
            }
            Item::Reasoning { .. } => ("response.reasoning_text.delta", more),
            Item::FunctionCall { .. } => ("response.function_call_arguments.delta", more),
            Item::CustomToolCall { .. } => {
                decoded = self.input.push(more);
                ("response.custom_tool_call_input.delta", decoded.as_str())
            }
        };
        // Arguments may go on without more of the text in them.
        if !delta.is_empty() {
            self.send_delta(kind, delta, &logprobs, events, sink);
            self.text.push_str(delta);
        }
        self.logprobs.extend(logprobs);
    }

    /// Ends it.
    pub(super) fn end(mut self, status: Status, events: &mut Events, sink: &mut impl Sink) -> Item {
        if let Item::CustomToolCall { .. } = &self.item {
            let (input, rest) = std::mem::take(&mut self.input).finish();
            if !rest.is_empty() {
                let kind = "response.custom_tool_call_input.delta";
                self.send_delta(kind, &rest, &[], events, sink);
            }
            self.text = input;
        }
        self.send_done(events, sink);
        self.complete(status);
        let done = OfItem {
            output_index: self.output_index,
            item: &self.item,
        };
        events.send("response.output_item.done", Body::Item(done), sink);
        self.item
    }

    fn send_delta(
        &self,
        kind: &'static str,
        delta: &str,
        logprobs: &[WireLogprobs],
        events: &mut Events,
        sink: &mut impl Sink,
    ) {
        let body = Inside {
            delta: Some(delta),
            logprobs: self.is_message().then_some(logprobs),
            ..self.inside()
        };
        events.send(kind, Body::Inside(body), sink);
    }

    /// The events that repeat the whole text.
    fn send_done(&self, events: &mut Events, sink: &mut impl Sink) {
        let text = Some(self.text.as_str());
        let inside = self.inside();
        let (kind, done) = match &self.item {
            Item::Message { .. } => (
                "response.output_text.done",
                Inside {
                    text,
                    logprobs: Some(&self.logprobs),
                    ..inside
                },
            ),
            Item::Reasoning { .. } if self.style.summary => (
                "response.reasoning_summary_text.done",
                Inside { text, ..inside },
            ),
            Item::Reasoning { .. } => ("response.reasoning_text.done", Inside { text, ..inside }),
            Item::FunctionCall { name, .. } => (
                "response.function_call_arguments.done",
                Inside {
                    name: Some(name),
                    arguments: text,
                    ..inside
                },
            ),
            Item::CustomToolCall { .. } => (
                "response.custom_tool_call_input.done",
                Inside {
                    input: text,
                    ..inside
                },
            ),
        };
        events.send(kind, Body::Inside(done), sink);
        if let Some(part) = self.part(self.text.clone(), self.logprobs.clone()) {
            let kind = match part {
                Part::Summary { .. } => "response.reasoning_summary_part.done",
                _ => "response.content_part.done",
            };
            let done = Inside {
                part: Some(&part),
                ..self.inside()
            };
            events.send(kind, Body::Inside(done), sink);
        }
    }

    /// Puts the text where the item has it.
    fn complete(&mut self, new: Status) {
        let text = std::mem::take(&mut self.text);
        let logprobs = std::mem::take(&mut self.logprobs);
        let part = self.part(text.clone(), logprobs);
        match &mut self.item {
            Item::Message {
                status, content, ..
            } => {
                *status = new;
                content.extend(part);
            }
            Item::Reasoning {
                status,
                summary,
                content,
                encrypted_content,
                ..
            } => {
                *status = new;
                if self.style.carried {
                    *encrypted_content = Some(thoughts::seal(&text));
                }
                match self.style.summary {
                    true => summary.extend(part),
                    false => content.extend(part),
                }
            }
            Item::FunctionCall {
                status, arguments, ..
            } => {
                *status = new;
                *arguments = text;
            }
            Item::CustomToolCall { status, input, .. } => {
                *status = new;
                *input = text;
            }
        }
    }

    /// The part that holds the text; a call has none.
    fn part(&self, text: String, logprobs: Vec<WireLogprobs>) -> Option<Part> {
        match self.item {
            Item::Message { .. } => Some(Part::output(text, logprobs)),
            Item::Reasoning { .. } if self.style.summary => Some(Part::Summary { text }),
            Item::Reasoning { .. } => Some(Part::Reasoning { text }),
            Item::FunctionCall { .. } | Item::CustomToolCall { .. } => None,
        }
    }

    /// The place of the text.
    fn inside(&self) -> Inside<'_> {
        let is_summary = self.is_reasoning() && self.style.summary;
        let has_parts = self.is_message() || self.is_reasoning();
        Inside {
            item_id: self.item.id(),
            output_index: self.output_index,
            content_index: (has_parts && !is_summary).then_some(0),
            summary_index: is_summary.then_some(0),
            ..Inside::default()
        }
    }
}
