//! One request's tokens, how far they are computed, and how far two requests go together. It must
//! not know the queue or the cache.

use super::RequestId;
use crate::prefix::{Key, shared};
use crate::runner::{SequenceId, Token};

#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) request: RequestId,
    /// Prompt and answer so far.
    pub(super) tokens: Vec<Token>,
    /// How many of them are the prompt.
    pub(super) prompt: usize,
    /// How many of them the KV cache holds.
    pub(super) computed: usize,
    /// Tokens that may come next; checked together with the last known one.
    pub(super) draft: Vec<Token>,
    pub(super) key: Key,
    /// When its adapter set last had its turn, in steps.
    pub(super) last_turn: u64,
}

impl Sequence {
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Takes note that the cache holds nothing of it. A draft goes too: it stands behind the last known
    /// token, which is not the next row any more.
    pub(super) fn forget(&mut self) {
        self.computed = 0;
        self.draft.clear();
    }

    /// Whether one row is all there is to compute before the next token.
    pub(super) fn is_decoding(&self) -> bool {
        self.pending() == 1
    }

    /// Whether its answer goes on with every step: it is decoding, or a constraint has forced some
    /// tokens that are computed together.
    pub(super) fn is_answering(&self) -> bool {
        self.is_decoding() || self.computed >= self.prompt
    }
}

#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) slot: SequenceId,
    pub(super) sequence: Sequence,
}

/// How much of a request's prompt another will have computed when it is through with its own.
pub(super) fn meeting(leader: &Sequence, next: &Sequence) -> usize {
    shared(&leader.tokens, &next.tokens).min(next.tokens.len() - 1)
}
