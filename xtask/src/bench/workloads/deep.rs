//! One stream far into its context: what attention over many cells costs.

use anyhow::{Context as _, Result};

use super::{Spec, higher};
use crate::bench::client::{Answer, Ask};
use crate::bench::prompts::check_length;
use crate::bench::stage::Stage;
use crate::bench::stats::median;

const PROMPT_TOKENS: u64 = 7900;
const ANSWER_TOKENS: u32 = 64;
/// Answers to the same prompt, which is computed once.
const REPEATS: usize = 3;

pub(super) const SPEC: Spec = Spec {
    name: "deep",
    about: "A prompt of 7900 tokens, then 64 tokens of answer, three times with the same prompt: decode \
            at 8k tokens of context. Warm-up: one short answer.",
    figures: &[
        higher("decode at 8k, one stream", "tok/s"),
        higher("prefill of the 7900 tokens", "tok/s"),
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    let words = stage.ruler().words_of_prompt(PROMPT_TOKENS);
    let ask = Ask::user(stage.words(0).text(words), ANSWER_TOKENS);
    let mut answers = Vec::new();
    for _ in 0..REPEATS {
        answers.push(stage.chat(&server, &ask).await?);
    }
    check_length(answers[0].usage()?.prompt_tokens as f64, PROMPT_TOKENS)?;
    stage.finish(server).await?;
    let speeds: Vec<f64> = answers
        .iter()
        .map(Answer::decode_speed)
        .collect::<Result<_>>()?;
    let decode = median(&speeds).context("no answers")?;
    Ok(vec![decode, answers[0].prefill_speed()?])
}
