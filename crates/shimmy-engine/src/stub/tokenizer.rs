//! The stub's vocabulary: the 256 bytes and ChatML's three special tokens. It must not know what is
//! said with them.

use std::sync::mpsc;
use std::thread::{self, ThreadId};

use crate::error::TokenizeError;
use crate::runner::{FillInTheMiddle, Specials, TextMarks, Token, Tokenizer};

const END_OF_TEXT: Token = 256;
pub(super) const IM_START: Token = 257;
pub(super) const IM_END: Token = 258;
pub(super) const VOCABULARY: usize = 259;

/// The stub's [`Tokenizer`]: bytes and ChatML's markers.
#[derive(Debug)]
pub struct StubTokenizer {
    specials: Vec<String>,
    tokenized: Option<mpsc::Sender<Tokenized>>,
}

/// A text that became tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokenized {
    /// How long it was.
    pub bytes: usize,
    /// Who did it.
    pub thread: ThreadId,
}

impl StubTokenizer {
    /// One that tells of every text that it makes tokens of.
    pub fn telling(tokenized: Option<mpsc::Sender<Tokenized>>) -> Self {
        Self {
            tokenized,
            ..Self::default()
        }
    }
}

impl Default for StubTokenizer {
    fn default() -> Self {
        let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
        Self {
            specials: specials.map(str::to_owned).to_vec(),
            tokenized: None,
        }
    }
}

impl Tokenizer for StubTokenizer {
    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn tokenize(&self, text: &str, specials: Specials) -> Result<Vec<Token>, TokenizeError> {
        if let Some(tokenized) = &self.tokenized {
            // Who asked to be told may have heard enough.
            let _ = tokenized.send(Tokenized {
                bytes: text.len(),
                thread: thread::current().id(),
            });
        }
        let mut tokens = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let special = (END_OF_TEXT..)
                .zip(&self.specials)
                .find(|(_, special)| specials == Specials::Parse && rest.starts_with(*special));
            if let Some((token, special)) = special {
                tokens.push(token);
                rest = &rest[special.len()..];
                continue;
            }
            // A whole character at a time, so that `rest` stays on a boundary.
            let width = first.len_utf8();
            tokens.extend(rest.bytes().take(width).map(Token::from));
            rest = &rest[width..];
        }
        Ok(tokens)
    }

    fn append_piece(&self, token: Token, specials: Specials, out: &mut Vec<u8>) {
        match u8::try_from(token) {
            Ok(byte) => out.push(byte),
            Err(_) if specials == Specials::Parse => {
                let index = (token - END_OF_TEXT) as usize;
                out.extend(
                    self.specials
                        .get(index)
                        .map(String::as_bytes)
                        .unwrap_or_default(),
                );
            }
            Err(_) => {}
        }
    }

    fn is_end_of_generation(&self, token: Token) -> bool {
        token == END_OF_TEXT || token == IM_END
    }

    fn is_control(&self, token: Token) -> bool {
        token >= END_OF_TEXT
    }

    fn beginning_of_sequence(&self) -> Option<Token> {
        None
    }

    fn end_of_sequence(&self) -> Option<Token> {
        Some(IM_END)
    }

    fn special_texts(&self) -> &[String] {
        &self.specials
    }

    fn text_marks(&self) -> TextMarks {
        TextMarks::default()
    }

    fn fill_in_the_middle(&self) -> Option<FillInTheMiddle> {
        None
    }
}
