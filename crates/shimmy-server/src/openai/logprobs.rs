//! Probabilities of tokens, in the shape of chats and in the older one of completions.

use serde::Serialize;
use serde_json::{Map, Value};
use shimmy_engine::{Logprob, TokenLogprobs};
use utoipa::ToSchema;

/// What the vendor writes for "very unlikely": JSON has no infinity.
const UNLIKELY: f32 = -9999.0;

/// Of a chat's message, or of a piece of one.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = OpenAiLogprobs)]
pub(super) struct ChatLogprobs {
    content: Vec<ChatToken>,
    #[schema(schema_with = crate::openapi::null)]
    refusal: Option<()>,
}

/// A token of a chat's message; Ollama's clients read the same.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = OpenAiTokenLogprob)]
pub(crate) struct ChatToken {
    #[serde(flatten)]
    token: TokenBody,
    top_logprobs: Vec<TokenBody>,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = OpenAiTokenProbability)]
struct TokenBody {
    token: String,
    /// For characters that are split over tokens; a control token has none.
    bytes: Option<Vec<u8>>,
    logprob: f32,
}

impl From<&Logprob> for TokenBody {
    fn from(logprob: &Logprob) -> Self {
        Self {
            token: text(logprob),
            bytes: (!logprob.bytes.is_empty()).then(|| logprob.bytes.clone()),
            logprob: finite(logprob),
        }
    }
}

impl From<&TokenLogprobs> for ChatToken {
    fn from(token: &TokenLogprobs) -> Self {
        Self {
            token: (&token.chosen).into(),
            top_logprobs: token.top.iter().map(TokenBody::from).collect(),
        }
    }
}

impl From<&[TokenLogprobs]> for ChatLogprobs {
    fn from(tokens: &[TokenLogprobs]) -> Self {
        Self {
            content: tokens.iter().map(ChatToken::from).collect(),
            refusal: None,
        }
    }
}

/// Of a completion, or of a piece of one: four lists of the same length.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = OpenAiTextLogprobs)]
pub(super) struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    /// Null where none beside the chosen ones were asked for.
    top_logprobs: Option<Vec<Map<String, Value>>>,
    /// Where each token begins in the choice's text, in characters.
    text_offset: Vec<usize>,
}

/// Makes these of a completion's tokens as they come.
#[derive(Debug, Clone)]
pub(super) struct TextReporter {
    /// Characters begun so far.
    characters: usize,
    has_top: bool,
}

impl TextReporter {
    /// For a choice whose text begins with so many characters that are no tokens of the answer.
    pub(super) fn new(characters: usize, top: u32) -> Self {
        Self {
            characters,
            has_top: top > 0,
        }
    }

    /// Those of the next tokens.
    pub(super) fn report(&mut self, tokens: &[TokenLogprobs]) -> TextLogprobs {
        let top = |token: &TokenLogprobs| {
            let likeliest = token.top.iter().chain([&token.chosen]);
            likeliest
                .map(|top| (text(top), Value::from(finite(top))))
                .collect()
        };
        TextLogprobs {
            tokens: tokens.iter().map(|token| text(&token.chosen)).collect(),
            token_logprobs: tokens.iter().map(|token| finite(&token.chosen)).collect(),
            top_logprobs: self.has_top.then(|| tokens.iter().map(top).collect()),
            text_offset: tokens.iter().map(|token| self.advance(token)).collect(),
        }
    }

    fn advance(&mut self, token: &TokenLogprobs) -> usize {
        let begins = self.characters;
        // Every byte but a continuation begins a character.
        let begun = token.chosen.bytes.iter().filter(|&b| b & 0xC0 != 0x80);
        self.characters += begun.count();
        begins
    }
}

fn text(logprob: &Logprob) -> String {
    String::from_utf8_lossy(&logprob.bytes).into_owned()
}

/// As JSON can say it.
pub(crate) fn finite(logprob: &Logprob) -> f32 {
    if logprob.logprob.is_finite() {
        logprob.logprob
    } else {
        UNLIKELY
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn logprob(token: u32, bytes: &[u8], logprob: f32) -> Logprob {
        Logprob {
            token,
            bytes: bytes.to_vec(),
            logprob,
        }
    }

    /// "é" over two tokens, then a control token.
    fn tokens() -> Vec<TokenLogprobs> {
        let token = |chosen: Logprob| TokenLogprobs {
            top: vec![chosen.clone(), logprob(7, b"x", -4.0)],
            chosen,
        };
        vec![
            token(logprob(1, &[0xC3], -0.5)),
            token(logprob(2, &[0xA9], -0.25)),
            token(logprob(3, b"", f32::NEG_INFINITY)),
        ]
    }

    #[test]
    fn chats_have_bytes_and_no_infinity() {
        let logprobs = ChatLogprobs::from(&tokens()[..]);
        let value = serde_json::to_value(&logprobs).unwrap();
        let x = json!({ "token": "x", "bytes": [120], "logprob": -4.0 });
        let half = json!({ "token": "\u{fffd}", "bytes": [0xC3], "logprob": -0.5 });
        let mut first = half.clone();
        first["top_logprobs"] = json!([half, x]);
        assert_eq!(value["content"][0], first);
        assert_eq!(value["content"][2]["bytes"], json!(null));
        assert_eq!(value["content"][2]["logprob"], -9999.0);
        assert_eq!(value["refusal"], json!(null));
    }

    #[test]
    fn offsets_count_characters_over_chunks() {
        let tokens = tokens();
        let mut reporter = TextReporter::new(3, 2);
        let first = reporter.report(&tokens[..1]);
        let rest = reporter.report(&tokens[1..]);
        assert_eq!(first.text_offset, [3]);
        assert_eq!(rest.text_offset, [4, 4]);
        let top = serde_json::to_value(first.top_logprobs).unwrap();
        assert_eq!(top, json!([{ "\u{fffd}": -0.5, "x": -4.0 }]));
        assert_eq!(TextReporter::new(0, 0).report(&tokens).top_logprobs, None);
    }
}
