//! What a server uses when nobody asks anything.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{Figure, Spec, Target, lower, milliseconds};
use crate::bench::stage::Stage;

const IDLE: Duration = Duration::from_secs(3);
/// What an answer leaves to be tidied up is not idling yet.
const SETTLE: Duration = Duration::from_millis(500);

pub(super) const SPEC: Spec = Spec {
    name: "idle",
    about: "3 s without a request. Warm-up: one short answer, and half a second after it.",
    figures: &[Figure {
        target: Some(Target::AtMost(0.0)),
        ..lower("CPU time in 3 s of idling", "ms")
    }],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    sleep(SETTLE).await;
    let before = server.usage()?.cpu;
    sleep(IDLE).await;
    let used = server.usage()?.cpu.saturating_sub(before);
    stage.finish(server).await?;
    Ok(vec![milliseconds(used)])
}
