//! Chat completion chunks.

use serde::Serialize;
use shimmy_chat::Delta;
use shimmy_engine::TokenLogprobs;
use utoipa::ToSchema;

use super::chat::reason;
use super::envelope::Envelope;
use super::error;
use super::logprobs::ChatLogprobs;
use super::tool_use::CallStyle;
use super::types::{AnswerStyle, call_id};
use crate::answer::Ending;
use crate::error::ApiError;
use crate::sse::{Frames, PING, json_event};

/// One stream of chunks.
pub(super) struct ChunkFrames {
    envelope: Envelope,
    style: AnswerStyle,
    /// Which choices have had their first chunk, the one with the role.
    opened: Vec<usize>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiChunkChoice)]
pub(super) struct ChunkChoice<'a> {
    index: usize,
    delta: WireDelta<'a>,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize, ToSchema)]
#[schema(as = OpenAiDelta)]
struct WireDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionDelta<'a>>,
}

/// A call's first piece has its id and its name, the others only arguments.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiToolCallDelta)]
struct CallDelta<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiFunctionDelta)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl<'a> WireDelta<'a> {
    fn new(delta: &'a Delta, style: CallStyle) -> Option<Self> {
        let empty = Self::default();
        Some(match delta {
            Delta::Content(text) => Self {
                content: Some(text),
                ..empty
            },
            Delta::Reasoning(text) => Self {
                reasoning_content: Some(text),
                ..empty
            },
            Delta::ToolCall { index, name } => {
                let function = FunctionDelta {
                    name: Some(name),
                    arguments: "",
                };
                Self::of_call(*index, Some(call_id()), function, style)?
            }
            Delta::ToolArguments { index, json } => {
                let function = FunctionDelta {
                    name: None,
                    arguments: json,
                };
                Self::of_call(*index, None, function, style)?
            }
        })
    }

    /// `None` where the style has no room for a second call.
    fn of_call(
        index: usize,
        id: Option<String>,
        function: FunctionDelta<'a>,
        style: CallStyle,
    ) -> Option<Self> {
        match style {
            CallStyle::Tools => Some(Self {
                tool_calls: Some([CallDelta {
                    index,
                    kind: id.is_some().then_some("function"),
                    id,
                    function,
                }]),
                ..Self::default()
            }),
            CallStyle::Function => (index == 0).then(|| Self {
                function_call: Some(function),
                ..Self::default()
            }),
        }
    }
}

impl ChunkFrames {
    /// The frames of an answer.
    pub(super) fn new(envelope: Envelope, style: AnswerStyle) -> Self {
        Self {
            envelope,
            style,
            opened: Vec::new(),
        }
    }

    fn write(
        &self,
        index: usize,
        delta: WireDelta<'_>,
        logprobs: &[TokenLogprobs],
        finish_reason: Option<&'static str>,
        out: &mut Vec<u8>,
    ) {
        let has_logprobs = self.style.logprobs && !logprobs.is_empty();
        let choice = ChunkChoice {
            index,
            delta,
            logprobs: has_logprobs.then(|| logprobs.into()),
            finish_reason,
        };
        self.envelope.chunk(choice, out);
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
        self.write(choice, opening, &[], None, out);
    }
}

impl Frames for ChunkFrames {
    /// The first chunk at once: a long prefill must not look dead.
    fn open(&mut self, out: &mut Vec<u8>) {
        self.open_choice(0, out);
    }

    fn delta(
        &mut self,
        choice: usize,
        delta: &Delta,
        logprobs: &[TokenLogprobs],
        out: &mut Vec<u8>,
    ) {
        self.open_choice(choice, out);
        if let Some(delta) = WireDelta::new(delta, self.style.calls) {
            self.write(choice, delta, logprobs, None, out);
        }
    }

    fn finished(&mut self, choice: usize, ending: Ending, out: &mut Vec<u8>) {
        self.open_choice(choice, out);
        let reason = reason(&ending, self.style.calls);
        let empty = WireDelta::default();
        self.write(choice, empty, &ending.logprobs, Some(reason), out);
        self.envelope.end(choice, ending);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        self.envelope.close(out);
    }

    /// A `data:` event with `error` in it: what the official SDKs look for and raise. No `[DONE]`.
    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        json_event(&error::body(error), out);
    }

    fn idle(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PING);
    }
}

#[cfg(test)]
mod tests;
