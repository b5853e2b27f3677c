//! Logits to a token.
//!
//! One sampler per answer, with its own random numbers: what it draws depends on its seed, its
//! parameters and its logits alone, never on what else is in the batch. It works on the
//! backend's logits slice in place.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::params::{SamplingParams, SamplingPatch};
use crate::runner::Token;

/// A token that is still in the running.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    token: Token,
    logit: f32,
}

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub(crate) struct Sampler {
    params: SamplingParams,
    random: Pcg64Mcg,
    /// The last `repeat_last_n` tokens, prompt included, for the penalties.
    recent: VecDeque<Token>,
    // Kept between calls for their memory.
    candidates: Vec<Candidate>,
    probabilities: Vec<f32>,
}

impl Sampler {
    /// A sampler for validated parameters, which has already seen the prompt.
    pub(crate) fn new(params: SamplingParams, prompt: &[Token]) -> Self {
        let seed = params.seed.unwrap_or_else(fresh_seed);
        let seen = prompt.len().min(params.repeat_last_n as usize);
        Self {
            random: Pcg64Mcg::seed_from_u64(seed),
            recent: prompt[prompt.len() - seen..].iter().copied().collect(),
            params,
            candidates: Vec::new(),
            probabilities: Vec::new(),
        }
    }

    /// Changes parameters in the middle of an answer.
    pub(crate) fn update(&mut self, patch: &SamplingPatch) {
        patch.apply(&mut self.params);
    }

    /// Chooses a token and remembers it. `logits` are spoilt.
    ///
    /// `None` when no token has a finite logit: the model, or a constraint, left nothing.
    pub(crate) fn sample(&mut self, logits: &mut [f32]) -> Option<Token> {
        for &(token, bias) in &self.params.logit_bias {
            logits[token as usize] += bias;
        }
        self.penalise(logits);
        let token = if self.params.temperature <= 0.0 {
            likeliest(logits)?
        } else {
            self.select_candidates(logits);
            self.draw()?
        };
        self.remember(token);
        Some(token)
    }

