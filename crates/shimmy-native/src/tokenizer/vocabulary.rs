//! The tokens of a model: texts, kinds, and the ones with a meaning of their own. Owns what
//! llama.cpp concludes from texts, so that both agree on where an answer ends.

use shimmy_engine::{FillInTheMiddle, Token};
use shimmy_models::Metadata;
use shimmy_models::gguf::Value;

use super::arrays::{self, Texts};
use super::table::{Table, hash};
use crate::error::Fault;

/// What a token is; several may be true of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes(u8);

impl Attributes {
    pub(super) const UNKNOWN: u8 = 1;
    pub(super) const UNUSED: u8 = 2;
    pub(super) const NORMAL: u8 = 4;
    pub(super) const CONTROL: u8 = 8;
    pub(super) const USER_DEFINED: u8 = 16;
    pub(super) const BYTE: u8 = 32;

    fn new(kind: f32) -> Self {
        // `llama_token_type` in llama.h.
        Self(match kind as i32 {
            1 => Self::NORMAL,
            2 => Self::UNKNOWN,
            3 => Self::CONTROL,
            4 => Self::USER_DEFINED,
            5 => Self::UNUSED,
            6 => Self::BYTE,
            _ => 0,
        })
    }

    /// Whether any of these is true.
    pub(super) fn any(self, of: u8) -> bool {
        self.0 & of != 0
    }
}

/// The tokens that have a meaning of their own where the metadata name none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Defaults {
    pub(super) begin: Option<Token>,
    pub(super) end: Option<Token>,
    pub(super) separator: Option<Token>,
    pub(super) unknown: Option<Token>,
}

/// All tokens.
#[derive(Debug)]
pub(super) struct Vocabulary {
    texts: Texts,
    by_text: Table,
    attributes: Vec<Attributes>,
    pub(super) scores: Vec<f32>,
    ends: Vec<Token>,
    pub(super) begin: Option<Token>,
    pub(super) end: Option<Token>,
    /// Behind and between texts that are made vectors of.
    pub(super) separator: Option<Token>,
    /// For words that no tokens make, where the method has one for them.
    pub(super) unknown: Option<Token>,
    /// Before, behind and in a gap that is to be filled, by their place in [`FILLERS`].
    fillers: [Option<Token>; 6],
}

/// Tokens that end an answer, whatever the metadata say.
const ENDS: [&str; 22] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Tokens around code to be filled in: the entry that names one, and what it is called where none
/// does. Where one of the first three comes, an answer has ended.
const FILLERS: [(&str, &[&str]); 6] = [
    (
        "tokenizer.ggml.fim_pad_token_id",
        &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    ),
    (
        "tokenizer.ggml.fim_rep_token_id",
        &[
            "<|fim_repo|>",
            "<|repo_name|>",
            "<fim-repo>",
            "<REPO>",
            "<reponame>",
        ],
    ),
    ("tokenizer.ggml.fim_sep_token_id", &["<|file_sep|>"]),
    (
        "tokenizer.ggml.fim_pre_token_id",
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
    ),
    (
        "tokenizer.ggml.fim_suf_token_id",
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
    ),
    (
        "tokenizer.ggml.fim_mid_token_id",
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    ),
];

