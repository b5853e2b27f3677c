//! Special tokens in texts. Owns which of overlapping ones counts: the longer one, as in llama.cpp.

use std::collections::BTreeSet;
use std::ops::Range;

use shimmy_engine::{Specials, Token};

use super::vocabulary::{Attributes, Vocabulary};

/// The tokens that are found in texts before anything else.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    /// Whether a text of one begins with this byte.
    begins: [bool; 256],
    /// The lengths of their texts, the longest first.
    lengths: Vec<usize>,
    /// Tokens behind which white space is dropped.
    strips: bool,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(Range<usize>),
    Token(Token),
}

/// What is searched for.
const SPECIAL: u8 = Attributes::CONTROL | Attributes::USER_DEFINED | Attributes::UNKNOWN;
/// What only a template may write.
const PARSED: u8 = Attributes::CONTROL | Attributes::UNKNOWN;

impl SpecialTokens {
    pub(super) fn new(vocabulary: &Vocabulary, strips: bool) -> Self {
        let mut begins = [false; 256];
        let mut lengths = BTreeSet::new();
        for token in vocabulary.with(SPECIAL) {
            let text = vocabulary.text(token);
            if let Some(&first) = text.first() {
                begins[usize::from(first)] = true;
                lengths.insert(text.len());
            }
        }
        Self {
            begins,
            lengths: lengths.into_iter().rev().collect(),
            strips,
        }
    }

    /// The texts that only a template may write.
    pub(super) fn parsed_texts(vocabulary: &Vocabulary) -> Vec<String> {
        let texts = vocabulary.with(PARSED).map(|token| vocabulary.text(token));
        let texts = texts.filter(|text| !text.is_empty());
        texts
            .filter_map(|text| String::from_utf8(text.to_vec()).ok())
            .collect()
    }

    /// Divides a text into special tokens and what is between them.
    pub(super) fn divide(
        &self,
        vocabulary: &Vocabulary,
        text: &str,
        specials: Specials,
    ) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut at = 0;
        for (range, token) in self.find(vocabulary, text, specials) {
            if range.start > at {
                parts.push(Part::Text(at..range.start));
            }
            parts.push(Part::Token(token));
            at = range.end;
            if self.strips_after(vocabulary, token) {
                let rest = &text[at..];
                let is_space = |c| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
                at += rest.len() - rest.trim_start_matches(is_space).len();
            }
        }
        if at < text.len() {
            parts.push(Part::Text(at..text.len()));
        }
        parts
    }

    /// The special tokens that count, in order.
    fn find(
        &self,
        vocabulary: &Vocabulary,
        text: &str,
        specials: Specials,
    ) -> Vec<(Range<usize>, Token)> {
        let mut found: Vec<(Range<usize>, Token)> = Vec::new();
        for (start, &byte) in text.as_bytes().iter().enumerate() {
            if !self.begins[usize::from(byte)] {
                continue;
            }
            for &length in &self.lengths {
                // A file may have tokens that end inside a character: such a one is not in a text.
                let Some(candidate) = text.get(start..start + length) else {
                    continue;
                };
                if let Some(token) = vocabulary.token(candidate.as_bytes())
                    && self.counts(vocabulary, token, specials)
                {
                    found.push((start..start + length, token));
                }
            }
        }
        // The longest first, of equal ones those of one token from left to right; what overlaps one
        // that counts does not count itself.
        found.sort_by_key(|(range, token)| (std::cmp::Reverse(range.len()), *token, range.start));
        let mut taken = std::collections::BTreeMap::new();
        for (range, token) in found {
            let before: Option<(&usize, &(usize, Token))> = taken.range(..range.end).next_back();
            if before.is_none_or(|(_, &(end, _))| end <= range.start) {
                taken.insert(range.start, (range.end, token));
            }
        }
        taken
            .into_iter()
            .map(|(start, (end, token))| (start..end, token))
            .collect()
    }

    fn counts(&self, vocabulary: &Vocabulary, token: Token, specials: Specials) -> bool {
        let Some(attributes) = vocabulary.attributes(token) else {
            return false;
        };
        attributes.any(SPECIAL) && (specials == Specials::Parse || !attributes.any(PARSED))
    }

    fn strips_after(&self, vocabulary: &Vocabulary, token: Token) -> bool {
        let plain: [&[u8]; 3] = [b"<unk>", b"<s>", b"<|endoftext|>"];
        self.strips && !plain.contains(&vocabulary.text(token))
    }
}
