//! From nothing to an answer: as a server, and as a command.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, copy, sink};
use tokio::process::Command;

use super::{Figure, Spec, Target, lower, milliseconds};
use crate::bench::client::Ask;
use crate::bench::side::{Kind, Role};
use crate::bench::stage::Stage;

pub(super) const SPEC: Spec = Spec {
    name: "start",
    about: "A server is started and asked as soon as /health says ok. No warm-up; the model's file \
            is in memory.",
    figures: &[
        Figure {
            target: Some(Target::AtMost(50.0)),
            ..lower("process start to /health ok", "ms")
        },
        Figure {
            target: Some(Target::RatioAtMost(0.5)),
            ..lower("process start to first token", "ms")
        },
    ],
};

pub(super) const GENERATE: Spec = Spec {
    name: "generate",
    about: "One answer when nothing is running: ours by `shimmy generate`, a peer's by starting \
            its server and asking it. No warm-up.",
    figures: &[Figure {
        target: Some(Target::RatioAtMost(0.5)),
        ..lower("process start to first output", "ms")
    }],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let mut server = stage.start(Role::Chat)?;
    let health = server.wait_until_healthy().await?;
    let answer = stage.chat(&server, &Ask::user("Say hello.", 8)).await?;
    let first = answer.first()? - server.started;
    stage.finish(server).await?;
    Ok(vec![milliseconds(health), milliseconds(first)])
}

pub(super) async fn generate(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    if stage.side.kind == Kind::LlamaServer {
        let figures = run(stage).await?;
        return Ok(figures[1..].to_vec());
    }
    let mut command = stage.side.generate(stage.setting);
    stage.keep_command(&command);
    Ok(vec![milliseconds(first_output(&mut command).await?)])
}

/// From the start of a command to the first byte of its standard output.
async fn first_output(command: &mut Command) -> Result<Duration> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let started = Instant::now();
    let mut child = command.spawn().context("the command cannot be started")?;
    let mut output = child.stdout.take().context("no standard output")?;
    let count = output.read(&mut [0_u8; 1]).await?;
    let took = started.elapsed();
    copy(&mut output, &mut sink()).await?;
    let status = child.wait().await?;
    ensure!(
        status.success() && count == 1,
        "the command ended with {status}"
    );
    Ok(took)
}
