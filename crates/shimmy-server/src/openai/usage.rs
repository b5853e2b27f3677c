//! Tokens and reasons, in the vendor's words.

use std::collections::BTreeMap;

use serde::Serialize;
use shimmy_engine::{FinishReason, Usage};
use utoipa::ToSchema;

use crate::answer::{Ending, total_usage};

/// Names the build that answered: what the vendor's field is for.
pub(super) const FINGERPRINT: &str = concat!("shimmy-", env!("CARGO_PKG_VERSION"));

/// The vendor has no word for an answer that was stopped from outside: it stopped.
pub(super) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Cancelled => "stop",
        FinishReason::Length => "length",
    }
}

/// Tokens, with the details that the vendor's schema requires.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = OpenAiUsage)]
pub(super) struct UsageBody {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = OpenAiPromptDetails)]
struct PromptDetails {
    cached_tokens: u32,
    audio_tokens: u32,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = OpenAiCompletionDetails)]
struct CompletionDetails {
    reasoning_tokens: u32,
    audio_tokens: u32,
    accepted_prediction_tokens: u32,
    rejected_prediction_tokens: u32,
}

/// The endings of a request's choices, as they come.
#[derive(Debug)]
pub(super) struct Endings {
    by_choice: BTreeMap<usize, Ending>,
    /// How many choices share a prompt: it is counted once for them.
    per_prompt: usize,
}

impl Endings {
    /// None yet, of a request with so many choices for each prompt.
    pub(super) fn new(per_prompt: usize) -> Self {
        Self {
            by_choice: BTreeMap::new(),
            per_prompt: per_prompt.max(1),
        }
    }

    /// One more.
    pub(super) fn push(&mut self, choice: usize, ending: Ending) {
        self.by_choice.insert(choice, ending);
    }

    /// What all of them took.
    pub(super) fn usage(&self) -> UsageBody {
        let mut prompts: BTreeMap<usize, Vec<&Ending>> = BTreeMap::new();
        for (choice, ending) in &self.by_choice {
            let prompt = choice / self.per_prompt;
            prompts.entry(prompt).or_default().push(ending);
        }
        let mut sum = Usage::default();
        for endings in prompts.values() {
            let usage = total_usage(endings.iter().map(|ending| &ending.finish));
            sum.prompt_tokens += usage.prompt_tokens;
            sum.cached_tokens += usage.cached_tokens;
            sum.completion_tokens += usage.completion_tokens;
        }
        UsageBody {
            prompt_tokens: sum.prompt_tokens,
            completion_tokens: sum.completion_tokens,
            total_tokens: sum.prompt_tokens + sum.completion_tokens,
            prompt_tokens_details: PromptDetails {
                cached_tokens: sum.cached_tokens,
                audio_tokens: 0,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: self.by_choice.values().map(|e| e.reasoning_tokens).sum(),
                audio_tokens: 0,
                accepted_prediction_tokens: 0,
                rejected_prediction_tokens: 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use shimmy_engine::{Finish, Timings};

    use super::*;

    #[test]
    fn a_prompt_is_counted_once_for_its_choices_and_each_prompt_counts() {
        let mut endings = Endings::new(2);
        // Two prompts of 10 and 20 tokens, two choices each, in the order of their ends.
        for (choice, prompt, completion) in [(3, 20, 4), (0, 10, 1), (2, 20, 3), (1, 10, 2)] {
            let usage = Usage {
                prompt_tokens: prompt,
                cached_tokens: choice,
                completion_tokens: completion,
            };
            let finish = Finish {
                reason: FinishReason::Stop,
                stop: None,
                usage,
                timings: Timings::default(),
            };
            let ending = Ending {
                finish,
                calls: 0,
                reasoning_tokens: 1,
                logprobs: Vec::new(),
            };
            endings.push(choice as usize, ending);
        }
        let usage = endings.usage();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (30, 10));
        assert_eq!(usage.total_tokens, 40);
        assert_eq!(usage.prompt_tokens_details.cached_tokens, 1 + 3);
        assert_eq!(usage.completion_tokens_details.reasoning_tokens, 4);
    }
}
