//! Our server beside the peer's engine without a server.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::single::{decode_speed, long_prompts, prefill_speed, stories};
use super::{Figure, Spec, Target, higher};
use crate::bench::side::{Kind, NotSupported};
use crate::bench::stage::Stage;

const LIMIT: Duration = Duration::from_secs(600);

pub(super) const SPEC: Spec = Spec {
    name: "engine",
    about: "Decode and prefill of our server, measured as in `single` and `prefill`, beside \
            llama-bench, which is the peer's engine alone (tg128, pp512).",
    figures: &[
        Figure {
            target: Some(Target::RatioAtLeast(0.98)),
            ..higher("decode", "tok/s")
        },
        Figure {
            target: Some(Target::RatioAtLeast(0.98)),
            ..higher("prefill, 512 tokens", "tok/s")
        },
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    if stage.side.kind == Kind::LlamaServer {
        return llama_bench(stage).await;
    }
    let server = stage.ready().await?;
    let decode = decode_speed(&stories(stage, &server).await?)?;
    let prefill = prefill_speed(&long_prompts(stage, &server).await?)?;
    stage.finish(server).await?;
    Ok(vec![decode, prefill])
}

async fn llama_bench(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    if !stage.side.arguments.is_empty() {
        let text = "llama-bench does not take a server's arguments".to_owned();
        return Err(NotSupported(text).into());
    }
    let setting = stage.setting;
    let bench = setting.peer_bench.as_ref().context("--peer-bench")?;
    let mut command = Command::new(bench);
    command.arg("-m").arg(&setting.model);
    command.args(["-t", &setting.threads.to_string()]);
    command.args(["-p", "512", "-n", "128", "-r", "3", "-o", "json"]);
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    stage.keep_command(&command);
    let output = timeout(LIMIT, command.output())
        .await
        .with_context(|| format!("llama-bench takes more than {LIMIT:?}"))?
        .context("llama-bench cannot be started")?;
    ensure!(
        output.status.success(),
        "llama-bench ended with {}",
        output.status
    );
    speeds(&output.stdout)
}

/// Decode and prefill from llama-bench's JSON, in tokens per second.
fn speeds(json: &[u8]) -> Result<Vec<f64>> {
    let rows: Vec<Value> = serde_json::from_slice(json).context("llama-bench's JSON")?;
    let speed = |key: &str| {
        let row = rows
            .iter()
            .find(|row| row[key].as_u64().is_some_and(|tokens| tokens > 0));
        row.and_then(|row| row["avg_ts"].as_f64())
            .with_context(|| format!("no row with {key}"))
    };
    Ok(vec![speed("n_gen")?, speed("n_prompt")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_found_by_what_their_row_measures() {
        let json = br#"[{"n_prompt":512,"n_gen":0,"avg_ts":200.5},
            {"n_prompt":0,"n_gen":128,"avg_ts":100.5}]"#;
        assert_eq!(speeds(json).expect("rows"), [100.5, 200.5]);
        assert!(speeds(br#"[{"n_prompt":512,"n_gen":0,"avg_ts":200.5}]"#).is_err());
    }
}
