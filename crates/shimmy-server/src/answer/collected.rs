//! Choices as a whole, put together from what happened.

use shimmy_chat::Delta;
use shimmy_engine::TokenLogprobs;

use super::Ending;

/// A choice as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) content: String,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<Call>,
    /// Of all its tokens, where they were asked for.
    pub(crate) logprobs: Vec<TokenLogprobs>,
    pub(crate) ending: Ending,
}

/// A call of a tool, as the model wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// The text of a JSON object.
    pub(crate) arguments: String,
}

/// A choice while it is collected.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    content: String,
    reasoning: String,
    calls: Vec<Call>,
    logprobs: Vec<TokenLogprobs>,
    pub(super) ending: Option<Ending>,
}

impl Draft {
    pub(super) fn push(&mut self, delta: Delta, logprobs: Vec<TokenLogprobs>) {
        self.logprobs.extend(logprobs);
        match delta {
            Delta::Content(text) => self.content.push_str(&text),
            Delta::Reasoning(text) => self.reasoning.push_str(&text),
            Delta::ToolCall { name, .. } => self.calls.push(Call {
                name,
                ..Call::default()
            }),
            Delta::ToolArguments { index, json } => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.arguments.push_str(&json);
                }
            }
        }
    }

    pub(super) fn complete(self) -> Option<Answered> {
        let ending = self.ending?;
        let mut logprobs = self.logprobs;
        logprobs.extend(ending.logprobs.iter().cloned());
        Some(Answered {
            content: self.content,
            reasoning: self.reasoning,
            calls: self.calls,
            logprobs,
            ending,
        })
    }
}