    /// Remembers a token for the penalties: one that it chose, or one about which there was no
    /// choice. The latter takes no random number, so it does not matter to the following ones
    /// whether it came from logits.
    pub(crate) fn remember(&mut self, token: Token) {
        if self.params.repeat_last_n == 0 {
            return;
        }
        while self.recent.len() >= self.params.repeat_last_n as usize {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    fn penalise(&self, logits: &mut [f32]) {
        let SamplingParams {
            repeat_penalty,
            presence_penalty,
            frequency_penalty,
            ..
        } = self.params;
        if repeat_penalty == 1.0 && presence_penalty == 0.0 && frequency_penalty == 0.0 {
            return;
        }
        let mut counts: Vec<Token> = self.recent.iter().copied().collect();
        counts.sort_unstable();
        for seen in counts.chunk_by(|a, b| a == b) {
            let logit = &mut logits[seen[0] as usize];
            // Dividing a negative logit would reward the token.
            *logit = if *logit > 0.0 {
                *logit / repeat_penalty
            } else {
                *logit * repeat_penalty
            };
            *logit -= presence_penalty + frequency_penalty * seen.len() as f32;
        }
    }

    /// Fills `candidates` with those that top-k, typical, top-p and min-p leave, likeliest first.
    fn select_candidates(&mut self, logits: &[f32]) {
        let top_k = match self.params.top_k as usize {
            0 => logits.len(),
            k => k,
        };
        top(logits, top_k, &mut self.candidates);
        self.keep_typical();
        self.keep_top_p();
        self.keep_min_p();
    }

    /// Locally typical sampling (Meister et al. 2022): keeps the tokens whose surprise is nearest
    /// to the expected one, up to a probability mass.
    fn keep_typical(&mut self) {
        if self.params.typical_p >= 1.0 || self.candidates.is_empty() {
            return;
        }
        softmax(&self.candidates, 1.0, &mut self.probabilities);
        let entropy: f32 = self
            .probabilities
            .iter()
            .filter(|p| **p > 0.0)
            .map(|p| -p * p.ln())
            .sum();
        let mut order: Vec<(f32, usize)> = self
            .probabilities
            .iter()
            .enumerate()
            .map(|(index, p)| ((-p.ln() - entropy).abs(), index))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut mass = 0.0;
        let mut kept = Vec::new();
        for (_, index) in order {
            kept.push(self.candidates[index]);
            mass += self.probabilities[index];
            if mass >= self.params.typical_p {
                break;
            }
        }
        kept.sort_by(by_likelihood);
        self.candidates = kept;
    }

    fn keep_top_p(&mut self) {
        if self.params.top_p >= 1.0 {
            return;
        }
        softmax(&self.candidates, 1.0, &mut self.probabilities);
        let mut mass = 0.0;
        let enough = self.probabilities.iter().position(|p| {
            mass += p;
            mass >= self.params.top_p
        });
        if let Some(last) = enough {
            self.candidates.truncate(last + 1);
        }
    }

    fn keep_min_p(&mut self) {
        let Some(best) = self.candidates.first().filter(|_| self.params.min_p > 0.0) else {
            return;
        };
        // p ≥ min_p · p_best, in logits.
        let least = best.logit + self.params.min_p.ln();
        let keep = self
            .candidates
            .partition_point(|candidate| candidate.logit >= least);
        self.candidates.truncate(keep.max(1));
    }

    fn draw(&mut self) -> Option<Token> {
        softmax(
            &self.candidates,
            self.params.temperature,
            &mut self.probabilities,
        );
        // 53 random bits make a uniform number in [0, 1). It is scaled by the sum, which rounding
        // has left near 1 but not at it.
        let uniform = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let sum: f64 = self.probabilities.iter().map(|&p| f64::from(p)).sum();
        let mut left = uniform * sum;
        let drawn = self.probabilities.iter().position(|&p| {
            left -= f64::from(p);
            left < 0.0
        });
        let index = drawn.or_else(|| self.probabilities.iter().rposition(|&p| p > 0.0))?;
        Some(self.candidates[index].token)
    }
}

/// The order of candidates: by logit, equal ones by token, so that it is total.
fn by_likelihood(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

/// The first token with the greatest finite logit.
fn likeliest(logits: &[f32]) -> Option<Token> {
    // In blocks: the maximum of a block compiles to vector instructions, and only a block that
    // beats the best so far is looked at token by token.
    let mut best: Option<Candidate> = None;
    for (block, values) in logits.chunks(BLOCK).enumerate() {
        let bar = best.map_or(f32::NEG_INFINITY, |best| best.logit);
        if maximum(values) <= bar {
            continue;
        }
        for (offset, &logit) in values.iter().enumerate() {
            if logit > best.map_or(f32::NEG_INFINITY, |best| best.logit) && logit.is_finite() {
                best = Some(Candidate {
                    token: (block * BLOCK + offset) as Token,
                    logit,
                });
            }
        }
    }
    best.map(|best| best.token)
}

const BLOCK: usize = 64;

/// The greatest of some values; NaN counts as −∞.
fn maximum(values: &[f32]) -> f32 {
    values.iter().fold(
        f32::NEG_INFINITY,
        |max, &value| if value > max { value } else { max },
    )
}

/// Puts the `k` greatest finite logits into `out`, greatest first.
fn top(logits: &[f32], k: usize, out: &mut Vec<Candidate>) {
    out.clear();
    let finite = |logit: f32| logit.is_finite();
    if k >= logits.len() / 4 {
        let all = logits
            .iter()
            .enumerate()
            .filter(|(_, logit)| finite(**logit));
        out.extend(all.map(|(token, &logit)| Candidate {
            token: token as Token,
            logit,
        }));
        out.sort_unstable_by(by_likelihood);
        out.truncate(k);
        return;
    }
    // Collects everything above a bar that rises: when twice as many as wanted are there, the
    // worse half goes and the bar is the worst that stays.
    let mut bar = f32::NEG_INFINITY;
    for (block, values) in logits.chunks(BLOCK).enumerate() {
        if maximum(values) <= bar {
            continue;
        }
        for (offset, &logit) in values.iter().enumerate() {
            if logit > bar && finite(logit) {
                out.push(Candidate {
                    token: (block * BLOCK + offset) as Token,
                    logit,
                });
            }
        }
        if out.len() >= 2 * k + BLOCK {
            out.select_nth_unstable_by(k - 1, by_likelihood);
            out.truncate(k);
            bar = out[k - 1].logit;
        }
    }
    out.sort_unstable_by(by_likelihood);
    out.truncate(k);
}

/// The `count` tokens with the greatest logits, greatest first.
pub(crate) fn top_tokens(logits: &[f32], count: usize) -> Vec<Token> {
    if count == 0 {
        return Vec::new();
    }
    let mut candidates = Vec::new();
    top(logits, count, &mut candidates);
    candidates.iter().map(|c| c.token).collect()
}

/// The candidates' probabilities at a temperature. The first candidate is the likeliest.
fn softmax(candidates: &[Candidate], temperature: f32, out: &mut Vec<f32>) {
    out.clear();
    let Some(best) = candidates.first() else {
        return;
    };
    out.extend(
        candidates
            .iter()
            .map(|c| ((c.logit - best.logit) / temperature).exp()),
    );
    let sum: f32 = out.iter().sum();
    out.iter_mut().for_each(|p| *p /= sum);
}

/// A seed nobody chose, from the standard library's per-process and per-instance hash keys.
fn fresh_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
