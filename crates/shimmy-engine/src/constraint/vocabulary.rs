//! A model's vocabulary as llguidance sees it.

use std::sync::Arc;

use toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::runner::{Specials, Token, Tokenizer};

/// Bytes that are tokenised at a time, at most: more are forced in the next round.
const AT_A_TIME: usize = 2048;

/// What stands before a text while it is tokenised; see [`Vocabulary::tokenize_bytes`].
const SENTINEL: &str = "\n";

/// The tokens as bytes, and the model's own way of cutting a text into them.
struct Vocabulary {
    trie: TokTrie,
    tokenizer: Arc<dyn Tokenizer>,
}

/// The environment of a model's constraints.
pub(super) fn environment(tokenizer: &Arc<dyn Tokenizer>) -> Result<TokEnv, String> {
    let vocabulary = tokenizer.vocabulary() as Token;
    let ends: Vec<Token> = (0..vocabulary)
        .filter(|&token| tokenizer.is_end_of_generation(token))
        .collect();
    let end = tokenizer
        .end_of_sequence()
        .or(ends.first().copied())
        .ok_or("the model has no end-of-sequence token")?;
    let words: Vec<Vec<u8>> = (0..vocabulary)
        .map(|token| {
            let mut word = Vec::new();
            if tokenizer.is_control(token) {
                // Marked, so that no text of the language can be matched by a control token.
                word.push(TokTrie::SPECIAL_TOKEN_MARKER);
                tokenizer.append_piece(token, Specials::Parse, &mut word);
            } else {
                tokenizer.append_piece(token, Specials::Literal, &mut word);
            }
            word
        })
        .collect();
    let mut trie = TokTrie::from(&TokRxInfo::new(vocabulary, end), &words);
    if !ends.is_empty() {
        trie = trie.with_eos_tokens(&ends);
    }
    Ok(Arc::new(Vocabulary {
        trie,
        tokenizer: Arc::clone(tokenizer),
    }))
}

impl Vocabulary {
    /// The tokens of a text in the middle of an answer, if they spell exactly that text.
    fn canonical(&self, text: &str) -> Option<Vec<TokenId>> {
        let tokens = |text: &str| self.tokenizer.tokenize(text, Specials::Literal).ok();
        let plain = tokens(text)?;
        if self.spell(&plain, text) {
            return Some(plain);
        }
        // Some tokenizers put a space before every text, which is not wanted here; behind another
        // text there is none.
        let behind = tokens(&format!("{SENTINEL}{text}"))?;
        // A space and the sentinel are two tokens at most.
        let ends = |n: &usize| {
            let before = self.trie.decode_raw(&behind[..*n]);
            before.ends_with(SENTINEL.as_bytes())
        };
        let before = (1..=behind.len().min(2)).find(ends)?;
        let rest = behind[before..].to_vec();
        self.spell(&rest, text).then_some(rest)
    }

    fn spell(&self, tokens: &[TokenId], text: &str) -> bool {
        let has_text = |&token: &TokenId| !self.tokenizer.is_control(token);
        tokens.iter().all(has_text) && self.trie.decode_raw(tokens) == text.as_bytes()
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// As the model would have been taught to write it; bytes that are not text, or that the
    /// tokenizer changes, are cut into the longest tokens there are.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let mut end = bytes.len().min(AT_A_TIME);
        // Not in the middle of a character.
        while end > 0 && bytes.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end -= 1;
        }
        let bytes = &bytes[..end];
        let canonical = std::str::from_utf8(bytes).ok();
        canonical
            .and_then(|text| self.canonical(text))
            .unwrap_or_else(|| self.trie.greedy_tokenize(bytes))
    }
}

#[cfg(all(test, feature = "stub"))]
mod tests {
    use super::*;
    use crate::error::TokenizeError;
    use crate::runner::{FillInTheMiddle, TextMarks};
    use crate::stub::StubTokenizer;

    /// Puts a space before every text, as SentencePiece's models do, and knows no `%`.
    #[derive(Default)]
    struct Spacing(StubTokenizer);

    impl Tokenizer for Spacing {
        fn tokenize(&self, text: &str, specials: Specials) -> Result<Vec<Token>, TokenizeError> {
            let text = format!(" {}", text.replace('%', ""));
            self.0.tokenize(&text, specials)
        }
        fn vocabulary(&self) -> usize {
            self.0.vocabulary()
        }
        fn append_piece(&self, token: Token, specials: Specials, out: &mut Vec<u8>) {
            self.0.append_piece(token, specials, out);
        }
        fn is_end_of_generation(&self, token: Token) -> bool {
            self.0.is_end_of_generation(token)
        }
        fn is_control(&self, token: Token) -> bool {
            self.0.is_control(token)
        }
        fn beginning_of_sequence(&self) -> Option<Token> {
            self.0.beginning_of_sequence()
        }
        fn end_of_sequence(&self) -> Option<Token> {
            self.0.end_of_sequence()
        }
        fn special_texts(&self) -> &[String] {
            self.0.special_texts()
        }
        fn fill_in_the_middle(&self) -> Option<FillInTheMiddle> {
            self.0.fill_in_the_middle()
        }
        fn text_marks(&self) -> TextMarks {
            self.0.text_marks()
        }
    }

    #[test]
    fn tokens_spell_the_text_whatever_the_tokenizer_adds_or_loses() {
        let tokenizer: Arc<dyn Tokenizer> = Arc::new(Spacing::default());
        let environment = environment(&tokenizer).expect("it has an end token");
        let spelled = |bytes: &[u8]| {
            environment
                .tok_trie()
                .decode_raw(&environment.tokenize_bytes(bytes))
        };
        let texts: [&[u8]; 6] = [b"abc", b" abc", b"a\nb", b"100 %", "ü".as_bytes(), b"\xc3"];
        for text in texts {
            assert_eq!(spelled(text), text);
        }
        let long = "ü".repeat(AT_A_TIME);
        let begun = spelled(long.as_bytes());
        assert!(!begun.is_empty() && long.as_bytes().starts_with(&begun));
        assert!(std::str::from_utf8(&begun).is_ok(), "whole characters");
    }
}
