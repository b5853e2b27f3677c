//! The numbers and names of an answer, in the shapes that several dialects share.
//!
//! Every number comes from the engine or a clock; nothing is estimated.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use shimmy_engine::{Finish, Usage};
use utoipa::ToSchema;

/// Tokens in OpenAI's words.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct TokenCounts {
    pub(crate) prompt_tokens: u32,
    pub(crate) completion_tokens: u32,
    pub(crate) total_tokens: u32,
}

impl From<Usage> for TokenCounts {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
        }
    }
}

/// Where the time went, in llama-server's words.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct LlamaTimings {
    cache_n: u32,
    prompt_n: u32,
    prompt_ms: f64,
    prompt_per_token_ms: f64,
    prompt_per_second: f64,
    predicted_n: u32,
    predicted_ms: f64,
    predicted_per_token_ms: f64,
    predicted_per_second: f64,
}

impl From<&Finish> for LlamaTimings {
    fn from(finish: &Finish) -> Self {
        let Finish { usage, timings, .. } = finish;
        let prompt_n = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        let (prompt_ms, prompt_per_token_ms, prompt_per_second) = rate(prompt_n, timings.prefill);
        let predicted_n = usage.completion_tokens;
        let (predicted_ms, predicted_per_token_ms, predicted_per_second) =
            rate(predicted_n, timings.decode);
        Self {
            cache_n: usage.cached_tokens,
            prompt_n,
            prompt_ms,
            prompt_per_token_ms,
            prompt_per_second,
            predicted_n,
            predicted_ms,
            predicted_per_token_ms,
            predicted_per_second,
        }
    }
}

/// Milliseconds, milliseconds per token, tokens per second; zero where there is nothing to divide.
fn rate(tokens: u32, time: Duration) -> (f64, f64, f64) {
    let ms = time.as_secs_f64() * 1e3;
    let per_token = if tokens > 0 {
        ms / f64::from(tokens)
    } else {
        0.0
    };
    let per_second = if ms > 0.0 {
        f64::from(tokens) * 1e3 / ms
    } else {
        0.0
    };
    (ms, per_token, per_second)
}

/// Counts and nanoseconds, in Ollama's words.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct OllamaCounts {
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: u32,
    prompt_eval_duration: u64,
    eval_count: u32,
    eval_duration: u64,
}

impl OllamaCounts {
    /// The last word of an answer that was asked for at `received`.
    pub(crate) fn new(finish: &Finish, received: Instant, load: Duration) -> Self {
        Self {
            total_duration: nanoseconds(received.elapsed()),
            load_duration: nanoseconds(load),
            prompt_eval_count: finish.usage.prompt_tokens,
            prompt_eval_duration: nanoseconds(finish.timings.prefill),
            eval_count: finish.usage.completion_tokens,
            eval_duration: nanoseconds(finish.timings.decode),
        }
    }
}

/// Whole nanoseconds, as Ollama's clients read times.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Now, as RFC 3339 text.
pub(crate) fn now() -> String {
    Timestamp::now().to_string()
}

/// An id that no other answer of this process has, and that cannot be guessed from another.
pub(crate) fn unique_id(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Each `RandomState` has keys of its own: the hash is random without a random number crate.
    format!(
        "{prefix}{:016x}{number:08x}",
        RandomState::new().hash_one(number)
    )
}
