//! Two models in turn, of which one is loaded at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Spec, lower, milliseconds};
use crate::bench::client::Ask;
use crate::bench::server::Server;
use crate::bench::side::{Kind, PRESET_NAMES, Role};
use crate::bench::stage::Stage;
use crate::bench::stats::median;

/// To each model.
const SWAPS: usize = 2;
/// For the server to find the models' files.
const FINDING: Duration = Duration::from_secs(10);

pub(super) const SPEC: Spec = Spec {
    name: "swap",
    about: "Two models asked in turn, one loaded at a time: llama-server as a router with \
            --models-max 1, ours by unloading the other model through its API, which counts. \
            Warm-up: one short answer of the first model.",
    figures: &[
        lower("swap to the first model, to first token", "ms"),
        lower("swap to the second model, to first token", "ms"),
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let second = stage
        .setting
        .second_model
        .as_deref()
        .context("--second-model")?;
    let list = stage
        .setting
        .folder
        .join(format!("models-{}.ini", stage.side.name));
    let mut server = stage.start(Role::Swap {
        second,
        list: &list,
    })?;
    server.wait_until_healthy().await?;
    let names = match stage.side.kind {
        Kind::LlamaServer => PRESET_NAMES.map(str::to_owned),
        Kind::Shimmy => names(&server, [&stage.setting.model, second]).await?,
    };
    // The warm-up: whoever is asked next is not loaded.
    server.client.chat(&question(&names[0])).await?;
    let mut times = [Vec::new(), Vec::new()];
    for turn in 1..=2 * SWAPS {
        let (wanted, other) = (turn % 2, (turn + 1) % 2);
        let began = Instant::now();
        if stage.side.kind == Kind::Shimmy {
            unload(&server, &names[other]).await?;
        }
        let answer = stage.chat(&server, &question(&names[wanted])).await?;
        times[wanted].push(milliseconds(answer.first()? - began));
    }
    stage.finish(server).await?;
    let middle = |times: &[f64]| median(times).context("no swaps");
    Ok(vec![middle(&times[0])?, middle(&times[1])?])
}

fn question(model: &str) -> Ask {
    let mut ask = Ask::user("Say hello.", 8);
    ask.model = Some(model.to_owned());
    ask
}

async fn unload(server: &Server, name: &str) -> Result<()> {
    let path = format!("/api/models/{name}/unload");
    server.client.post(&path, &json!({})).await.map(|_| ())
}

/// The names of both models, once the server has found them: it looks for files while it already
/// answers.
async fn names(server: &Server, files: [&Path; 2]) -> Result<[String; 2]> {
    let began = Instant::now();
    loop {
        let models = server.client.get("/v1/models").await?;
        match files.map(|file| name(&models, file)) {
            [Ok(first), Ok(second)] => return Ok([first, second]),
            [Err(error), _] | [_, Err(error)] if began.elapsed() > FINDING => return Err(error),
            _ => {}
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// The name under which a model's file is listed: its stem, however that is spelled.
fn name(models: &Value, file: &Path) -> Result<String> {
    let plain = |text: &str| -> String {
        let letters = text.chars().filter(|char| char.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let stem = file.file_stem().map(|stem| plain(&stem.to_string_lossy()));
    let ids = models["data"].as_array().into_iter().flatten();
    let mut ids = ids.filter_map(|model| model["id"].as_str());
    ids.find(|id| Some(plain(id)) == stem)
        .map(str::to_owned)
        .with_context(|| format!("{} is not among the server's models", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_among_the_names() {
        let models = json!({"data": [{"id": "gemma"}, {"id": "smollm2-135m-instruct.q4-1"}]});
        let found = name(&models, Path::new("a/SmolLM2-135M_Instruct.Q4_1.gguf"));
        assert_eq!(found.expect("a name"), "smollm2-135m-instruct.q4-1");
        assert!(name(&models, Path::new("a/gemm.gguf")).is_err());
    }
}
