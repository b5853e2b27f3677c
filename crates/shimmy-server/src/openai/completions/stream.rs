//! Completion chunks.

use std::collections::BTreeMap;

use shimmy_chat::Delta;
use shimmy_engine::TokenLogprobs;

use super::{TextChoice, TextStyle};
use crate::answer::Ending;
use crate::error::ApiError;
use crate::openai::envelope::Envelope;
use crate::openai::error;
use crate::openai::logprobs::TextReporter;
use crate::openai::usage::finish_reason;
use crate::sse::{Frames, PING, json_event};

/// One stream of chunks.
pub(super) struct TextFrames {
    envelope: Envelope,
    style: TextStyle,
    /// Of the choices that have begun; what reports probabilities, where they were asked for.
    begun: BTreeMap<usize, Option<TextReporter>>,
}

impl TextFrames {
    /// The frames of an answer.
    pub(super) fn new(envelope: Envelope, style: TextStyle) -> Self {
        Self {
            envelope,
            style,
            begun: BTreeMap::new(),
        }
    }

    /// Before anything else of a choice: the prompt, where it is to be repeated.
    fn begin(&mut self, index: usize, out: &mut Vec<u8>) {
        if self.begun.contains_key(&index) {
            return;
        }
        self.begun.insert(index, self.style.reporter(index));
        let text = self.style.echo(index);
        if !text.is_empty() {
            let choice = TextChoice {
                text,
                index,
                logprobs: None,
                finish_reason: None,
            };
            self.envelope.chunk(choice, out);
        }
    }

    fn write(
        &mut self,
        (index, text): (usize, &str),
        logprobs: &[TokenLogprobs],
        finish_reason: Option<&'static str>,
        out: &mut Vec<u8>,
    ) {
        let reporter = self.begun.get_mut(&index).and_then(Option::as_mut);
        let choice = TextChoice {
            text,
            index,
            logprobs: reporter
                .filter(|_| !logprobs.is_empty())
                .map(|reporter| reporter.report(logprobs)),
            finish_reason,
        };
        self.envelope.chunk(choice, out);
    }
}

impl Frames for TextFrames {
    fn delta(
        &mut self,
        choice: usize,
        delta: &Delta,
        logprobs: &[TokenLogprobs],
        out: &mut Vec<u8>,
    ) {
        self.begin(choice, out);
        // An answer to a bare prompt is nothing but text.
        if let Delta::Content(text) = delta {
            self.write((choice, text), logprobs, None, out);
        }
    }

    fn finished(&mut self, choice: usize, ending: Ending, out: &mut Vec<u8>) {
        self.begin(choice, out);
        let reason = finish_reason(ending.finish.reason);
        self.write((choice, ""), &ending.logprobs, Some(reason), out);
        self.envelope.end(choice, ending);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        self.envelope.close(out);
    }

    /// As in chats: what the official SDKs look for and raise.
    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        json_event(&error::body(error), out);
    }

    fn idle(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PING);
    }
}
