//! Prompts that are far too long, found out before all of them has become tokens.
//!
//! Tokenising is not cheap where somebody means harm: a merge of byte pairs over ten million line
//! breaks takes seconds. Owns how much of a prompt is looked at; must not know why it has a limit.

use crate::error::SubmitError;
use crate::params::{Prompt, PromptPart};
use crate::runner::{Specials, Tokenizer};

/// Bytes for each token of the limit below which a prompt is simply tokenised: texts that people
/// write have about four, and rarely more than this.
const USUAL_BYTES: usize = 8;
/// Bytes that are tokenised at a time.
const PIECE_BYTES: usize = 32 << 10;
/// A text in pieces may have more tokens than the whole, where a piece's end parts a token; never
/// twice as many, because no vocabulary has tokens anywhere near as long as a piece.
const SLACK: usize = 2;

/// A prompt that is far too long, as far as it was looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overlong {
    /// How many tokens it has at least: more than the limit.
    pub(crate) at_least: usize,
    /// The parts before the one where that was known, and how many bytes of that one.
    parts: usize,
    bytes: usize,
}

impl Overlong {
    /// The beginning that was looked at.
    pub(crate) fn beginning(self, prompt: &Prompt) -> Prompt {
        let mut parts = prompt.parts[..=self.parts].to_vec();
        if let Some(PromptPart::Marked(text) | PromptPart::Literal(text)) = parts.last_mut() {
            text.truncate(self.bytes);
        }
        Prompt { parts }
    }
}

/// Whether a prompt is far beyond what `limit` tokens can be; none if it may fit, and has to be
/// tokenised to know.
pub(crate) fn check(
    tokenizer: &dyn Tokenizer,
    prompt: &Prompt,
    limit: usize,
) -> Result<Option<Overlong>, SubmitError> {
    // What is short is counted, however little may come.
    if prompt.bytes() <= limit.saturating_mul(USUAL_BYTES).max(PIECE_BYTES) {
        return Ok(None);
    }
    let mut count = 0;
    for (parts, part) in prompt.parts.iter().enumerate() {
        let (text, specials) = match part {
            PromptPart::Marked(text) => (text.as_str(), Specials::Parse),
            PromptPart::Literal(text) => (text.as_str(), Specials::Literal),
            PromptPart::Tokens(tokens) => {
                count += tokens.len();
                continue;
            }
        };
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            count += tokenizer.tokenize(piece, specials)?.len();
            rest = after;
            if count / SLACK > limit {
                return Ok(Some(Overlong {
                    at_least: count / SLACK,
                    parts,
                    bytes: text.len() - rest.len(),
                }));
            }
        }
    }
    Ok(None)
}
