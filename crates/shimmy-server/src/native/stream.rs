//! The native dialect's server-sent events, raw and as JSON.

use serde::Serialize;
use shimmy_chat::Delta;
use shimmy_engine::TokenLogprobs;
use utoipa::ToSchema;

use super::error;
use super::types::{Done, Started};
use crate::answer::Ending;
use crate::error::ApiError;
use crate::sse::{DONE, Frames, PING, RawText, json_event, named_event};

/// Events that hold the text itself.
#[derive(Debug, Default)]
pub(super) struct RawFrames {
    text: RawText,
}

impl Frames for RawFrames {
    /// Thoughts are left out: in a stream of bare text nothing could tell them from the answer.
    fn delta(&mut self, _: usize, delta: &Delta, _: &[TokenLogprobs], out: &mut Vec<u8>) {
        if let Delta::Content(text) = delta {
            self.text.event(text, out);
        }
    }

    fn finished(&mut self, _: usize, _: Ending, _: &mut Vec<u8>) {}

    fn close(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(DONE);
    }

    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        named_event("error", &error::body(error), out);
    }

    fn idle(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PING);
    }
}

/// Events that hold JSON.
#[derive(Debug)]
pub(super) struct JsonFrames {
    started: Started,
    index: u32,
}

impl JsonFrames {
    pub(super) fn new(started: Started) -> Self {
        Self { started, index: 0 }
    }
}

/// More of the answer.
#[derive(Serialize, ToSchema)]
pub(super) struct TextEvent<'a> {
    text: &'a str,
    /// Counts the events.
    index: u32,
}

#[derive(Serialize)]
struct ThinkingEvent<'a> {
    thinking: &'a str,
    index: u32,
}

impl Frames for JsonFrames {
    fn delta(&mut self, _: usize, delta: &Delta, _: &[TokenLogprobs], out: &mut Vec<u8>) {
        let index = self.index;
        match delta {
            Delta::Content(text) => json_event(&TextEvent { text, index }, out),
            Delta::Reasoning(thinking) => json_event(&ThinkingEvent { thinking, index }, out),
            // This dialect offers no tools.
            Delta::ToolCall { .. } | Delta::ToolArguments { .. } => return,
        }
        self.index += 1;
    }

    fn finished(&mut self, _: usize, ending: Ending, out: &mut Vec<u8>) {
        json_event(&Done::new(&self.started, &ending.finish), out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(DONE);
    }

    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        named_event("error", &error::body(error), out);
    }

    fn idle(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PING);
    }
}
