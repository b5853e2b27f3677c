//! Clients that arrive together with the same long system prompt, as agents of one kind do.

use anyhow::{Context as _, Result};

use super::{Spec, lower, milliseconds, times_to_first};
use crate::bench::client::{Answer, Ask};
use crate::bench::prompts::check_length;
use crate::bench::stage::Stage;

const CLIENTS: u64 = 8;
const SYSTEM_TOKENS: u64 = 780;
const QUESTION_WORDS: usize = 8;
const ANSWER_TOKENS: u32 = 16;

pub(super) const SPEC: Spec = Spec {
    name: "burst",
    about: "8 clients at once with the same system prompt of 780 tokens and a short question each, \
            16 tokens of answer. Warm-up: one short answer, so that nobody knows the system \
            prompt.",
    figures: &[
        lower("time to first token, p50", "ms"),
        lower("time to first token, p95", "ms"),
        lower("time until all are answered", "ms"),
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    let words = stage.ruler().words_of_prompt(SYSTEM_TOKENS);
    let system = stage.words(0).text(words);
    let asks: Vec<Ask> = (1..=CLIENTS)
        .map(|client| {
            let question = stage.words(client).text(QUESTION_WORDS);
            Ask::user(question, ANSWER_TOKENS).after_system(system.as_str())
        })
        .collect();
    let answers = stage.together(&server, &asks).await?;
    for answer in &answers {
        let prompt = answer.usage()?.prompt_tokens as f64;
        check_length(prompt - QUESTION_WORDS as f64, SYSTEM_TOKENS)?;
    }
    stage.finish(server).await?;
    let ends: Vec<_> = answers.iter().map(Answer::last).collect::<Result<_>>()?;
    let begin = answers.iter().map(|answer| answer.sent).min();
    let end = ends.into_iter().max().context("no answers")?;
    let [p50, p95] = times_to_first(&answers)?;
    Ok(vec![
        p50,
        p95,
        milliseconds(end - begin.context("no answers")?),
    ])
}
