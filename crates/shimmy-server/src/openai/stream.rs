//! Chat completion chunks.

use jiff::Timestamp;
use serde::Serialize;
use shimmy_chat::Delta;
use shimmy_engine::{Finish, TokenLogprobs};

use super::error;
use super::types::{FINGERPRINT, UsageBody, finish_reason};
use crate::answer::{Ending, total_usage};
use crate::error::ApiError;
use crate::report;
use crate::sse::{DONE, Frames, PING, json_event};

/// One stream of chunks, all with the same id and time.
pub(super) struct ChunkFrames {
    id: String,
    created: i64,
    model: String,
    include_usage: bool,
    /// Which choices have had their first chunk, the one with the role.
    opened: Vec<usize>,
    finishes: Vec<Finish>,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [ChunkChoice<'a>],
    /// Absent unless asked for; then `null` on every chunk but the one that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageBody>>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: WireDelta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct WireDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
}

impl ChunkFrames {
    /// The frames of an answer by `model`.
    pub(super) fn new(model: String, include_usage: bool) -> Self {
        Self {
            id: report::unique_id("chatcmpl-"),
            created: Timestamp::now().as_second(),
            model,
            include_usage,
            opened: Vec::new(),
            finishes: Vec::new(),
        }
    }

    fn chunk(&self, choices: &[ChunkChoice<'_>], usage: Option<UsageBody>, out: &mut Vec<u8>) {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: self.include_usage.then_some(usage),
        };
        json_event(&chunk, out);
    }

    fn write(
        &self,
        index: usize,
        delta: WireDelta<'_>,
        finish_reason: Option<&'static str>,
        out: &mut Vec<u8>,
    ) {
        let choice = ChunkChoice {
            index,
            delta,
            logprobs: None,
            finish_reason,
        };
        self.chunk(&[choice], None, out);
    }

    /// The role, once for each choice and before anything else of it.
    fn open_choice(&mut self, choice: usize, out: &mut Vec<u8>) {
        if self.opened.contains(&choice) {
            return;
        }
        self.opened.push(choice);
        let opening = WireDelta {
            role: Some("assistant"),
            content: Some(""),
            ..WireDelta::default()
        };
        self.write(choice, opening, None, out);
    }
}

impl Frames for ChunkFrames {
    /// The first chunk at once: a long prefill must not look dead.
    fn open(&mut self, out: &mut Vec<u8>) {
        self.open_choice(0, out);
    }

    fn delta(&mut self, choice: usize, delta: &Delta, _: &[TokenLogprobs], out: &mut Vec<u8>) {
        self.open_choice(choice, out);
        let delta = match delta {
            Delta::Content(text) => WireDelta {
                content: Some(text),
                ..WireDelta::default()
            },
            Delta::Reasoning(text) => WireDelta {
                reasoning_content: Some(text),
                ..WireDelta::default()
            },
            Delta::ToolCall { .. } | Delta::ToolArguments { .. } => return,
        };
        self.write(choice, delta, None, out);
    }

    fn finished(&mut self, choice: usize, ending: Ending, out: &mut Vec<u8>) {
        self.open_choice(choice, out);
        let reason = finish_reason(ending.finish.reason);
        self.write(choice, WireDelta::default(), Some(reason), out);
        self.finishes.push(ending.finish);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.include_usage {
            self.chunk(&[], Some(total_usage(&self.finishes).into()), out);
        }
        out.extend_from_slice(DONE);
    }

    /// A `data:` event with `error` in it: what the official SDKs look for and raise. No `[DONE]`.
    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        json_event(&error::body(error), out);
    }

    fn idle(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PING);
    }
}
