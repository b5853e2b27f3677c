//! A long prefix that a server knew before it was restarted.

use std::fs;
use std::io;

use anyhow::{Context as _, Result, ensure};

use super::{Spec, lower, milliseconds};
use crate::bench::client::Ask;
use crate::bench::prompts::check_length;
use crate::bench::side::Role;
use crate::bench::stage::Stage;

/// With its question it still fits a place of 2048 tokens.
const PREFIX_TOKENS: u64 = 1960;
const ANSWER_TOKENS: u32 = 8;

pub(super) const SPEC: Spec = Spec {
    name: "resume",
    about: "A system prompt of 1960 tokens is answered, the server is asked to end and started \
            again, and the same system prompt comes with another question. Ours has --cache-dir; \
            llama-server keeps nothing by itself. No warm-up of the second process.",
    figures: &[
        lower("restart to first token", "ms"),
        lower("time to first token, asked once /health is ok", "ms"),
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let folder = stage
        .setting
        .folder
        .join(format!("cache-{}", stage.side.name));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| folder.display().to_string());
        }
        _ => fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?,
    }
    let words = stage.ruler().words_of_prompt(PREFIX_TOKENS);
    let prefix = stage.words(0).text(words);
    let ask = |question: u64| {
        let question = stage.words(question).text(8);
        Ask::user(question, ANSWER_TOKENS).after_system(prefix.as_str())
    };
    let (before, after) = (ask(1), ask(2));
    let mut server = stage.start(Role::Resume(&folder))?;
    server.wait_until_healthy().await?;
    let answer = stage.chat(&server, &before).await?;
    check_length(answer.usage()?.prompt_tokens as f64, PREFIX_TOKENS)?;
    ensure!(
        stage.finish(server).await?,
        "the server does not end when asked, so it cannot keep anything"
    );
    let mut server = stage.start(Role::Resume(&folder))?;
    server.wait_until_healthy().await?;
    let answer = stage.chat(&server, &after).await?;
    let restart = answer.first()? - server.started;
    stage.finish(server).await?;
    fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(vec![
        milliseconds(restart),
        milliseconds(answer.time_to_first()?),
    ])
}
