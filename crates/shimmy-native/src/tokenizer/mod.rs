//! Texts to tokens and back, with the vocabulary of a GGUF file. Owns the choice of the method; each
//! gives what llama.cpp gives, which is checked against it.

mod arrays;
mod bpe;
mod classes;
mod pieces;
mod specials;
mod symbols;
mod table;
#[cfg(test)]
mod tests;
mod vocabulary;
mod word_pieces;
mod words;

use std::sync::OnceLock;

use shimmy_engine::{FillInTheMiddle, Specials, TextMarks, Token, TokenizeError, Tokenizer};
use shimmy_models::Metadata;
use shimmy_models::gguf::Value;

use crate::error::Unsupported;
use crate::plan::PlanError;
use bpe::BytePairs;
use specials::{Part, SpecialTokens, Strips};
use vocabulary::{Attributes, Defaults, Vocabulary};
use word_pieces::WordPieces;
use words::Rule;

/// The tokenizer of a model.
#[derive(Debug)]
pub struct NativeTokenizer {
    vocabulary: Vocabulary,
    specials: SpecialTokens,
    method: Method,
    adds_begin: bool,
    adds_end: bool,
    adds_separator: bool,
    /// Made when first asked for.
    special_texts: OnceLock<Vec<String>>,
}

#[derive(Debug)]
enum Method {
    BytePairs(Box<BytePairs>),
    /// SentencePiece's, with or without a space before every text.
    Pieces {
        space_before: bool,
    },
    WordPieces(Box<WordPieces>),
}

/// A method that is known.
#[derive(Debug, Clone, Copy)]
enum Known {
    BytePairs(Rule),
    Pieces,
    WordPieces,
}

impl NativeTokenizer {
    /// Whether the tokenizer that a file names is one of these.
    pub(crate) fn supports(metadata: &Metadata) -> Result<(), Unsupported> {
        known(metadata).map(|_| ())
    }

    /// Reads the tokenizer of a file, whose bytes are `file`.
    pub(crate) fn new(metadata: &Metadata, file: &[u8]) -> Result<Self, PlanError> {
        let flag = |key: &str| metadata.get(key).and_then(Value::as_bool);
        let known = known(metadata)?;
        let read = |defaults| Vocabulary::read(metadata, file, defaults);
        let (vocabulary, method, adds_begin) = match known {
            Known::BytePairs(rule) => {
                let pairs = BytePairs::read(metadata, file, rule)?;
                let vocabulary = read(Defaults {
                    begin: rule.has_begin.then_some(11),
                    end: Some(11),
                    ..Defaults::default()
                })?;
                (vocabulary, Method::BytePairs(Box::new(pairs)), rule.begins)
            }
            Known::Pieces => {
                let space_before = flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
                let vocabulary = read(Defaults {
                    begin: Some(1),
                    end: Some(2),
                    ..Defaults::default()
                })?;
                (vocabulary, Method::Pieces { space_before }, true)
            }
            Known::WordPieces => {
                // BERT's own.
                let vocabulary = read(Defaults {
                    begin: Some(101),
                    end: None,
                    separator: Some(102),
                    unknown: Some(100),
                })?;
                let pieces = WordPieces::new(metadata, &vocabulary);
                (vocabulary, Method::WordPieces(Box::new(pieces)), true)
            }
        };
        let separates = matches!(method, Method::WordPieces(_));
        Ok(Self {
            specials: SpecialTokens::new(&vocabulary, Strips::of(metadata)),
            vocabulary,
            method,
            adds_begin: flag("tokenizer.ggml.add_bos_token").unwrap_or(adds_begin),
            adds_end: flag("tokenizer.ggml.add_eos_token").unwrap_or(false),
            adds_separator: flag("tokenizer.ggml.add_sep_token").unwrap_or(separates),
            special_texts: OnceLock::new(),
        })
    }
}

