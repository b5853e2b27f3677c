//! The native dialect's server-sent events, raw and as JSON.

use serde::Serialize;
use shimmy_engine::Finish;

use super::error;
use super::types::{Done, Started};
use crate::error::ApiError;
use crate::sse::{DONE, Frames, PING, RawText, json_event, named_event};

/// Events that hold the text itself.
#[derive(Debug, Default)]
pub(super) struct RawFrames {
    text: RawText,
}

impl Frames for RawFrames {
    fn text(&mut self, _choice: usize, text: &str, out: &mut Vec<u8>) {
        self.text.event(text, out);
    }

    fn finished(&mut self, _choice: usize, _finish: Finish, _out: &mut Vec<u8>) {}

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

#[derive(Serialize)]
struct TextEvent<'a> {
    text: &'a str,
    index: u32,
}

impl Frames for JsonFrames {
    fn text(&mut self, _choice: usize, text: &str, out: &mut Vec<u8>) {
        json_event(
            &TextEvent {
                text,
                index: self.index,
            },
            out,
        );
        self.index += 1;
    }

    fn finished(&mut self, _choice: usize, finish: Finish, out: &mut Vec<u8>) {
        json_event(&Done::new(&self.started, &finish), out);
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
