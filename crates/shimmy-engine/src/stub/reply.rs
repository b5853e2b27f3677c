//! What the stub says: logits that depend on the tokens read and the adapters chosen, and on
//! nothing else. It must not know the cache that the tokens are in.

use super::tokenizer::{IM_END, IM_START, VOCABULARY};
use crate::runner::{AdapterScale, Token};

/// Logit of the token that the stub wants to say; all others have 0.
const CERTAIN: f32 = 30.0;

/// What the stub says.
#[derive(Debug, Clone, Default)]
pub enum Reply {
    /// The last user message, or the whole prompt where there are no chat markers.
    #[default]
    Echo,
    /// Always this.
    Fixed(String),
    /// A token that depends on every token before it, without end: any mistake in what a sequence
    /// holds changes all that follows.
    Mixed,
    /// The letter after the last one, without end: what is easily drafted.
    Alphabet,
    /// No certainty at all: each letter has a probability that depends on every token before it,
    /// so what is said is the sampler's draw.
    Uncertain,
}

impl Reply {
    /// What comes after these tokens, of which the first `prompt` were given.
    pub(super) fn logits_after(
        &self,
        tokens: &[Token],
        prompt: usize,
        adapters: &[AdapterScale],
    ) -> Vec<f32> {
        let next = self.next_token(tokens, prompt, adapters);
        let mut logits = vec![0.0; VOCABULARY];
        if matches!(self, Reply::Uncertain) {
            // The letters in a rotation that the history decides, from likely to unlikely.
            for rank in 0..26 {
                let letter = b'a' as usize + (next as usize - b'a' as usize + rank) % 26;
                logits[letter] = CERTAIN - rank as f32 / 8.0;
            }
        } else {
            logits[next as usize] = CERTAIN;
        }
        logits
    }

    fn next_token(&self, tokens: &[Token], prompt: usize, adapters: &[AdapterScale]) -> Token {
        let (reply, position) = match self {
            Reply::Mixed | Reply::Uncertain => return mixed(tokens, adapters),
            Reply::Alphabet => return letter_after(tokens.last().copied()),
            Reply::Fixed(text) => (text.as_bytes().to_vec(), tokens.len() - prompt),
            Reply::Echo => echo(tokens, prompt),
        };
        match reply.get(position) {
            Some(&byte) if position == 0 => {
                let shift: u32 = adapters.iter().map(|adapter| adapter.id.0 + 1).sum();
                (Token::from(byte) + shift) % 256
            }
            Some(&byte) => Token::from(byte),
            None => IM_END,
        }
    }
}

fn letter_after(token: Option<Token>) -> Token {
    let first = Token::from(b'a');
    first + (token.unwrap_or(0) + 26 - first % 26 + 1) % 26
}

/// The reply to echo and how much of it has been said.
fn echo(tokens: &[Token], prompt: usize) -> (Vec<u8>, usize) {
    let Some(answer) = tokens.iter().rposition(|&token| token == IM_START) else {
        return (bytes(&tokens[..prompt]), tokens.len() - prompt);
    };
    // "<|im_start|>user\n…<|im_end|>\n<|im_start|>assistant\n…"
    let header = "assistant\n".len() + 1;
    let said = tokens.len().saturating_sub(answer + header);
    let user: Vec<Token> = "user\n".bytes().map(Token::from).collect();
    let message = (0..answer)
        .rev()
        .filter(|&at| tokens[at] == IM_START)
        .find_map(|at| tokens[at + 1..answer].strip_prefix(user.as_slice()))
        .unwrap_or_default();
    let end = message
        .iter()
        .position(|&token| token == IM_END)
        .unwrap_or(message.len());
    (bytes(&message[..end]), said)
}

fn bytes(tokens: &[Token]) -> Vec<u8> {
    tokens
        .iter()
        .filter_map(|&token| u8::try_from(token).ok())
        .collect()
}

/// A printable byte that depends on every token of the history (FNV-1a).
fn mixed(tokens: &[Token], adapters: &[AdapterScale]) -> Token {
    let adapters = adapters.iter().map(|adapter| adapter.id.0 + 1000);
    let hash = tokens
        .iter()
        .copied()
        .chain(adapters)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, t| {
            (hash ^ u64::from(t)).wrapping_mul(0x0100_0000_01b3)
        });
    b'a' as Token + ((hash >> 32) % 26) as Token
}
