//! llama-server's own chunks. Its streams end with the last object, not with `[DONE]`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shimmy_chat::Delta;
use shimmy_engine::{Token, TokenLogprobs};
use utoipa::ToSchema;

use super::answer::{Described, NO_SLOT, Probability, Said};
use super::error;
use crate::answer::Ending;
use crate::error::ApiError;
use crate::sse::{Frames, PING, json_event};

/// One stream of chunks.
pub(super) struct CompletionFrames {
    described: Described,
    /// Tokens of the prompts.
    prompt_tokens: Vec<usize>,
    /// Tokens of the choices so far.
    predicted: BTreeMap<usize, u32>,
    /// Choices whose text holds a line break.
    broken: BTreeSet<usize>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LlamaServerChunk)]
pub(super) struct Piece<'a> {
    index: usize,
    /// Always -1: requests are not bound to places of the cache.
    id_slot: i32,
    content: &'a str,
    #[schema(value_type = Vec<u32>)]
    tokens: Vec<Token>,
    stop: bool,
    /// Tokens of this choice so far.
    tokens_predicted: u32,
    tokens_evaluated: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    completion_probabilities: Vec<Probability>,
}

impl CompletionFrames {
    /// The frames of an answer.
    pub(super) fn new(described: Described, prompt_tokens: Vec<usize>) -> Self {
        Self {
            described,
            prompt_tokens,
            predicted: BTreeMap::new(),
            broken: BTreeSet::new(),
        }
    }
}

impl Frames for CompletionFrames {
    fn count(&mut self, choice: usize, tokens: u32) {
        self.predicted.insert(choice, tokens);
    }

    fn delta(
        &mut self,
        index: usize,
        delta: &Delta,
        logprobs: &[TokenLogprobs],
        out: &mut Vec<u8>,
    ) {
        // An answer to a bare prompt is nothing but text.
        let Delta::Content(content) = delta else {
            return;
        };
        if self.described.is_warm_up() {
            return;
        }
        if content.contains('\n') {
            self.broken.insert(index);
        }
        let prompt = self.described.prompt_of(index);
        let piece = Piece {
            index,
            id_slot: NO_SLOT,
            content,
            tokens: self.described.tokens(logprobs),
            stop: false,
            tokens_predicted: self.predicted.get(&index).copied().unwrap_or(0),
            tokens_evaluated: self.prompt_tokens.get(prompt).copied().unwrap_or(0),
            completion_probabilities: self.described.probabilities(logprobs),
        };
        json_event(&piece, out);
    }

    fn finished(&mut self, index: usize, ending: Ending, out: &mut Vec<u8>) {
        let said = Said {
            index,
            content: "",
            logprobs: &ending.logprobs,
            has_new_line: self.broken.contains(&index),
        };
        json_event(&self.described.last(said, &ending.finish), out);
    }

    fn close(&mut self, _: &mut Vec<u8>) {}

    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        json_event(&error::body(error), out);
    }

    fn idle(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PING);
    }
}
