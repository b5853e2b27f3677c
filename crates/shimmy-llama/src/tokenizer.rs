//! The engine's [`Tokenizer`] on llama.cpp's vocabulary.

use std::ffi::CStr;
use std::sync::{Arc, OnceLock};

use llama_cpp_sys_2 as sys;
use shimmy_engine::{FillInTheMiddle, Specials, TextMarks, Token, TokenizeError, Tokenizer};

use crate::error::LlamaError;
use crate::model::{Model, VocabularyKind};

/// Text to tokens and back, with a model's own vocabulary.
#[derive(Debug)]
pub struct LlamaTokenizer {
    model: Arc<Model>,
    vocabulary: usize,
    /// Made when first asked for: asking llama.cpp about every token of a large vocabulary would
    /// delay the first answer of every start, and most starts never need the list.
    special_texts: OnceLock<Vec<String>>,
}

impl LlamaTokenizer {
    /// The tokeniser of a model; an error if the model has none.
    pub fn new(model: Arc<Model>) -> Result<Self, LlamaError> {
        if model.vocabulary_kind() == VocabularyKind::None {
            let path = model.path().to_owned();
            return Err(LlamaError::CannotGenerate {
                path,
                reason: "it has no vocabulary",
            });
        }
        let vocabulary = model.vocabulary();
        Ok(Self {
            model,
            vocabulary,
            special_texts: OnceLock::new(),
        })
    }

    fn raw(&self) -> *const sys::llama_vocab {
        self.model.vocabulary_raw()
    }

    /// A token as llama.cpp takes it, if it is in the vocabulary; llama.cpp throws otherwise.
    fn known(&self, token: Token) -> Option<sys::llama_token> {
        ((token as usize) < self.vocabulary).then_some(token as sys::llama_token)
    }

    fn find_special_texts(&self) -> Vec<String> {
        // What llama.cpp matches only when it parses specials (`tokenizer_st_partition`). It also
        // knows user-defined tokens, but matches them in any text, so they can forge nothing.
        const ONLY_PARSED: sys::llama_token_attr =
            sys::LLAMA_TOKEN_ATTR_CONTROL | sys::LLAMA_TOKEN_ATTR_UNKNOWN;
        let mut texts = Vec::new();
        for token in 0..self.vocabulary as sys::llama_token {
            // SAFETY: the vocabulary is part of the model, which is alive; the token is in it.
            if unsafe { sys::llama_vocab_get_attr(self.raw(), token) } & ONLY_PARSED == 0 {
                continue;
            }
            // SAFETY: as above; the text is NUL-terminated and belongs to the vocabulary.
            let text = unsafe { CStr::from_ptr(sys::llama_vocab_get_text(self.raw(), token)) };
            // Text that is not UTF-8 cannot be in a `&str`, and nothing is in all of them.
            if let Ok(text) = text.to_str()
                && !text.is_empty()
            {
                texts.push(text.to_owned());
            }
        }
        texts
    }
}

impl Tokenizer for LlamaTokenizer {
    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn tokenize(&self, text: &str, specials: Specials) -> Result<Vec<Token>, TokenizeError> {
        let Ok(length) = i32::try_from(text.len()) else {
            return Err(TokenizeError(format!(
                "{} bytes are more than 2 GiB",
                text.len()
            )));
        };
        // Nearly always enough, since a token covers a byte or more; the exceptions are texts that
        // the vocabulary spells out, such as spaces as the three bytes of "▁".
        let mut tokens: Vec<sys::llama_token> = vec![0; text.len() + 16];
        loop {
            let room = i32::try_from(tokens.len()).unwrap_or(i32::MAX);
            // SAFETY: the vocabulary is part of the model, which is alive; text and tokens are as
            // long as said, and NUL bytes mean nothing to a function that is told the length.
            let count = unsafe {
                sys::llama_tokenize(
                    self.raw(),
                    text.as_ptr().cast(),
                    length,
                    tokens.as_mut_ptr(),
                    room,
                    false,
                    specials == Specials::Parse,
                )
            };
            if let Ok(count) = usize::try_from(count) {
                tokens.truncate(count);
                return tokens.into_iter().map(unsigned).collect();
            }
            // The smallest number means an overflow, any other the room that is needed.
            let needed = count
                .checked_neg()
                .map(i32::unsigned_abs)
                .filter(|&n| n as usize > tokens.len());
            let Some(needed) = needed else {
                return Err(TokenizeError(
                    "it has more tokens than llama.cpp can count".to_owned(),
                ));
            };
            tokens.resize(needed as usize, 0);
        }
    }

