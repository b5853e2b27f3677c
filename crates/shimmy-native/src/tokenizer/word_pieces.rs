//! WordPiece, as BERT and its kin use it: a text loses case and accents, is cut into words, and of what is
//! left of a word the longest token is taken. Owns what a word is; must not know special tokens.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use shimmy_engine::{Token, TokenizeError};
use shimmy_models::Metadata;
use shimmy_models::gguf::Value;
use unicode_normalization::char::decompose_canonical;

use super::classes::{Class, Classes, is_in};
use super::pieces::SPACE;
use super::vocabulary::Vocabulary;

/// What texts lose, and where tokens are looked for.
#[derive(Debug)]
pub(super) struct WordPieces {
    classes: Classes,
    drops_case: bool,
    drops_accents: bool,
    /// By the first byte of tokens the lengths that there are, longest first.
    lengths: Vec<Vec<usize>>,
}

/// Chinese characters, each of which is a word: first and last ones. That of extension E is where BERT's
/// tokenizers have had it ever since a mistyped one.
const CHINESE: [(char, char); 8] = [
    ('\u{3400}', '\u{4dbf}'),
    ('\u{4e00}', '\u{9fff}'),
    ('\u{f900}', '\u{faff}'),
    ('\u{20000}', '\u{2a6df}'),
    ('\u{2a700}', '\u{2b73f}'),
    ('\u{2b740}', '\u{2b81f}'),
    ('\u{2b920}', '\u{2ceaf}'),
    ('\u{2f800}', '\u{2fa1f}'),
];

impl WordPieces {
    pub(super) fn new(metadata: &Metadata, vocabulary: &Vocabulary) -> Self {
        let flag = |key: &str| metadata.get(key).and_then(Value::as_bool);
        let drops_case = flag("tokenizer.ggml.normalizer.lowercase").unwrap_or(true);
        let drops_accents = flag("tokenizer.ggml.normalizer.strip_accents").unwrap_or(drops_case);
        let mut known = BTreeSet::new();
        for token in 0..vocabulary.len() as Token {
            let text = vocabulary.text(token);
            if let Some(&first) = text.first() {
                known.insert((first, Reverse(text.len())));
            }
        }
        let mut lengths = vec![Vec::new(); 256];
        for (first, Reverse(length)) in known {
            lengths[usize::from(first)].push(length);
        }
        Self {
            classes: Classes::new(),
            drops_case,
            drops_accents,
            lengths,
        }
    }

    /// Appends the tokens of a text without special tokens.
    pub(super) fn tokenize(
        &self,
        vocabulary: &Vocabulary,
        text: &str,
        out: &mut Vec<Token>,
    ) -> Result<(), TokenizeError> {
        // The mark of a beginning stays in it.
        let mut word = SPACE.as_bytes().to_vec();
        for character in text.chars() {
            let (character, class) = self.without_accent(character);
            match class {
                Class::Space => {
                    self.finish(vocabulary, &mut word, out)?;
                    continue;
                }
                Class::Control => continue,
                Class::Mark if self.drops_accents => continue,
                _ if character == char::REPLACEMENT_CHARACTER => continue,
                _ => {}
            }
            let stands_alone = class == Class::Punctuation
                || (class == Class::Symbol && character.is_ascii())
                || is_in(&CHINESE, character);
            if stands_alone {
                self.finish(vocabulary, &mut word, out)?;
            }
            let small = self.without_case(character, class);
            word.extend_from_slice(small.encode_utf8(&mut [0; 4]).as_bytes());
            if stands_alone {
                self.finish(vocabulary, &mut word, out)?;
            }
        }
        self.finish(vocabulary, &mut word, out)
    }

    /// A character's base, if accents are dropped, and its kind.
    fn without_accent(&self, character: char) -> (char, Class) {
        let class = self.classes.of(character);
        if !self.drops_accents || character.is_ascii() || class == Class::Other {
            return (character, class);
        }
        let mut base = None;
        decompose_canonical(character, |part| {
            base.get_or_insert(part);
        });
        match base {
            Some(base) if base != character => (base, self.classes.of(base)),
            _ => (character, class),
        }
    }

    /// A character's small form, if case is dropped: one character, as llama.cpp has it.
    fn without_case(&self, character: char, class: Class) -> char {
        if !self.drops_case || class == Class::Other {
            return character;
        }
        character.to_lowercase().next().unwrap_or(character)
    }

    /// Appends the tokens of a word, or the unknown one, and begins the next.
    fn finish(
        &self,
        vocabulary: &Vocabulary,
        word: &mut Vec<u8>,
        out: &mut Vec<Token>,
    ) -> Result<(), TokenizeError> {
        if word.len() == SPACE.len() {
            return Ok(());
        }
        let start = out.len();
        if !self.cut(vocabulary, word, out) {
            let none = || TokenizeError("the vocabulary has no token for unknown words".to_owned());
            out.truncate(start);
            out.push(vocabulary.unknown.ok_or_else(none)?);
        }
        word.truncate(SPACE.len());
        Ok(())
    }

    /// Appends the longest tokens of a word, one behind the other; false if something in it begins
    /// with none.
    fn cut(&self, vocabulary: &Vocabulary, word: &[u8], out: &mut Vec<Token>) -> bool {
        let mut rest = word;
        while let Some(&first) = rest.first() {
            let lengths = &self.lengths[usize::from(first)];
            let fitting = lengths.partition_point(|&length| length > rest.len());
            let longest = lengths[fitting..].iter().find_map(|&length| {
                let token = vocabulary.token(&rest[..length])?;
                Some((token, length))
            });
            let Some((token, length)) = longest else {
                return false;
            };
            out.push(token);
            rest = &rest[length..];
        }
        true
    }
}
