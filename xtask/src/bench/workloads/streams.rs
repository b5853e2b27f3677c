//! Many streams at once.

use anyhow::{Context as _, Result};

use super::{Spec, higher, lower, times_to_first};
use crate::bench::client::Ask;
use crate::bench::prompts::check_length;
use crate::bench::stage::Stage;

const PROMPT_TOKENS: u64 = 64;
const ANSWER_TOKENS: u32 = 64;

pub(super) const EIGHT: Spec = Spec {
    name: "streams-8",
    about: "8 clients at once, each with its own prompt of 64 tokens and 64 tokens of answer. \
            Warm-up: as many clients with other prompts and 4 tokens.",
    figures: FIGURES,
};

pub(super) const THIRTY_TWO: Spec = Spec {
    name: "streams-32",
    about: "32 clients at once, otherwise as streams-8.",
    figures: FIGURES,
};

const FIGURES: &[super::Figure] = &[
    higher("decode, all streams together", "tok/s"),
    lower("time to first token, p50", "ms"),
    lower("time to first token, p95", "ms"),
];

pub(super) async fn run(stage: &mut Stage<'_>, clients: u64) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    let words = stage.ruler().words_of_prompt(PROMPT_TOKENS);
    let asks = |wave: u64, tokens: u32| -> Vec<Ask> {
        let texts = (0..clients).map(|client| stage.words(wave * clients + client).text(words));
        texts.map(|text| Ask::user(text, tokens)).collect()
    };
    let (warm_up, measured) = (asks(0, 4), asks(1, ANSWER_TOKENS));
    stage.together(&server, &warm_up).await?;
    let answers = stage.together(&server, &measured).await?;
    for answer in &answers {
        check_length(answer.usage()?.prompt_tokens as f64, PROMPT_TOKENS)?;
    }
    stage.finish(server).await?;
    let begin = answers
        .iter()
        .map(|answer| answer.sent)
        .min()
        .context("no answers")?;
    let ends = answers.iter().map(crate::bench::client::Answer::last);
    let end = ends.collect::<Result<Vec<_>>>()?.into_iter().max();
    let took = end.context("no answers")? - begin;
    let tokens = clients * u64::from(ANSWER_TOKENS);
    let [p50, p95] = times_to_first(&answers)?;
    Ok(vec![tokens as f64 / took.as_secs_f64(), p50, p95])
}