    fn append_piece(&self, token: Token, specials: Specials, out: &mut Vec<u8>) {
        let Some(token) = self.known(token) else {
            return;
        };
        let start = out.len();
        let mut room = 32;
        loop {
            out.resize(start + room, 0);
            // SAFETY: the vocabulary is part of the model, which is alive, the token is in it, and
            // `out` has `room` bytes from `start` on.
            let count = unsafe {
                sys::llama_token_to_piece(
                    self.raw(),
                    token,
                    out[start..].as_mut_ptr().cast(),
                    room as i32,
                    0,
                    specials == Specials::Parse,
                )
            };
            match usize::try_from(count) {
                Ok(written) => return out.truncate(start + written),
                // A negative number is the room that is needed.
                Err(_) if count.unsigned_abs() as usize > room => {
                    room = count.unsigned_abs() as usize;
                }
                Err(_) => return out.truncate(start),
            }
        }
    }

    // The three questions below are a lookup in llama.cpp's own tables each; a
    // table of ours would cost a walk through the vocabulary at the start.

    fn is_end_of_generation(&self, token: Token) -> bool {
        // SAFETY: the vocabulary is part of the model, which is alive; the token is in it.
        self.known(token)
            .is_some_and(|token| unsafe { sys::llama_vocab_is_eog(self.raw(), token) })
    }

    fn is_control(&self, token: Token) -> bool {
        // SAFETY: as in `is_end_of_generation`.
        self.known(token)
            .is_some_and(|token| unsafe { sys::llama_vocab_is_control(self.raw(), token) })
    }

    fn beginning_of_sequence(&self) -> Option<Token> {
        // SAFETY: the vocabulary is part of the model, which is alive.
        let (wanted, token) = unsafe {
            (
                sys::llama_vocab_get_add_bos(self.raw()),
                sys::llama_vocab_bos(self.raw()),
            )
        };
        // A missing token is -1.
        Token::try_from(token).ok().filter(|_| wanted)
    }

    fn end_of_sequence(&self) -> Option<Token> {
        // SAFETY: the vocabulary is part of the model, which is alive.
        Token::try_from(unsafe { sys::llama_vocab_eos(self.raw()) }).ok()
    }

    fn special_texts(&self) -> &[String] {
        self.special_texts.get_or_init(|| self.find_special_texts())
    }

    fn text_marks(&self) -> TextMarks {
        // SAFETY: the vocabulary is part of the model, which is alive.
        let (adds_end, end, adds_separator, separator) = unsafe {
            (
                sys::llama_vocab_get_add_eos(self.raw()),
                sys::llama_vocab_eos(self.raw()),
                sys::llama_vocab_get_add_sep(self.raw()),
                sys::llama_vocab_sep(self.raw()),
            )
        };
        // A missing token is -1.
        let mark = |token, adds: bool| Token::try_from(token).ok().filter(|_| adds);
        let (end, separator) = (mark(end, adds_end), mark(separator, adds_separator));
        TextMarks {
            between: end.into_iter().chain(separator).collect(),
            end: end.or(separator),
        }
    }

    fn fill_in_the_middle(&self) -> Option<FillInTheMiddle> {
        // SAFETY: the vocabulary is part of the model, which is alive.
        let tokens = unsafe {
            [
                sys::llama_vocab_fim_pre(self.raw()),
                sys::llama_vocab_fim_suf(self.raw()),
                sys::llama_vocab_fim_mid(self.raw()),
            ]
        };
        // A missing token is -1.
        let [prefix, suffix, middle] = tokens.map(|token| Token::try_from(token).ok());
        Some(FillInTheMiddle {
            prefix: prefix?,
            suffix: suffix?,
            middle: middle?,
        })
    }
}

fn unsigned(token: sys::llama_token) -> Result<Token, TokenizeError> {
    Token::try_from(token)
        .map_err(|_| TokenizeError("llama.cpp returned a token that does not exist".to_owned()))
}
