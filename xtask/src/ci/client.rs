//! The steps that need more than this repository: a real model and the vendors' official clients,
//! all from a package registry and all kept for the next run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::python::Packages;
use super::release::output;
use super::{Outcome, pass_through};
use crate::process;
use crate::workspace::Workspace;

/// What `scripts/demo-model.sh` ends with when it has no way to get the model.
const NO_WAY: i32 = 3;
/// Put so that the demo model, small as it is, knows the answer.
const PROMPT: &str = "What is the capital of France? Answer in one sentence.";

pub(super) fn model(workspace: &Workspace) -> Result<Outcome> {
    let binary = built(workspace)?;
    let model = match locate_model(workspace)? {
        Ok(model) => model,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let mut command = workspace.command(&binary);
    command.env("SHIMMY_BASE_GGUF", &model);
    Ok(Outcome::Passed(format!("{:?}", knows_paris(&mut command)?)))
}

/// Adds what asks the demo model for France's capital, and checks that the answer is Paris.
pub(super) fn knows_paris(command: &mut Command) -> Result<String> {
    command.args(["generate", "--prompt", PROMPT]);
    command.args(["--temperature", "0", "--max-tokens", "32"]);
    let answer = output(command)?;
    let answer = answer.trim();
    println!("{answer}");
    ensure!(
        answer.contains("Paris"),
        "the model did not answer with Paris: {answer:?}"
    );
    Ok(answer.to_owned())
}

/// The vendors' own clients.
pub(super) const OFFICIAL: Packages = Packages {
    requirements: "tests/clients/requirements.txt",
    folder: "clients",
};
/// What is built upon them; an environment of its own, since it wants an older OpenAI client.
const FRAMEWORKS: Packages = Packages {
    requirements: "tests/clients/requirements-frameworks.txt",
    folder: "clients-frameworks",
};

pub(super) fn openai(workspace: &Workspace) -> Result<Outcome> {
    let tests = ["openai_test.py", "responses_test.py"];
    run_tests(workspace, &OFFICIAL, &tests, None)
}

pub(super) fn anthropic(workspace: &Workspace) -> Result<Outcome> {
    run_tests(workspace, &OFFICIAL, &["anthropic_test.py"], None)
}

pub(super) fn ollama(workspace: &Workspace) -> Result<Outcome> {
    let packages = match node_packages(workspace)? {
        Ok(packages) => Some(packages),
        Err(Outcome::Skipped(reason)) => {
            println!("{reason}: Ollama's JavaScript client is not tested");
            None
        }
        Err(failed) => return Ok(failed),
    };
    run_tests(
        workspace,
        &OFFICIAL,
        &["ollama_test.py"],
        packages.as_deref(),
    )
}

pub(super) fn javascript(workspace: &Workspace) -> Result<Outcome> {
    match node_packages(workspace)? {
        Ok(packages) => run_tests(
            workspace,
            &OFFICIAL,
            &["javascript_test.py"],
            Some(&packages),
        ),
        Err(other) => Ok(other),
    }
}

pub(super) fn frameworks(workspace: &Workspace) -> Result<Outcome> {
    let tests = [
        "agents_test.py",
        "instructor_test.py",
        "langchain_test.py",
        "litellm_test.py",
    ];
    run_tests(workspace, &FRAMEWORKS, &tests, None)
}

pub(super) fn schema(workspace: &Workspace) -> Result<Outcome> {
    run_tests(workspace, &FRAMEWORKS, &["schema_test.py"], None)
}

/// Runs files of `tests/clients` against the release binary and a real model. Tests of JavaScript
/// clients need the folder of their packages.
fn run_tests(
    workspace: &Workspace,
    packages: &Packages,
    files: &[&str],
    node_packages: Option<&Path>,
) -> Result<Outcome> {
    let binary = built(workspace)?;
    let model = match locate_model(workspace)? {
        Ok(model) => model,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let python = match packages.python(workspace)? {
        Ok(python) => python,
        Err(other) => return Ok(other),
    };
    let mut tests = workspace.command(python);
    tests.args(["-m", "pytest", "-p", "no:cacheprovider"]);
    tests.args(files.iter().map(|file| format!("tests/clients/{file}")));
    tests.env("PYTHONDONTWRITEBYTECODE", "1");
    if let Some(folder) = node_packages {
        tests.env("SHIMMY_NODE_MODULES", folder);
    }
    pass_through(
        tests
            .env("SHIMMY_BIN", binary)
            .env("SHIMMY_TEST_MODEL", model),
    )
}

/// The folder with the pinned JavaScript packages, or why there is none.
fn node_packages(workspace: &Workspace) -> Result<Result<PathBuf, Outcome>> {
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    if !process::works("node", &["--version"]) || !process::works(npm, &["--version"]) {
        let reason = "no Node with npm here".to_owned();
        return Ok(Err(Outcome::Skipped(reason)));
    }
    let folder = workspace.target.join("clients-js");
    std::fs::create_dir_all(&folder)?;
    for name in ["package.json", "package-lock.json"] {
        let source = workspace.root.join("tests").join("clients").join(name);
        std::fs::copy(source, folder.join(name))?;
    }
    let mut install = workspace.command(npm);
    install.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefix",
    ]);
    Ok(match pass_through(install.arg(&folder))? {
        Outcome::Passed(_) => Ok(folder.join("node_modules")),
        other => Err(other),
    })
}

pub(super) fn built(workspace: &Workspace) -> Result<PathBuf> {
    let binary = workspace.release_binary();
    let shown = binary.display();
    ensure!(
        binary.is_file(),
        "{shown} is not there\nhint: run the step `release` first"
    );
    Ok(binary)
}

/// Compares the engines on the model that the other steps use.
pub(super) fn perplexity(workspace: &Workspace) -> Result<Outcome> {
    let model = match locate_model(workspace)? {
        Ok(model) => model,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let mut command = workspace.cargo();
    command
        .args(["test", "--locked", "--package", "shimmy-native"])
        .args(["--features", "llama-reference", "--test", "reference"])
        .args(["--", "perplexity::", "logits::", "tokens::"]);
    pass_through(command.env("SHIMMY_TEST_MODEL", model))
}

/// The model's file, or why there is none.
pub(super) fn locate_model(workspace: &Workspace) -> Result<Result<PathBuf, String>> {
    if let Some(path) = env::var_os("SHIMMY_TEST_MODEL").filter(|path| !path.is_empty()) {
        let path = workspace.root.join(path);
        ensure!(
            path.is_file(),
            "SHIMMY_TEST_MODEL is {}, which is not there",
            path.display()
        );
        return Ok(Ok(path));
    }
    let script = workspace.root.join("scripts").join("demo-model.sh");
    let mut command = workspace.command("bash");
    command
        .arg(script)
        .arg(workspace.target.join("models"))
        .stderr(Stdio::inherit());
    println!("$ {}", process::display(&command));
    let output = command.output().context("bash cannot be started")?;
    if output.status.code() == Some(NO_WAY) {
        return Ok(Err(
            "no pip here to get the model; SHIMMY_TEST_MODEL can name one".to_owned(),
        ));
    }
    ensure!(
        output.status.success(),
        "scripts/demo-model.sh ended with {}",
        output.status
    );
    let path = String::from_utf8(output.stdout)?;
    let path = Path::new(path.trim());
    ensure!(
        path.is_file(),
        "scripts/demo-model.sh named {}, not there",
        path.display()
    );
    Ok(Ok(path.to_owned()))
}
