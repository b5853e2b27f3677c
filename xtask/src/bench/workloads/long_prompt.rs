//! A long prompt that arrives beside a running stream: how long does the stream stand still?

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::Notify;

use super::{Spec, lower, milliseconds};
use crate::bench::client::Ask;
use crate::bench::prompts::check_length;
use crate::bench::stage::Stage;

const PROMPT_TOKENS: u64 = 1536;
/// Pieces of the running stream before the long prompt is sent, and after it is answered.
const MARGIN: usize = 16;
/// More than comes while the prompt is computed; the stream is left before.
const STREAM_TOKENS: u32 = 2048;

pub(super) const SPEC: Spec = Spec {
    name: "long-prompt",
    about: "A prompt of 1536 tokens arrives beside a running stream, which is watched until the \
            prompt's answer of 8 tokens is there. Warm-up: one short answer, and 16 tokens of the \
            stream.",
    figures: &[
        lower("longest gap of the running stream", "ms"),
        lower("time to first token of the long prompt", "ms"),
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    let words = stage.ruler().words_of_prompt(PROMPT_TOKENS);
    let long = Ask::user(stage.words(1).text(words), 8);
    let mut running = Ask::user(
        "Tell a very long story about a lighthouse keeper.",
        STREAM_TOKENS,
    );
    running.ignore_eos = true;
    let is_running = Notify::new();
    let last_piece: Cell<Option<usize>> = Cell::new(None);
    let count = Cell::new(0);
    let stream = server.client.chat_until(&running, |pieces| {
        count.set(pieces);
        if pieces == MARGIN {
            is_running.notify_one();
        }
        match last_piece.get() {
            Some(last) if pieces >= last => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    let arriving = async {
        is_running.notified().await;
        let answer = server.client.chat(&long).await?;
        last_piece.set(Some(count.get() + MARGIN));
        Ok(answer)
    };
    let (stream, answer) = tokio::try_join!(stream, arriving)?;
    stage.keep(&stream);
    stage.keep(&answer);
    check_length(answer.usage()?.prompt_tokens as f64, PROMPT_TOKENS)?;
    ensure!(
        stream.last()? > answer.first()?,
        "the running stream ended before the long prompt was answered"
    );
    stage.finish(server).await?;
    let gap = longest_gap(&stream.pieces, answer.sent).context("no gap")?;
    Ok(vec![
        milliseconds(gap),
        milliseconds(answer.time_to_first()?),
    ])
}

/// The longest time between two pieces, of which the second came after the moment.
fn longest_gap(pieces: &[Instant], after: Instant) -> Option<Duration> {
    let pairs = pieces.windows(2).filter(|pair| pair[1] > after);
    pairs.map(|pair| pair[1] - pair[0]).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_that_the_moment_falls_into_counts_and_those_before_do_not() {
        let zero = Instant::now();
        let at = |milliseconds| zero + Duration::from_millis(milliseconds);
        let pieces = [at(0), at(500), at(510), at(700), at(710)];
        let gap = longest_gap(&pieces, at(520));
        assert_eq!(gap, Some(Duration::from_millis(190)));
        assert_eq!(longest_gap(&pieces, at(710)), None);
    }
}