fn known(metadata: &Metadata) -> Result<Known, Unsupported> {
    let text = |key| {
        metadata
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (model, pre) = (text("tokenizer.ggml.model"), text("tokenizer.ggml.pre"));
    match model {
        "llama" => Ok(Known::Pieces),
        "bert" => Ok(Known::WordPieces),
        "gpt2" => {
            let unknown = || Unsupported::Tokenizer(format!("gpt2 with the words of {pre:?}"));
            Rule::named(pre).map(Known::BytePairs).ok_or_else(unknown)
        }
        other => Err(Unsupported::Tokenizer(format!("{other:?}"))),
    }
}

impl Tokenizer for NativeTokenizer {
    fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    fn tokenize(&self, text: &str, specials: Specials) -> Result<Vec<Token>, TokenizeError> {
        if text.len() > i32::MAX as usize {
            let problem = format!("{} bytes are more than 2 GiB", text.len());
            return Err(TokenizeError(problem));
        }
        let mut tokens = Vec::with_capacity(text.len() / 3 + 4);
        let mut after_special = true;
        for part in self.specials.divide(&self.vocabulary, text, specials) {
            match part {
                Part::Token(token) => tokens.push(token),
                Part::Text(ref range) => {
                    let text = &text[range.clone()];
                    match &self.method {
                        Method::BytePairs(pairs) => {
                            pairs.tokenize(&self.vocabulary, text, &mut tokens);
                        }
                        Method::Pieces { space_before } => {
                            let space = *space_before && after_special;
                            pieces::tokenize(&self.vocabulary, text, space, &mut tokens)?;
                        }
                        Method::WordPieces(pieces) => {
                            pieces.tokenize(&self.vocabulary, text, &mut tokens)?;
                        }
                    }
                }
            }
            after_special = matches!(part, Part::Token(_));
        }
        Ok(tokens)
    }

    fn append_piece(&self, token: Token, specials: Specials, out: &mut Vec<u8>) {
        const SPECIAL: u8 = Attributes::CONTROL | Attributes::UNKNOWN;
        let Some(attributes) = self.vocabulary.attributes(token) else {
            return;
        };
        let text = self.vocabulary.text(token);
        if attributes.any(SPECIAL) {
            if specials == Specials::Parse {
                out.extend_from_slice(text);
            }
        } else if attributes.any(Attributes::USER_DEFINED) {
            out.extend_from_slice(text);
        } else if attributes.any(Attributes::NORMAL) {
            match &self.method {
                Method::BytePairs(pairs) => pairs.decode(text, out),
                Method::Pieces { .. } | Method::WordPieces(_) => unescape(text, out),
            }
        } else if attributes.any(Attributes::BYTE) {
            out.extend(pieces::byte_of(text));
        }
    }

    fn is_end_of_generation(&self, token: Token) -> bool {
        self.vocabulary.is_end(token)
    }

    fn is_control(&self, token: Token) -> bool {
        let attributes = self.vocabulary.attributes(token);
        attributes.is_some_and(|attributes| attributes.any(Attributes::CONTROL))
    }

    fn beginning_of_sequence(&self) -> Option<Token> {
        self.vocabulary.begin.filter(|_| self.adds_begin)
    }

    fn end_of_sequence(&self) -> Option<Token> {
        self.vocabulary.end
    }

    fn special_texts(&self) -> &[String] {
        self.special_texts
            .get_or_init(|| SpecialTokens::parsed_texts(&self.vocabulary))
    }

    fn text_marks(&self) -> TextMarks {
        let end = self.vocabulary.end.filter(|_| self.adds_end);
        let separator = self.vocabulary.separator.filter(|_| self.adds_separator);
        TextMarks {
            between: end.into_iter().chain(separator).collect(),
            end: end.or(separator),
        }
    }

    fn fill_in_the_middle(&self) -> Option<FillInTheMiddle> {
        self.vocabulary.fill_in_the_middle()
    }
}

/// Appends a text with spaces for `▁`.
fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(pieces::SPACE.as_bytes()) {
            out.push(b' ');
            rest = after;
        } else {
            out.push(first);
            rest = after;
        }
    }
}
