//! One choice of an answer while it runs: what the engine's events mean for it.

use std::collections::VecDeque;
use std::time::Instant;

use shimmy_chat::{AnswerParser, Delta};
use shimmy_engine::{Event, Finish, FinishReason, Generation, TokenLogprobs};

use super::Progress;
use super::said::Said;
use super::time_limit::TimeLimit;
use crate::error::ApiError;

/// One choice while it runs.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) generation: Generation,
    pub(super) parser: AnswerParser,
    /// Looks for the stop texts, where the engine does not.
    pub(super) said: Option<Said>,
    pub(super) time_limit: Option<TimeLimit>,
    pub(super) calls: usize,
    /// Tokens so far.
    pub(super) tokens: u32,
    pub(super) reasoning_tokens: u32,
    /// Tokens of which it is not known yet whether they were thoughts.
    pub(super) undecided_tokens: u32,
    /// Of tokens that have not become a delta yet.
    pub(super) logprobs: Vec<TokenLogprobs>,
}

impl Choice {
    /// Whether a stop text was met that the engine does not look for.
    pub(super) fn is_stopped(&self) -> bool {
        self.said.as_ref().is_some_and(|said| said.stop().is_some())
    }

    /// What an event of the engine means for this choice, appended to `ready`; the last word, if
    /// it was that.
    pub(super) fn note(
        &mut self,
        index: usize,
        event: Event,
        ready: &mut VecDeque<Progress>,
    ) -> Option<End> {
        let mut deltas = Vec::new();
        let end = match event {
            Event::Text {
                text,
                tokens,
                logprobs,
            } => {
                if let Some(limit) = &mut self.time_limit
                    && limit.is_over(&text, Instant::now())
                {
                    self.generation.stop();
                }
                let was_thinking = self.parser.is_thinking();
                self.parser.push(&text, &mut deltas);
                self.logprobs.extend(logprobs);
                self.tokens += tokens;
                self.undecided_tokens += tokens;
                // The marks around thoughts are part of them.
                if was_thinking || self.parser.is_thinking() {
                    self.reasoning_tokens += std::mem::take(&mut self.undecided_tokens);
                } else if !deltas.is_empty() {
                    self.undecided_tokens = 0;
                }
                deltas = self.admitted(deltas);
                if self.parser.is_over() || self.is_stopped() {
                    self.generation.stop();
                }
                None
            }
            Event::Finished(mut finish) => {
                self.parser.finish(&mut deltas);
                deltas = self.admitted(deltas);
                if let Some(said) = &mut self.said {
                    said.finish(&mut deltas);
                    if let Some(stop) = said.stop() {
                        finish.reason = FinishReason::Stop;
                        finish.stop = Some(stop.to_owned());
                    }
                }
                Some(End::Finished(finish))
            }
            Event::Failed(error) => Some(End::Failed(error.into())),
        };
        for delta in deltas {
            self.calls += usize::from(matches!(delta, Delta::ToolCall { .. }));
            ready.push_back(Progress::Delta {
                choice: index,
                delta,
                logprobs: std::mem::take(&mut self.logprobs),
                tokens: self.tokens,
            });
        }
        end
    }

    fn admitted(&mut self, deltas: Vec<Delta>) -> Vec<Delta> {
        match &mut self.said {
            Some(said) => said.admit(deltas),
            None => deltas,
        }
    }
}

/// How a choice ended.
pub(super) enum End {
    Finished(Finish),
    Failed(ApiError),
}
