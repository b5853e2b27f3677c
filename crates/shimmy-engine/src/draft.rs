//! Drafts without a second model: what followed the last time these tokens came up.
//!
//! Code that is edited, data that is reformatted and text that is quoted repeat what stands in the
//! prompt. The last few tokens are looked up in what came before, and what followed there is
//! proposed. The engine checks a draft by sampling every one of its tokens as it would have
//! anyway, so an answer's distribution does not change.

use std::collections::HashMap;

use crate::runner::Token;

/// Tokens that have to agree before a draft is made.
const GRAM: usize = 3;

/// What the first drafts of an answer are thought to be worth.
const FIRST_HIT: f64 = 0.6;

/// How much of the newest draft goes into the estimate.
const WEIGHT: f64 = 0.2;

/// What one answer has said, and where each run of tokens came up last.
#[derive(Debug)]
pub(crate) struct Lookup {
    tokens: Vec<Token>,
    /// By a run of tokens, the place after its last occurrence.
    places: HashMap<[Token; GRAM], usize>,
    /// How likely the next token of a draft is to come true.
    hit: f64,
}

impl Lookup {
    /// An answer to this prompt.
    pub(crate) fn new(prompt: &[Token]) -> Self {
        let mut lookup = Self {
            tokens: Vec::with_capacity(prompt.len()),
            places: HashMap::with_capacity(prompt.len()),
            hit: FIRST_HIT,
        };
        prompt.iter().for_each(|&token| lookup.push(token));
        lookup
    }

    /// The answer, or the prompt, goes on.
    pub(crate) fn push(&mut self, token: Token) {
        // Noted only now that something follows: the run at the end must find an earlier one.
        if let Some(run) = self.run() {
            self.places.insert(run, self.tokens.len());
        }
        self.tokens.push(token);
    }

    fn run(&self) -> Option<[Token; GRAM]> {
        self.tokens.last_chunk().copied()
    }

    /// What may come next, at most `most` tokens.
    pub(crate) fn propose(&self, most: usize) -> &[Token] {
        let place = self.run().and_then(|run| self.places.get(&run));
        place.map_or(&[], |&place| {
            let rest = &self.tokens[place..];
            &rest[..rest.len().min(most)]
        })
    }

    /// How likely the next token of a draft is to come true, by the drafts so far.
    pub(crate) fn hit(&self) -> f64 {
        self.hit
    }

    /// Learns how many of a draft's tokens came true.
    pub(crate) fn learn(&mut self, proposed: usize, came_true: usize) {
        if proposed > 0 {
            // The first that did not was the only other one that was put to the test.
            let tested = (came_true + 1).min(proposed);
            let hit = came_true as f64 / tested as f64;
            // A long draft says more than a short one.
            let weight = 1.0 - (1.0 - WEIGHT).powi(tested as i32);
            self.hit += weight * (hit - self.hit);
        }
    }

    /// Nothing was proposed though something could have been: hope comes back slowly.
    pub(crate) fn recover(&mut self) {
        self.hit += (FIRST_HIT - self.hit) * 0.01;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_followed_the_last_time_is_proposed() {
        let mut lookup = Lookup::new(&[1, 2, 3, 4, 5, 9, 1, 2]);
        assert!(lookup.propose(8).is_empty());
        lookup.push(3);
        assert_eq!(lookup.propose(2), [4, 5]);
        assert_eq!(lookup.propose(8), [4, 5, 9, 1, 2, 3]);
    }

    #[test]
    fn a_lookup_that_keeps_missing_loses_hope() {
        let mut lookup = Lookup::new(&[]);
        for _ in 0..20 {
            lookup.learn(4, 0);
        }
        assert!(lookup.hit() < 0.05, "{}", lookup.hit());
        for _ in 0..20 {
            lookup.learn(8, 8);
        }
        assert!(lookup.hit() > 0.95, "{}", lookup.hit());
    }

    proptest! {
        #[test]
        fn a_draft_is_what_stands_behind_an_equal_run(tokens in prop::collection::vec(0_u32..4, 0..60)) {
            let lookup = Lookup::new(&tokens);
            let draft = lookup.propose(5);
            if !draft.is_empty() {
                let run = &tokens[tokens.len() - GRAM..];
                let whole: Vec<Token> = run.iter().chain(draft).copied().collect();
                prop_assert!(tokens.windows(whole.len()).any(|window| window == whole));
            }
        }
    }
}
