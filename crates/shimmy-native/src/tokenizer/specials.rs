//! Special tokens in texts. Owns which of overlapping ones counts: the longer one, as in llama.cpp.

use std::collections::BTreeSet;
use std::ops::Range;

use shimmy_engine::{Specials, Token};
use shimmy_models::Metadata;
use shimmy_models::gguf::Value;

use super::vocabulary::{Attributes, Vocabulary};

/// The tokens that are found in texts before anything else.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    /// Whether a text of one begins with this byte.
    begins: [bool; 256],
    /// The lengths of their texts, the longest first.
    lengths: Vec<usize>,
    strips: Strips,
}

/// Which tokens take the white space beside them. Files do not say it, so it goes by names, as in llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strips {
    None,
    /// This one takes the white space before it.
    Before(&'static str),
    /// All but some take the white space behind them.
    Behind,
}

impl Strips {
    /// What the tokens of a model do.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let text = |key| metadata.get(key).and_then(Value::as_str).unwrap_or("");
        let has_any = |text: &str, parts: &[&str]| parts.iter().any(|part| text.contains(part));
        let pre = ["jina-v2-de", "jina-v2-es", "jina-v2-code", "mmbert"];
        let architectures = ["nomic-bert-moe", "jina-bert-v3"];
        let name = text("general.name").to_ascii_lowercase();
        if has_any(text("tokenizer.ggml.pre"), &pre)
            || has_any(text("general.architecture"), &architectures)
        {
            Self::Before("<mask>")
        } else if has_any(&name, &["phi-3", "phi3"]) {
            Self::Behind
        } else if name.contains("modern-bert") {
            Self::Before("[MASK]")
        } else {
            Self::None
        }
    }
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
    pub(super) fn new(vocabulary: &Vocabulary, strips: Strips) -> Self {
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
        }
        if at < text.len() {
            parts.push(Part::Text(at..text.len()));
        }
        parts
    }

    /// The special tokens that count, in order, with the white space that they take.
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
            let free = before.map_or(0, |(_, &(end, _))| end);
            if free <= range.start {
                let after = taken.range(range.end..).next();
                let free = free..after.map_or(text.len(), |(&start, _)| start);
                let range = self.with_spaces(vocabulary, text, token, range, free);
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

    /// The place of a token with the white space that it takes from around it, where that is free.
    fn with_spaces(
        &self,
        vocabulary: &Vocabulary,
        text: &str,
        token: Token,
        range: Range<usize>,
        free: Range<usize>,
    ) -> Range<usize> {
        const PLAIN: [&[u8]; 3] = [b"<unk>", b"<s>", b"<|endoftext|>"];
        // As C's `isspace`.
        let is_space = |c| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
        let spelled = vocabulary.text(token);
        match self.strips {
            Strips::Before(taker) if spelled == taker.as_bytes() => {
                let before = &text[free.start..range.start];
                free.start + before.trim_end_matches(is_space).len()..range.end
            }
            Strips::Behind if !PLAIN.contains(&spelled) => {
                let behind = &text[range.end..free.end];
                let kept = behind.trim_start_matches(is_space).len();
                range.start..free.end - kept
            }
            _ => range,
        }
    }
}
