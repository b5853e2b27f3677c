//! Vocabularies of the tiny models. Owns the tokens, their ids and how texts become tokens; must not know
//! weights.

use std::collections::HashSet;

use crate::gguf::Value;
use crate::random::Random;

/// The merges of the tiny vocabulary, in order of rank, in GPT-2's alphabet (`Ġ` is a space). Few, so
/// that texts become mostly bytes; `ü` is one of them and `é` is not, so both kinds of non-ASCII text
/// occur.
pub const MERGES: &[(&str, &str)] = &[
    ("h", "e"),
    ("l", "l"),
    ("he", "ll"),
    ("hell", "o"),
    ("t", "h"),
    ("th", "e"),
    ("Ġ", "the"),
    ("Ġ", "a"),
    ("i", "n"),
    ("in", "g"),
    ("o", "r"),
    ("u", "s"),
    ("e", "r"),
    ("us", "er"),
    ("Ã", "¼"),
    ("{", "\""),
];

/// The tiny vocabulary's token `<|endoftext|>`.
pub const END_OF_TEXT: u32 = 256 + MERGES.len() as u32;
/// The tiny vocabulary's token `<|im_start|>`, which opens a chat turn.
pub const IM_START: u32 = END_OF_TEXT + 1;
/// The tiny vocabulary's token `<|im_end|>`, which closes a chat turn.
pub const IM_END: u32 = END_OF_TEXT + 2;
/// The tiny vocabulary's token that begins a text where `add_bos_token` asks for it.
pub const BOS: u32 = END_OF_TEXT;
/// The tiny vocabulary's token that ends a generation.
pub const EOS: u32 = IM_END;
/// How many tokens the tiny vocabulary has.
pub const VOCABULARY_SIZE: u32 = IM_END + 1;

const CONTROL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Characters of every kind that rules of splitting tell apart: letters of both cases, of neither and
/// of scripts that have rules of their own, marks, numbers, white space, punctuation, symbols, and a
/// letter of Unicode 16, which llama.cpp's tables do not have yet.
#[rustfmt::skip]
pub const KINDS: [char; 53] = [
    'a', 'r', 'e', 's', 't', 'l', 'Z', 'S', 'L', 'é', 'À', 'ß', 'ǅ', 'ʰ', 'א', 'я', '中', 'あ', 'カ',
    '한', 'ไ', '\u{93e}', '\u{301}', '1', '2', '7', '٣', '½', 'Ⅳ', ' ', '\n', '\r', '\t', '\u{a0}',
    '\u{3000}', '.', ',', '\'', '"', '(', '/', '_', '!', '，', '。', '$', '+', '<', '^', '~', '€', '😀',
    '\u{1c89}',
];

/// Texts that are tokens without a way to them by merges.
const WHOLE_WORDS: [&str; 4] = ["Ġart", "tree", "123", "ĊĊĊ"];

/// The kinds of `llama_token_type`.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// Tokens, and the method that finds them in texts.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    tokens: Vec<Vec<u8>>,
    types: Vec<i32>,
    /// What the method needs beside them, by keys.
    settings: Vec<(&'static str, Value)>,
}

impl Vocabulary {
    /// The tiny vocabulary: 0–255 are the bytes themselves, then come the merges in order, then the
    /// control tokens.
    pub fn tiny() -> Self {
        let merges = MERGES
            .iter()
            .map(|&(left, right)| (left.to_owned(), right.to_owned()));
        let mut vocabulary = Self::of_bytes("gpt-2", &merges.collect::<Vec<_>>(), &[]);
        vocabulary.settings.extend([
            ("tokenizer.ggml.bos_token_id", BOS.into()),
            ("tokenizer.ggml.eos_token_id", EOS.into()),
            ("tokenizer.ggml.eot_token_id", IM_END.into()),
            ("tokenizer.ggml.padding_token_id", END_OF_TEXT.into()),
        ]);
        vocabulary
    }

    /// A byte-level vocabulary that splits texts as the pre-tokenizer `pre` does: every two of
    /// [`KINDS`] are a token, so that a split between them shows.
    pub fn byte_pairs(pre: &str) -> Self {
        let mut merges = Vec::new();
        let mut known = HashSet::new();
        let mut merge = |left: &str, right: &str| {
            if known.insert((left.to_owned(), right.to_owned())) {
                merges.push((left.to_owned(), right.to_owned()));
            }
        };
        let spelled = KINDS.map(|kind| {
            let mut bytes = [0; 4];
            let bytes = kind.encode_utf8(&mut bytes).bytes().map(byte_symbol);
            bytes.collect::<Vec<char>>()
        });
        for character in &spelled {
            for length in 1..character.len() {
                let left: String = character[..length].iter().collect();
                merge(&left, &character[length].to_string());
            }
        }
        let spelled = spelled.map(String::from_iter);
        for left in &spelled {
            spelled.iter().for_each(|right| merge(left, right));
        }
        let mut vocabulary = Self::of_bytes(pre, &merges, &WHOLE_WORDS);
        let end = vocabulary.tokens.len() as u32 - CONTROL_TOKENS.len() as u32;
        vocabulary.settings.extend([
            ("tokenizer.ggml.bos_token_id", end.into()),
            ("tokenizer.ggml.eos_token_id", (end + 2).into()),
        ]);
        vocabulary
    }

