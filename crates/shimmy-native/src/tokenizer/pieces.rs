//! SentencePiece's byte-pair encoding, as Llama 2 and Gemma use it: pairs are merged by the score of
//! the token they make, over a whole text, with spaces as `▁`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use shimmy_engine::{Token, TokenizeError};

use super::symbols::Symbols;
use super::vocabulary::Vocabulary;

/// What spaces become.
pub(super) const SPACE: &str = "▁";

/// A pair that makes a token.
#[derive(Debug, PartialEq)]
struct Candidate {
    score: f32,
    left: Reverse<usize>,
    size: usize,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        // The best score, then the leftmost.
        self.score
            .total_cmp(&other.score)
            .then_with(|| self.left.cmp(&other.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Appends the tokens of a text without special tokens, a space before it if asked for.
pub(super) fn tokenize(
    vocabulary: &Vocabulary,
    text: &str,
    space_before: bool,
    out: &mut Vec<Token>,
) -> Result<(), TokenizeError> {
    let mut escaped = Vec::with_capacity(text.len() + text.len() / 4);
    if space_before {
        escaped.extend_from_slice(SPACE.as_bytes());
    }
    for &byte in text.as_bytes() {
        match byte {
            b' ' => escaped.extend_from_slice(SPACE.as_bytes()),
            byte => escaped.push(byte),
        }
    }
    let mut symbols = Symbols::default();
    symbols.fill(&escaped);
    let mut heap = BinaryHeap::new();
    for left in 0..symbols.len().saturating_sub(1) {
        offer(vocabulary, &escaped, &symbols, left, &mut heap);
    }
    while let Some(candidate) = heap.pop() {
        let Reverse(left) = candidate.left;
        if !symbols.merge(left, candidate.size) {
            continue;
        }
        if let Some(before) = symbols.before(left) {
            offer(vocabulary, &escaped, &symbols, before, &mut heap);
        }
        offer(vocabulary, &escaped, &symbols, left, &mut heap);
    }
    for range in symbols.ranges() {
        let symbol = &escaped[range];
        match vocabulary.token(symbol) {
            Some(token) => out.push(token),
            None => {
                for &byte in symbol {
                    out.push(byte_token(vocabulary, byte)?);
                }
            }
        }
    }
    Ok(())
}

/// The byte that a token of the form `<0xFF>` stands for.
pub(super) fn byte_of(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn byte_token(vocabulary: &Vocabulary, byte: u8) -> Result<Token, TokenizeError> {
    let named = vocabulary.token(format!("<0x{byte:02X}>").as_bytes());
    let token = named.or_else(|| vocabulary.token(&[byte]));
    token.ok_or_else(|| TokenizeError(format!("the vocabulary has no token for the byte {byte}")))
}

fn offer(
    vocabulary: &Vocabulary,
    text: &[u8],
    symbols: &Symbols,
    left: usize,
    heap: &mut BinaryHeap<Candidate>,
) {
    let Some((first, second)) = symbols.pair(left) else {
        return;
    };
    if let Some(token) = vocabulary.token(&text[first.start..second.end]) {
        heap.push(Candidate {
            // No score is worse than another for being a negative zero.
            score: vocabulary.scores[token as usize] + 0.0,
            left: Reverse(left),
            size: first.len() + second.len(),
        });
    }
}
