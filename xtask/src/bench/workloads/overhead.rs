//! What the server costs beside its engine: CPU time of every thread that does not compute.

use std::time::Duration;

use anyhow::Result;

use super::{Figure, Spec, Target, lower};
use crate::bench::client::Ask;
use crate::bench::proc::Split;
use crate::bench::prompts::check_length;
use crate::bench::server::Server;
use crate::bench::side::{Kind, NotSupported};
use crate::bench::stage::Stage;

const CLIENTS: u64 = 8;
const PROMPT_TOKENS: u64 = 64;
const ANSWER_TOKENS: u32 = 256;
/// Of one token each: many, because the system counts CPU time in hundredths of a second.
const SHORT_WAVES: u64 = 40;

pub(super) const SPEC: Spec = Spec {
    name: "overhead",
    about: "8 clients at once with prompts of 64 tokens: 40 times for one token each, then once for \
            256 each. Counted is the CPU time of the threads that compute and of all others, by \
            /proc. Warm-up: 8 clients with other prompts and 4 tokens.",
    figures: &[
        Figure {
            target: Some(Target::AtMost(2.0)),
            ..lower("server, of its engine's CPU time", "%")
        },
        lower("server, per token", "µs"),
        lower("server, per request", "µs"),
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    if stage.side.kind != Kind::Shimmy {
        let reason = "which of its threads compute is not known".to_owned();
        return Err(NotSupported(reason).into());
    }
    let server = stage.ready().await?;
    wave(stage, &server, 0, 4).await?;
    let started = server.cpu_by_engine()?;
    for part in 1..=SHORT_WAVES {
        wave(stage, &server, part, 1).await?;
    }
    let between = server.cpu_by_engine()?;
    wave(stage, &server, SHORT_WAVES + 1, ANSWER_TOKENS).await?;
    let ended = server.cpu_by_engine()?;
    stage.finish(server).await?;

    let (short, long) = (between.since(started), ended.since(between));
    let requests = (SHORT_WAVES * CLIENTS) as f64;
    let per_request = short.others.as_secs_f64() / requests;
    // The streams are requests, too: what is left is their tokens'.
    let tokens = (CLIENTS * u64::from(ANSWER_TOKENS)) as f64;
    let of_tokens = long.others.as_secs_f64() - per_request * CLIENTS as f64;
    let share = long.others.as_secs_f64() / long.engine.as_secs_f64();
    let microseconds = |seconds: f64| seconds.max(0.0) * 1e6;
    Ok(vec![
        share * 100.0,
        microseconds(of_tokens / tokens),
        microseconds(per_request),
    ])
}

async fn wave(stage: &mut Stage<'_>, server: &Server, part: u64, tokens: u32) -> Result<()> {
    let words = stage.ruler().words_of_prompt(PROMPT_TOKENS);
    let texts = (0..CLIENTS).map(|client| stage.words(part * CLIENTS + client).text(words));
    let asks: Vec<Ask> = texts.map(|text| Ask::user(text, tokens)).collect();
    for answer in stage.together(server, &asks).await? {
        check_length(answer.usage()?.prompt_tokens as f64, PROMPT_TOKENS)?;
    }
    Ok(())
}

impl Split {
    fn since(self, earlier: Self) -> Self {
        let less = |now: Duration, then: Duration| now.saturating_sub(then);
        Self {
            engine: less(self.engine, earlier.engine),
            others: less(self.others, earlier.others),
        }
    }
}
