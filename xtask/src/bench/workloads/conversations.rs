//! More conversations than a server has places for, each waiting while the others have their turn.

use anyhow::Result;

use super::{Spec, lower, times_to_first};
use crate::bench::client::Ask;
use crate::bench::prompts::check_length;
use crate::bench::stage::Stage;

const CONVERSATIONS: u64 = 16;
const TURNS: u64 = 3;
const FIRST_TOKENS: u64 = 256;
const QUESTION_WORDS: usize = 16;
const ANSWER_TOKENS: u32 = 16;

pub(super) const SPEC: Spec = Spec {
    name: "conversations",
    about: "16 conversations in turn, 3 turns each: a question of 256 tokens, then short ones, 16 \
            tokens of answer. One request at a time; measured are the turns after the first. \
            Warm-up: one short answer.",
    figures: &[
        lower("time to first token of later turns, p50", "ms"),
        lower("time to first token of later turns, p95", "ms"),
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    let words = stage.ruler().words_of_prompt(FIRST_TOKENS);
    let mut conversations: Vec<Ask> = (0..CONVERSATIONS)
        .map(|one| Ask::user(stage.words(one).text(words), ANSWER_TOKENS))
        .collect();
    let mut later = Vec::new();
    for turn in 0..TURNS {
        for (one, ask) in (0..).zip(&mut conversations) {
            let answer = stage.chat(&server, ask).await?;
            let part = CONVERSATIONS * (turn + 1) + one;
            ask.go_on(answer.text.clone(), stage.words(part).text(QUESTION_WORDS));
            if turn == 0 {
                check_length(answer.usage()?.prompt_tokens as f64, FIRST_TOKENS)?;
            } else {
                later.push(answer);
            }
        }
    }
    stage.finish(server).await?;
    Ok(times_to_first(&later)?.to_vec())
}
