//! One request at a time: the speed of its answer and the speed of its prompt.

use anyhow::{Context as _, Result};

use super::{Figure, Spec, Target, higher, lower, times_to_first};
use crate::bench::client::{Answer, Ask};
use crate::bench::prompts::check_length;
use crate::bench::server::Server;
use crate::bench::stage::Stage;
use crate::bench::stats::median;

/// Answers of one run; its figures are their medians.
const REPEATS: u64 = 3;
const ANSWER_TOKENS: u32 = 128;
const PROMPT_TOKENS: u64 = 512;

pub(super) const SPEC: Spec = Spec {
    name: "single",
    about: "One stream: 128 tokens after a short question, three times in turn. Warm-up: one short \
            answer.",
    figures: &[
        Figure {
            target: Some(Target::RatioAtLeast(1.0)),
            ..higher("decode, one stream", "tok/s")
        },
        lower("time to first token, p50", "ms"),
    ],
};

pub(super) const PREFILL: Spec = Spec {
    name: "prefill",
    about: "A prompt of 512 tokens that shares nothing with those before, three times in turn. \
            Warm-up: one short answer.",
    figures: &[Figure {
        target: Some(Target::RatioAtLeast(1.0)),
        ..higher("prefill, 512 tokens", "tok/s")
    }],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    let answers = stories(stage, &server).await?;
    let [first, _] = times_to_first(&answers)?;
    stage.finish(server).await?;
    Ok(vec![decode_speed(&answers)?, first])
}

pub(super) async fn prefill(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    let answers = long_prompts(stage, &server).await?;
    stage.finish(server).await?;
    Ok(vec![prefill_speed(&answers)?])
}

/// Answers to short questions.
pub(super) async fn stories(stage: &mut Stage<'_>, server: &Server) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for repeat in 0..REPEATS {
        let about = stage.words(repeat).text(3);
        let ask = Ask::user(format!("Tell a story about {about}."), ANSWER_TOKENS);
        answers.push(stage.chat(server, &ask).await?);
    }
    Ok(answers)
}

/// Answers of one token to long prompts.
pub(super) async fn long_prompts(stage: &mut Stage<'_>, server: &Server) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for repeat in 0..REPEATS {
        let words = stage.ruler().words_of_prompt(PROMPT_TOKENS);
        let ask = Ask::user(stage.words(repeat).text(words), 1);
        let answer = stage.chat(server, &ask).await?;
        check_length(answer.usage()?.prompt_tokens as f64, PROMPT_TOKENS)?;
        answers.push(answer);
    }
    Ok(answers)
}

/// The median, in tokens per second.
pub(super) fn decode_speed(answers: &[Answer]) -> Result<f64> {
    middle(answers, Answer::decode_speed)
}

/// The median, in tokens per second.
pub(super) fn prefill_speed(answers: &[Answer]) -> Result<f64> {
    middle(answers, Answer::prefill_speed)
}

fn middle(answers: &[Answer], value: fn(&Answer) -> Result<f64>) -> Result<f64> {
    let values: Vec<f64> = answers.iter().map(value).collect::<Result<_>>()?;
    median(&values).context("no answers")
}
