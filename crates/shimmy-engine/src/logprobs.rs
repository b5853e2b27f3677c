//! What the model thought of the tokens it could have chosen.
//!
//! Taken from the raw logits, before penalties, constraints and temperature: it reports the model,
//! not the settings of a request.

use crate::params::{Logprob, TokenLogprobs};
use crate::runner::{Specials, Token, Tokenizer};
use crate::sampler::top_tokens;

/// Reports on the tokens of one answer.
#[derive(Debug)]
pub(crate) struct Reporter {
    /// Likeliest tokens to report beside the chosen one.
    top: usize,
    /// The logits of this step as the model gave them: choosing a token spoils them.
    raw: Vec<f32>,
    /// Those of tokens whose text has not been given out yet.
    waiting: Vec<TokenLogprobs>,
}

impl Reporter {
    pub(crate) fn new(top: u32) -> Self {
        Self {
            top: top as usize,
            raw: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Keeps the logits before they are spoilt.
    pub(crate) fn see(&mut self, logits: &[f32]) {
        self.raw.clear();
        self.raw.extend_from_slice(logits);
    }

    /// Takes note of the token that was chosen from the logits last seen.
    pub(crate) fn note(&mut self, chosen: Token, tokenizer: &dyn Tokenizer) {
        let total = log_sum_exp(&self.raw);
        let logprob = |token: Token| {
            let mut bytes = Vec::new();
            tokenizer.append_piece(token, Specials::Literal, &mut bytes);
            let logit = self.raw.get(token as usize).copied();
            Logprob {
                token,
                bytes,
                logprob: (f64::from(logit.unwrap_or(f32::NEG_INFINITY)) - total) as f32,
            }
        };
        let top = top_tokens(&self.raw, self.top);
        self.waiting.push(TokenLogprobs {
            chosen: logprob(chosen),
            top: top.into_iter().map(logprob).collect(),
        });
    }

    /// Those of the tokens since the last call.
    pub(crate) fn take(&mut self) -> Vec<TokenLogprobs> {
        std::mem::take(&mut self.waiting)
    }
}

/// ln Σ exp, without overflow.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !most.is_finite() {
        return 0.0;
    }
    let sum: f64 = logits.iter().map(|&l| f64::from(l - most).exp()).sum();
    f64::from(most) + sum.ln()
}

#[cfg(all(test, feature = "stub"))]
mod tests {
    use super::*;
    use crate::stub::StubTokenizer;

    #[test]
    fn probabilities_are_those_of_the_raw_logits() {
        let mut reporter = Reporter::new(2);
        // e^ln 1, e^ln 2, e^ln 5: probabilities 1/8, 2/8, 5/8.
        let logits = [1.0_f32.ln(), 2.0_f32.ln(), 5.0_f32.ln()];
        reporter.see(&logits);
        reporter.note(0, &StubTokenizer::default());
        let noted = reporter.take();
        assert!(reporter.take().is_empty());
        let close = |got: f32, wanted: f32| assert!((got.exp() - wanted).abs() < 1e-6, "{got}");
        close(noted[0].chosen.logprob, 0.125);
        let tokens: Vec<_> = noted[0].top.iter().map(|top| top.token).collect();
        assert_eq!(tokens, [2, 1]);
        close(noted[0].top[0].logprob, 0.625);
    }
}
