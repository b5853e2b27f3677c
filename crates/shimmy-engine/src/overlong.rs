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

/// How many tokens a prompt has at least, if it is far beyond what `limit` tokens can be; none if
/// it may fit, and has to be tokenised to know.
pub(crate) fn at_least(
    tokenizer: &dyn Tokenizer,
    prompt: &Prompt,
    limit: usize,
) -> Result<Option<usize>, SubmitError> {
    let bytes: usize = prompt.parts.iter().map(bytes).sum();
    // What is short is counted, however little may come.
    if bytes <= limit.saturating_mul(USUAL_BYTES).max(PIECE_BYTES) {
        return Ok(None);
    }
    let mut count = 0;
    for part in &prompt.parts {
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
                return Ok(Some(count / SLACK));
            }
        }
    }
    Ok(None)
}

fn bytes(part: &PromptPart) -> usize {
    match part {
        PromptPart::Marked(text) | PromptPart::Literal(text) => text.len(),
        // They cost nothing more.
        PromptPart::Tokens(_) => 0,
    }
}
