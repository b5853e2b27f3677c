//! The tiny model's byte-level BPE vocabulary. Owns the token ids: 0–255 are the bytes themselves,
//! then the merges in order, then the control tokens. Must not know weights.

/// The merges, in order of rank, in GPT-2's alphabet (`Ġ` is a space). Few, so that texts become
/// mostly bytes; `ü` is one of them and `é` is not, so both kinds of non-ASCII text occur.
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

/// The token `<|endoftext|>`.
pub const END_OF_TEXT: u32 = 256 + MERGES.len() as u32;
/// The token `<|im_start|>`, which opens a chat turn.
pub const IM_START: u32 = END_OF_TEXT + 1;
/// The token `<|im_end|>`, which closes a chat turn.
pub const IM_END: u32 = END_OF_TEXT + 2;
/// The token that begins a text where `add_bos_token` asks for it.
pub const BOS: u32 = END_OF_TEXT;
/// The token that ends a generation.
pub const EOS: u32 = IM_END;
/// How many tokens there are.
pub const VOCABULARY_SIZE: u32 = IM_END + 1;

const CONTROL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Every token's text in GPT-2's alphabet, in order of id.
pub(super) fn tokens() -> Vec<String> {
    let bytes = (0..=255).map(|byte| byte_symbol(byte).to_string());
    let merged = MERGES.iter().map(|(left, right)| format!("{left}{right}"));
    let control = CONTROL_TOKENS.iter().map(ToString::to_string);
    bytes.chain(merged).chain(control).collect()
}

/// Every token's type, in order of id: 1 for text, 3 for control (`llama_token_type`).
pub(super) fn token_types() -> Vec<i32> {
    (0..VOCABULARY_SIZE)
        .map(|id| if is_control(id) { 3 } else { 1 })
        .collect()
}

/// The merges as the file writes them, `left right`.
pub(super) fn merges() -> Vec<String> {
    let pair = |(left, right): &(&str, &str)| format!("{left} {right}");
    MERGES.iter().map(pair).collect()
}

pub(super) fn is_control(id: u32) -> bool {
    id >= END_OF_TEXT
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

    use super::{MERGES, VOCABULARY_SIZE, byte_symbol, token_types, tokens};

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
        let tokens = tokens();
        assert_eq!(tokens.len(), VOCABULARY_SIZE as usize);
        assert_eq!(token_types().len(), tokens.len());
        assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), tokens.len());
    }

    #[test]
    fn every_merge_joins_tokens_that_exist_before_it() {
        let tokens = tokens();
        for (rank, (left, right)) in MERGES.iter().enumerate() {
            let known = &tokens[..256 + rank];
            assert!(known.iter().any(|token| token == left), "{left}");
            assert!(known.iter().any(|token| token == right), "{right}");
        }
    }
}