impl Vocabulary {
    /// Reads the vocabulary of a model, whose kind of tokenizer has these defaults.
    pub(super) fn read(
        metadata: &Metadata,
        file: &[u8],
        defaults: Defaults,
    ) -> Result<Self, Fault> {
        let key = "tokenizer.ggml.tokens";
        let texts = arrays::texts(metadata, file, key)?;
        let texts = texts.ok_or_else(|| Fault::Key(key.to_owned()))?;
        let count = texts.len();
        let list = |key: &str, default: f32| match arrays::numbers(metadata, file, key)? {
            Some(list) if list.len() < count => Err(Fault::Key(key.to_owned())),
            Some(list) => Ok(list),
            None => Ok(vec![default; count]),
        };
        let kinds = list("tokenizer.ggml.token_type", 1.0)?;
        let mut by_text = Table::new(count);
        for token in 0..count {
            let text = texts.get(token);
            by_text.replace(hash(text), token, |other| texts.get(other) == text);
        }
        let mut vocabulary = Self {
            scores: list("tokenizer.ggml.scores", 0.0)?,
            attributes: kinds[..count]
                .iter()
                .map(|&kind| Attributes::new(kind))
                .collect(),
            texts,
            by_text,
            ends: Vec::new(),
            begin: None,
            end: None,
            separator: None,
            unknown: None,
            fillers: [None; 6],
        };
        // The separator's key is spelled like this in every file.
        let [begin, end, separator, unknown] = [
            ("tokenizer.ggml.bos_token_id", defaults.begin),
            ("tokenizer.ggml.eos_token_id", defaults.end),
            ("tokenizer.ggml.seperator_token_id", defaults.separator),
            ("tokenizer.ggml.unknown_token_id", defaults.unknown),
        ]
        .map(|(key, default)| vocabulary.named(metadata, key, default));
        vocabulary.begin = begin;
        vocabulary.end = end;
        vocabulary.separator = separator;
        vocabulary.unknown = unknown;
        vocabulary.find_ends(metadata);
        Ok(vocabulary)
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The text of a token, which is in the vocabulary, as the file has it.
    pub(super) fn text(&self, token: Token) -> &[u8] {
        self.texts.get(token as usize)
    }

    /// The token with this text.
    pub(super) fn token(&self, text: &[u8]) -> Option<Token> {
        let token = self
            .by_text
            .find(hash(text), |token| self.texts.get(token) == text);
        token.map(|token| token as Token)
    }

    pub(super) fn attributes(&self, token: Token) -> Option<Attributes> {
        self.attributes.get(token as usize).copied()
    }

    pub(super) fn is_end(&self, token: Token) -> bool {
        self.ends.contains(&token)
    }

    /// The tokens around a gap.
    pub(super) fn fill_in_the_middle(&self) -> Option<FillInTheMiddle> {
        let [.., prefix, suffix, middle] = self.fillers;
        Some(FillInTheMiddle {
            prefix: prefix?,
            suffix: suffix?,
            middle: middle?,
        })
    }

    /// Tokens of these attributes.
    pub(super) fn with(&self, attributes: u8) -> impl Iterator<Item = Token> {
        let tokens = (0..).zip(&self.attributes);
        tokens
            .filter(move |(_, of)| of.any(attributes))
            .map(|(token, _)| token)
    }

    /// The token that an entry names, if it is in the vocabulary.
    fn named(&self, metadata: &Metadata, key: &str, default: Option<Token>) -> Option<Token> {
        let exists = |token: &Token| (*token as usize) < self.len();
        let named = metadata.get(key).and_then(Value::as_u64);
        let named = named
            .and_then(|token| Token::try_from(token).ok())
            .filter(exists);
        named.or_else(|| default.filter(exists))
    }

    fn find_ends(&mut self, metadata: &Metadata) {
        for (index, (key, texts)) in FILLERS.iter().enumerate() {
            let named = self.named(metadata, key, None);
            let by_text = || texts.iter().find_map(|text| self.token(text.as_bytes()));
            let by_text = if named.is_none() { by_text() } else { None };
            if let Some(token) = by_text {
                self.attributes[token as usize].0 |= Attributes::CONTROL;
            }
            let token = named.or(by_text);
            self.fillers[index] = token;
            self.ends.extend(token.filter(|_| index < 3));
        }
        for text in ENDS {
            if let Some(token) = self.token(text.as_bytes()) {
                self.attributes[token as usize].0 |= Attributes::CONTROL;
                self.ends.push(token);
            }
        }
        for text in ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"] {
            self.make(text, Attributes::USER_DEFINED);
        }
        let keys = ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
        let named = keys.map(|key| self.named(metadata, key, None));
        self.ends
            .extend(named.into_iter().flatten().chain(self.end));
        self.take_back_false_ends();
    }

    /// Some vocabularies have tokens that end an answer in others and not in them.
    fn take_back_false_ends(&mut self) {
        let has = |text: &str| {
            self.token(text.as_bytes())
                .is_some_and(|token| self.is_end(token))
        };
        let call = has("<|call|>") || has("<|calls|>");
        if call && (has("<|return|>") || has("<|flush|>")) && has("<|end|>") {
            let end = self.make("<|end|>", Attributes::USER_DEFINED);
            self.ends.retain(|&token| Some(token) != end);
        } else if has("<|tool_response>") && has("</s>") {
            let end = self.make("</s>", Attributes::NORMAL);
            self.ends.retain(|&token| Some(token) != end);
        }
    }

    fn make(&mut self, text: &str, attributes: u8) -> Option<Token> {
        let token = self.token(text.as_bytes())?;
        self.attributes[token as usize] = Attributes(attributes);
        Some(token)
    }
}
