//! Prefixes of ended requests outside the KV cache, in the host's memory.
//!
//! A step passes over every cell that is in use, those of others too, so a cache full of parked
//! prefixes slows every answer down. What has not been used lately is taken out of it as a state of
//! the runner and put back when a prompt begins like it, which takes a copy instead of a computation.
//! Bounded in bytes; what was used least recently goes first. It must not know what the bytes of a
//! state mean: the runner does.

use std::collections::VecDeque;

use crate::prefix::{Key, best_match};
use crate::runner::{AdapterId, Token};

/// A prefix outside the cache.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tokens: Vec<Token>,
    pub(crate) key: Key,
    /// What the runner saved.
    pub(crate) bytes: Vec<u8>,
}

impl State {
    fn size(&self) -> u64 {
        (self.bytes.len() + size_of_val(self.tokens.as_slice())) as u64
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Offloaded {
    most_bytes: u64,
    bytes: u64,
    /// Least recently used first.
    states: VecDeque<State>,
    given_up: u64,
}

impl Offloaded {
    /// None yet, and never more than `most_bytes` of them.
    pub(crate) fn new(most_bytes: u64) -> Self {
        Self {
            most_bytes,
            bytes: 0,
            states: VecDeque::new(),
            given_up: 0,
        }
    }

    /// Keeps a prefix. Others that it begins with are of no more use where it `can_be_cut`.
    /// One that is larger than all the room there is is given up itself, and no other for it.
    pub(crate) fn put(&mut self, state: State, can_be_cut: bool) {
        if state.size() > self.most_bytes {
            let tokens = state.tokens.len();
            tracing::debug!(tokens, "a prefix is larger than all that may be kept");
            self.given_up += 1;
            return;
        }
        self.retain(|other| {
            let is_covered = other.key == state.key
                && state.tokens.starts_with(&other.tokens)
                && (can_be_cut || other.tokens.len() == state.tokens.len());
            !is_covered
        });
        self.bytes += state.size();
        self.states.push_back(state);
        while self.bytes > self.most_bytes
            && let Some(oldest) = self.states.pop_front()
        {
            tracing::debug!(tokens = oldest.tokens.len(), "a kept prefix is given up");
            self.bytes -= oldest.size();
            self.given_up += 1;
        }
    }

    /// How many tokens of a prompt the best of them would give, if clearly more than `known`. With
    /// `whole`, only one that the prompt begins with counts.
    pub(crate) fn longest(
        &self,
        prompt: &[Token],
        key: &Key,
        known: usize,
        whole: bool,
    ) -> Option<(usize, usize)> {
        let states = self.states.iter().enumerate();
        let candidates = states.filter(|(_, state)| state.key == *key);
        let candidates = candidates.map(|(at, state)| (at, state.tokens.as_slice()));
        best_match(candidates, prompt, known, whole)
    }

    /// Takes out the one that [`longest`](Self::longest) told of.
    pub(crate) fn take(&mut self, at: usize) -> Option<State> {
        let state = self.states.remove(at)?;
        self.bytes -= state.size();
        Some(state)
    }

    /// All of them, most recently used first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &State> {
        self.states.iter().rev()
    }

    /// Forgets those that some adapter took part in.
    pub(crate) fn forget_adapter(&mut self, id: AdapterId) {
        self.retain(|state| state.key.adapters.iter().all(|adapter| adapter.id != id));
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many were given up for want of room.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }

    fn retain(&mut self, keep: impl Fn(&State) -> bool) {
        let bytes = &mut self.bytes;
        self.states.retain(|state| {
            let kept = keep(state);
            if !kept {
                *bytes -= state.size();
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(tokens: std::ops::Range<Token>, bytes: usize) -> State {
        State {
            tokens: tokens.collect(),
            key: Key::default(),
            bytes: vec![0; bytes],
        }
    }

    fn longest(kept: &Offloaded, prompt: std::ops::Range<Token>) -> Option<usize> {
        let prompt: Vec<Token> = prompt.collect();
        let (_, length) = kept.longest(&prompt, &Key::default(), 0, false)?;
        Some(length)
    }

    #[test]
    fn what_was_used_least_recently_is_given_up_for_want_of_bytes() {
        let mut kept = Offloaded::new(2000);
        for first in [0, 100, 200] {
            kept.put(state(first..first + 20, 800), true);
        }
        assert_eq!(kept.bytes(), 2 * (800 + 80));
        assert_eq!(kept.given_up(), 1);
        assert_eq!(longest(&kept, 0..30), None);
        assert_eq!(longest(&kept, 200..230), Some(20));
        // Larger than all the room there is: nobody else goes for it.
        kept.put(state(300..320, 5000), true);
        kept.put(state(200..240, 5000), true);
        assert_eq!((kept.bytes(), kept.given_up()), (2 * (800 + 80), 3));
        assert_eq!(longest(&kept, 200..230), Some(20));
    }

    #[test]
    fn what_another_begins_with_is_kept_once() {
        let mut kept = Offloaded::new(10_000);
        kept.put(state(0..20, 10), true);
        kept.put(state(0..30, 10), true);
        assert_eq!(kept.iter().count(), 1);
        // A state that cannot be cut is no substitute for a shorter one.
        kept.put(state(0..40, 10), false);
        assert_eq!(kept.iter().count(), 2);
        let (at, _) = kept
            .longest(&(0..60).collect::<Vec<_>>(), &Key::default(), 0, true)
            .expect("one");
        assert_eq!(kept.take(at).expect("there").tokens.len(), 40);
        assert_eq!(kept.bytes(), 30 * 4 + 10);
    }

    #[test]
    fn only_clearly_more_than_is_known_is_worth_a_copy() {
        let mut kept = Offloaded::new(10_000);
        kept.put(state(0..20, 10), true);
        let prompt: Vec<Token> = (0..20).collect();
        let key = Key::default();
        assert!(kept.longest(&prompt, &key, 12, false).is_some());
        assert!(kept.longest(&prompt, &key, 13, false).is_none());
        // The whole of the prompt is no beginning of it: one token is always computed.
        assert!(kept.longest(&prompt, &key, 0, true).is_none());
        let other = Key {
            scope: 1,
            ..Key::default()
        };
        assert!(kept.longest(&prompt, &other, 0, false).is_none());
    }
}