    /// SentencePiece's: bytes as a last resort, the letters of [`KINDS`], every two of them and some
    /// words, by random scores.
    pub fn pieces(space_before: bool) -> Self {
        let mut vocabulary = Self::empty();
        vocabulary.add(UNKNOWN, ["<unk>"]);
        vocabulary.add(CONTROL, ["<s>", "</s>", "<|endoftext|>"]);
        vocabulary.add(BYTE, (0..=255).map(|byte| format!("<0x{byte:02X}>")));
        vocabulary.add(USER_DEFINED, ["<h1>", "<table>"]);
        // The others are spelled in bytes.
        let letters = KINDS
            .iter()
            .filter(|kind| !kind.is_control() && **kind != '😀');
        let letters: Vec<String> = letters
            .map(|kind| kind.to_string().replace(' ', "▁"))
            .collect();
        vocabulary.add(NORMAL, letters.iter().map(String::as_str));
        let pairs = letters
            .iter()
            .flat_map(|left| letters.iter().map(move |right| format!("{left}{right}")));
        vocabulary.add(NORMAL, pairs);
        let words = [
            "▁▁▁",
            "▁▁▁▁",
            "▁art",
            "▁tree",
            "rest",
            "中あ한",
            "127",
            "▁la.",
            "...",
        ];
        vocabulary.add(NORMAL, words);
        let mut scores = Random::new(1, "scores").normals(vocabulary.len(), 10.0);
        // Some are equal, so that the place decides.
        scores.iter_mut().for_each(|score| *score = score.round());
        vocabulary.settings = vec![
            ("tokenizer.ggml.model", "llama".into()),
            ("tokenizer.ggml.pre", "default".into()),
            ("tokenizer.ggml.scores", Value::F32s(scores)),
            ("tokenizer.ggml.add_space_prefix", space_before.into()),
            ("tokenizer.ggml.bos_token_id", 1.into()),
            ("tokenizer.ggml.eos_token_id", 2.into()),
            ("tokenizer.ggml.unknown_token_id", 0.into()),
        ];
        vocabulary
    }

    /// Bytes, merges, words without merges, and the control tokens.
    fn of_bytes(pre: &str, merges: &[(String, String)], words: &[&str]) -> Self {
        let mut vocabulary = Self::empty();
        vocabulary.add(NORMAL, (0..=255).map(|byte| byte_symbol(byte).to_string()));
        let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
        vocabulary.add(NORMAL, merged);
        vocabulary.add(NORMAL, words.iter().copied());
        vocabulary.add(CONTROL, CONTROL_TOKENS);
        let pair = |(left, right): &(String, String)| format!("{left} {right}");
        vocabulary.settings = vec![
            ("tokenizer.ggml.model", "gpt2".into()),
            ("tokenizer.ggml.pre", pre.into()),
            (
                "tokenizer.ggml.merges",
                Value::Strings(merges.iter().map(pair).collect()),
            ),
        ];
        vocabulary
    }

    /// No tokens.
    pub(super) fn empty() -> Self {
        Self {
            tokens: Vec::new(),
            types: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// The same with an entry of the file.
    pub fn setting(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.settings.push((key, value.into()));
        self
    }

    /// Appends tokens of this kind.
    pub(super) fn add(&mut self, kind: i32, tokens: impl IntoIterator<Item = impl Into<Vec<u8>>>) {
        self.tokens.extend(tokens.into_iter().map(Into::into));
        self.types.resize(self.tokens.len(), kind);
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn is_control(&self, id: u32) -> bool {
        self.types.get(id as usize) == Some(&CONTROL)
    }

    /// Its entries in a file.
    pub(super) fn metadata(&self) -> Vec<(&'static str, Value)> {
        let tokens = Value::Texts(self.tokens.clone());
        let types = Value::I32s(self.types.clone());
        let lists = [
            ("tokenizer.ggml.tokens", tokens),
            ("tokenizer.ggml.token_type", types),
        ];
        lists.into_iter().chain(self.settings.clone()).collect()
    }
}

/// GPT-2's map of bytes to printable characters: a byte that is printable in Latin-1 stands for
/// itself, the others take the code points from 256 on, in order.
fn byte_symbol(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if is_printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&lower| !is_printable(lower)).count();
    char::from_u32(256 + rank as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{MERGES, VOCABULARY_SIZE, Vocabulary, byte_symbol};

    #[test]
    fn the_byte_alphabet_is_gpt2s() {
        assert_eq!(byte_symbol(b' '), 'Ġ');
        assert_eq!(byte_symbol(b'\n'), 'Ċ');
        assert_eq!(byte_symbol(0), 'Ā');
        assert_eq!(byte_symbol(0xad), 'Ń');
        assert_eq!(byte_symbol(b'a'), 'a');
    }

    #[test]
    fn every_token_is_unique_and_has_a_type() {
        for vocabulary in [
            Vocabulary::tiny(),
            Vocabulary::byte_pairs("gpt-2"),
            Vocabulary::pieces(true),
            Vocabulary::word_pieces(),
            Vocabulary::word_pieces_of_bytes(),
        ] {
            let tokens = &vocabulary.tokens;
            assert_eq!(vocabulary.types.len(), tokens.len());
            assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), tokens.len());
        }
        assert_eq!(Vocabulary::tiny().len(), VOCABULARY_SIZE as usize);
    }

    #[test]
    fn every_merge_joins_tokens_that_exist_before_it() {
        let tokens = Vocabulary::tiny().tokens;
        for (rank, (left, right)) in MERGES.iter().enumerate() {
            let known = &tokens[..256 + rank];
            let is_known = |text: &str| known.iter().any(|token| token == text.as_bytes());
            assert!(is_known(left), "{left}");
            assert!(is_known(right), "{right}");
        }
    }
}
