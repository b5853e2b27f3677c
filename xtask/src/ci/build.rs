//! Builds in which a warning of the project's own crates is an error, whoever asks for it: with
//! `RUSTFLAGS` every dependency would be built anew for that, and Cargo repeats the warnings of what
//! it has built before.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Outcome, steps};
use crate::process;
use crate::workspace::Workspace;

/// Builds a selection of packages and features.
pub(super) fn without_warnings(workspace: &Workspace, selection: &[&str]) -> Result<()> {
    let mut command = workspace.cargo();
    command.args(["build", "--locked"]).args(selection);
    println!("$ {}", process::display(&command));
    command.args(["--message-format", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut warnings = 0_usize;
    for line in BufReader::new(stdout).lines() {
        if let Some((level, text)) = diagnostic(&line?) {
            print!("{text}");
            warnings += usize::from(level == "warning");
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "cargo build ended with {status}");
    ensure!(warnings == 0, "the build has {warnings} warnings");
    Ok(())
}

/// The level and the text of what a compiler says, in a line of Cargo's messages.
///
/// Source: "External tools" in the Cargo book.
fn diagnostic(line: &str) -> Option<(String, String)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let message = message
        .get("message")
        .filter(|_| message["reason"] == "compiler-message")?;
    let text = |key: &str| message[key].as_str().map(str::to_owned);
    Some((text("level")?, text("rendered")?))
}

/// The features that one build has, as Cargo is told, and the lint step that knows whether they can
/// be built here.
struct Set {
    name: &'static str,
    selection: &'static [&'static str],
    gpu: Option<&'static str>,
}

const fn set(name: &'static str, selection: &'static [&'static str]) -> Set {
    Set {
        name,
        selection,
        gpu: None,
    }
}

const fn gpu(name: &'static str, selection: &'static [&'static str]) -> Set {
    Set {
        name,
        selection,
        gpu: Some(name),
    }
}

const BARE: &str = "--no-default-features";
const SETS: [Set; 10] = [
    set("default", &[]),
    set("no engine", &[BARE]),
    set("stub", &[BARE, "--features", "stub"]),
    set("native", &[BARE, "--features", "native"]),
    set("llama", &[BARE, "--features", "llama"]),
    set("both engines", &["--features", "llama"]),
    gpu("cuda", &["--features", "cuda"]),
    gpu("vulkan", &["--features", "vulkan"]),
    gpu("rocm", &["--features", "rocm"]),
    gpu("metal", &["--features", "metal"]),
];

/// Builds the binary with every set of features that this machine has the tools for.
pub(super) fn features(workspace: &Workspace) -> Result<Outcome> {
    let mut built = Vec::new();
    let mut not_built = Vec::new();
    for set in &SETS {
        if let Some(reason) = set.gpu.and_then(steps::missing_toolkit) {
            not_built.push(format!("{} ({reason})", set.name));
            continue;
        }
        let selection = [&["--package", "shimmy"], set.selection].concat();
        without_warnings(workspace, &selection).with_context(|| set.name)?;
        built.push(set.name);
    }
    let mut note = format!("built: {}", built.join(", "));
    if !not_built.is_empty() {
        note = format!("{note}; not built: {}", not_built.join(", "));
    }
    Ok(Outcome::Passed(note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_told_from_the_rest() {
        let line = r#"{"reason":"compiler-message","message":{"level":"warning","rendered":"warning: unused\n"}}"#;
        assert_eq!(
            diagnostic(line),
            Some(("warning".to_owned(), "warning: unused\n".to_owned()))
        );
        assert_eq!(
            diagnostic(r#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(diagnostic("not JSON"), None);
    }

    #[test]
    fn every_feature_of_the_binary_is_in_a_set() {
        let manifest =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/shimmy/Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).expect("the manifest is there");
        let features = manifest
            .lines()
            .skip_while(|line| *line != "[features]")
            .skip(1);
        let features = features.take_while(|line| !line.starts_with('['));
        for (name, _) in features.filter_map(|line| line.split_once(" = ")) {
            assert!(SETS.iter().any(|set| set.name == name), "{name}");
        }
    }
}
