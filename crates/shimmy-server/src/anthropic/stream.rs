//! The events of a streamed message.

use serde::Serialize;
use shimmy_chat::Delta;
use shimmy_engine::TokenLogprobs;
use utoipa::ToSchema;

use super::answer::{Answer, Block, Edits, LastUsage, Stop, UsageBody, signature};
use super::error;
use super::request::Style;
use crate::answer::Ending;
use crate::error::ApiError;
use crate::lead::Lead;
use crate::report;
use crate::sse::{Frames, named_event};

/// One stream of events.
pub(super) struct MessageFrames {
    id: String,
    model: String,
    prompt_tokens: usize,
    style: Style,
    /// How many blocks have begun.
    begun: usize,
    open: Option<Open>,
    lead: Lead,
}

/// The block that is being written.
enum Open {
    Text,
    /// With what was thought, where it is not shown.
    Thinking(String),
    Call,
}

/// What a stream is made of.
#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicEvent)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    MessageStart {
        message: Answer<'a>,
    },
    ContentBlockStart {
        index: usize,
        content_block: &'a Block,
    },
    ContentBlockDelta {
        index: usize,
        delta: WireDelta<'a>,
    },
    ContentBlockStop {
        index: usize,
    },
    MessageDelta {
        delta: LastDelta,
        usage: LastUsage,
        #[serde(skip_serializing_if = "Option::is_none")]
        context_management: Option<Edits>,
    },
    MessageStop,
    Ping,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicDelta)]
#[serde(tag = "type")]
pub(super) enum WireDelta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicLastDelta)]
pub(super) struct LastDelta {
    #[serde(flatten)]
    stop: Stop,
    #[schema(schema_with = crate::openapi::null)]
    container: Option<()>,
}

impl MessageFrames {
    /// The events of an answer by `model`.
    pub(super) fn new(model: String, prompt_tokens: usize, style: Style) -> Self {
        Self {
            id: report::unique_id("msg_"),
            model,
            prompt_tokens,
            style,
            begun: 0,
            open: None,
            lead: Lead::default(),
        }
    }

    fn begin(&mut self, block: &Block, open: Open, out: &mut Vec<u8>) {
        self.end(out);
        self.lead.take();
        let start = Event::ContentBlockStart {
            index: self.begun,
            content_block: block,
        };
        start.write(out);
        self.begun += 1;
        self.open = Some(open);
    }

    fn write(&self, delta: WireDelta<'_>, out: &mut Vec<u8>) {
        // Only ever called with a block open.
        let index = self.begun.saturating_sub(1);
        Event::ContentBlockDelta { index, delta }.write(out);
    }

    /// Ends the open block.
    fn end(&mut self, out: &mut Vec<u8>) {
        let Some(open) = self.open.take() else {
            return;
        };
        if let Open::Thinking(thoughts) = open {
            let signature = &signature(&thoughts, self.style);
            self.write(WireDelta::Signature { signature }, out);
        }
        let index = self.begun.saturating_sub(1);
        Event::ContentBlockStop { index }.write(out);
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if matches!(self.open, Some(Open::Text)) {
            return self.write(WireDelta::Text { text }, out);
        }
        if let Some(text) = self.lead.admit(text) {
            self.begin(&Block::text(String::new()), Open::Text, out);
            self.write(WireDelta::Text { text: &text }, out);
        }
    }

    fn thinking(&mut self, thinking: &str, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Open::Thinking(_))) {
            let block = Block::Thinking {
                thinking: String::new(),
                signature: String::new(),
            };
            self.begin(&block, Open::Thinking(String::new()), out);
        }
        match &mut self.open {
            Some(Open::Thinking(thoughts)) if self.style.omits_thoughts => {
                thoughts.push_str(thinking);
            }
            _ => self.write(WireDelta::Thinking { thinking }, out),
        }
    }
}

impl Frames for MessageFrames {
    fn open(&mut self, out: &mut Vec<u8>) {
        let message = Answer::begun(&self.id, &self.model, self.prompt_tokens, self.style);
        Event::MessageStart { message }.write(out);
    }

    fn delta(&mut self, _: usize, delta: &Delta, _: &[TokenLogprobs], out: &mut Vec<u8>) {
        match delta {
            Delta::Content(text) => self.text(text, out),
            Delta::Reasoning(thinking) => self.thinking(thinking, out),
            Delta::ToolCall { name, .. } => self.begin(&Block::call(name), Open::Call, out),
            Delta::ToolArguments { json, .. } => {
                self.write(WireDelta::InputJson { partial_json: json }, out);
            }
        }
    }

    fn finished(&mut self, _: usize, ending: Ending, out: &mut Vec<u8>) {
        let lead = self.lead.take();
        if self.begun == 0 && !lead.is_empty() {
            self.begin(&Block::text(String::new()), Open::Text, out);
            self.write(WireDelta::Text { text: &lead }, out);
        }
        self.end(out);
        let last = Event::MessageDelta {
            delta: LastDelta {
                stop: Stop::of(&ending),
                container: None,
            },
            usage: UsageBody::new(ending.finish.usage, ending.reasoning_tokens).last(),
            context_management: Edits::of(self.style),
        };
        last.write(out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        Event::MessageStop.write(out);
    }

    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        named_event("error", &error::body(error), out);
    }

    /// An event and no comment: clients count the time since the last one.
    fn idle(&mut self, out: &mut Vec<u8>) {
        Event::Ping.write(out);
    }
}

impl Event<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        named_event(self.name(), self, out);
    }

    /// Its type again, which stands before the data too.
    fn name(&self) -> &'static str {
        match self {
            Event::MessageStart { .. } => "message_start",
            Event::ContentBlockStart { .. } => "content_block_start",
            Event::ContentBlockDelta { .. } => "content_block_delta",
            Event::ContentBlockStop { .. } => "content_block_stop",
            Event::MessageDelta { .. } => "message_delta",
            Event::MessageStop => "message_stop",
            Event::Ping => "ping",
        }
    }
}

#[cfg(test)]
mod tests;
