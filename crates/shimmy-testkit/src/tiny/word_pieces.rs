//! WordPiece vocabularies. Owns their tokens; what entries and kinds are, the vocabulary knows.

use std::collections::HashSet;

use super::Vocabulary;
use super::vocabulary::{CONTROL, KINDS, NORMAL, UNKNOWN, USER_DEFINED};

const CONTROL_TOKENS: [&str; 5] = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "<mask>"];

/// White space that is a token, longer than those that take white space.
const SPACES: &str = "          ";

/// Words, and beginnings of words; some are only in texts whose case or accents stay.
const BEGINNINGS: [&str; 30] = [
    "the",
    "play",
    "player",
    "un",
    "unaff",
    "tok",
    "token",
    "in",
    "is",
    "isn",
    "über",
    "uber",
    "Über",
    "École",
    "école",
    "ecole",
    "strasse",
    "straße",
    "кни",
    "книга",
    "αθη",
    "αθηνα",
    "שלום",
    "नम",
    "ไทย",
    "中",
    "日本",
    "antidisestablish",
    "don",
    "3",
];

/// What goes on with a word.
const CONTINUATIONS: [&str; 24] = [
    "ing",
    "s",
    "ed",
    "able",
    "aff",
    "iser",
    "ization",
    "s's",
    "mentarianism",
    "t",
    "ts",
    "é",
    "e",
    "es",
    "ß",
    "га",
    "ги",
    "να",
    "स्ते",
    "\u{301}",
    "!",
    "14",
    "15",
    "中",
];

impl Vocabulary {
    /// WordPiece's, as BERT has it: tokens at the beginning of a word are written with `▁`. Every character
    /// of [`KINDS`] and of ASCII begins a word and goes on with one, and so do some pairs and words.
    pub fn word_pieces() -> Self {
        let mut vocabulary = Self::empty();
        vocabulary.add(CONTROL, CONTROL_TOKENS);
        vocabulary.add(UNKNOWN, ["[UNK]"]);
        vocabulary.add(USER_DEFINED, ["<h1>", "[PROPER]", "  ", SPACES]);
        vocabulary.add(NORMAL, (0..100).map(|number| format!("[unused{number}]")));
        let kinds = KINDS.into_iter().filter(|kind| !kind.is_whitespace());
        let mut letters: Vec<char> = kinds.chain('!'..='~').collect();
        letters.sort_unstable();
        letters.dedup();
        // Some words have no tokens at all.
        letters.retain(|letter| !['q', '§', '😀', 'カ'].contains(letter));
        let pairs = letters.iter().enumerate().flat_map(|(place, left)| {
            let every_third = letters.iter().skip(place % 3).step_by(3);
            every_third.map(move |right| format!("{left}{right}"))
        });
        let singles = letters.iter().map(ToString::to_string);
        let singles: Vec<String> = singles.collect();
        let pairs: Vec<String> = pairs.collect();
        let words = BEGINNINGS.map(ToOwned::to_owned);
        let begins = singles
            .iter()
            .chain(&pairs[..pairs.len() / 2])
            .chain(&words);
        let begins = begins.map(|text| format!("▁{text}"));
        let words = CONTINUATIONS.map(ToOwned::to_owned);
        let goes_on = singles
            .iter()
            .chain(&pairs[pairs.len() / 2..])
            .chain(&words);
        let mut known = HashSet::new();
        let all = begins.chain(goes_on.cloned());
        vocabulary.add(NORMAL, all.filter(|text| known.insert(text.clone())));
        vocabulary
            .setting("tokenizer.ggml.model", "bert")
            .setting("tokenizer.ggml.padding_token_id", 0)
            .setting("tokenizer.ggml.bos_token_id", 1)
            .setting("tokenizer.ggml.seperator_token_id", 2)
            .setting("tokenizer.ggml.mask_token_id", 3)
            .setting("tokenizer.ggml.unknown_token_id", 5)
    }

    /// WordPiece's with a token for every byte but zero, so that tokens spell what became of a text. It
    /// names no token with a meaning of its own.
    pub fn word_pieces_of_bytes() -> Self {
        let mut vocabulary = Self::empty();
        vocabulary.add(NORMAL, (1..=u8::MAX).map(|byte| [byte]));
        vocabulary.add(CONTROL, CONTROL_TOKENS);
        vocabulary.add(UNKNOWN, ["[UNK]"]);
        // Short lists of texts are read as UTF-8.
        vocabulary.add(NORMAL, (0..1000).map(|number| format!("[{number}]")));
        vocabulary.setting("tokenizer.ggml.model", "bert")
    }

    /// The same as [`Vocabulary::word_pieces`] with so many words more.
    pub fn many_word_pieces(count: u32) -> Self {
        let mut vocabulary = Self::word_pieces();
        // Of one to thirteen letters and digits, without order.
        let word = |number: u32| {
            let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let length = 1 + number % 12;
            let letters = (0..length).map(|place| b'a' + (mixed >> (5 * place)) as u8 % 26);
            let letters: String = letters.map(char::from).collect();
            let mark = if number.is_multiple_of(4) { "" } else { "▁" };
            format!("{mark}{letters}{number}")
        };
        vocabulary.add(NORMAL, (1000..1000 + count).map(word));
        vocabulary
    }
}
