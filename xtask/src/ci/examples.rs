//! The examples of the API's document, run one after the other against the release binary with a real
//! model. What they print is not compared: models differ. They must succeed and say something.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::client::{OFFICIAL, built, locate_model};
use super::{Outcome, stranger};
use crate::process;
use crate::workspace::Workspace;

const DOCUMENT: &str = "docs/api.md";
/// Where the examples think that the server is.
const ADDRESS: &str = "127.0.0.1:11435";
/// How long one of them may take.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the server may take to listen.
const START: Duration = Duration::from_secs(20);
/// What goes before each shell example: failures count, and statuses from 400 on are such.
const SHELL: &str = "set -euo pipefail
curl() { command curl --silent --show-error --fail-with-body --noproxy '*' \"$@\"; echo; }
";

/// A block of code in a document.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    language: String,
    /// The line of the document that it begins on.
    line: usize,
    code: String,
}

pub(super) fn run(workspace: &Workspace) -> Result<Outcome> {
    let binary = built(workspace)?;
    let model = match locate_model(workspace)? {
        Ok(model) => model,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let python = match OFFICIAL.python(workspace)? {
        Ok(python) => python,
        Err(other) => return Ok(other),
    };
    let document = fs::read_to_string(workspace.root.join(DOCUMENT)).context(DOCUMENT)?;
    let folder = workspace.target.join("examples-of-documents");
    fs::create_dir_all(&folder)?;
    let server = Server::start(&binary, &model, &folder)?;
    let examples = examples(&document);
    for example in &examples {
        let code = example.code.replace(ADDRESS, &server.address);
        let (program, code) = match example.language.as_str() {
            "sh" => (Path::new("bash"), format!("{SHELL}{code}")),
            _ => (python.as_path(), code),
        };
        let place = format!("{DOCUMENT}:{}", example.line);
        println!("{place}");
        let mut command = stranger::command(program, &folder);
        let said = said_by(command.args(["-c", &code]), &folder).with_context(|| place.clone())?;
        ensure!(!said.trim().is_empty(), "{place}: it prints nothing");
        ensure!(!said.contains("\"error\""), "{place}: {said}");
    }
    Ok(Outcome::Passed(format!("{} examples", examples.len())))
}

/// The blocks of a Markdown text that are run: shell and Python.
fn examples(markdown: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut is_in_one = false;
    let mut is_open = false;
    for (number, line) in markdown.lines().enumerate() {
        match (line.strip_prefix("```"), is_open) {
            (Some(language), false) => {
                is_open = true;
                is_in_one = matches!(language, "sh" | "python");
                if is_in_one {
                    examples.push(Example {
                        language: language.to_owned(),
                        line: number + 1,
                        code: String::new(),
                    });
                }
            }
            (Some(_), true) => (is_open, is_in_one) = (false, false),
            (None, _) => {
                if let Some(example) = examples.last_mut().filter(|_| is_in_one) {
                    example.code.push_str(line);
                    example.code.push('\n');
                }
            }
        }
    }
    examples
}

/// What a command prints that must succeed in time.
fn said_by(command: &mut Command, folder: &Path) -> Result<String> {
    // A pipe would be full at some length, with nobody to empty it.
    let (said, errors) = (folder.join("said.txt"), folder.join("errors.txt"));
    command.stdin(Stdio::null()).stdout(File::create(&said)?);
    let mut child = command.stderr(File::create(&errors)?).spawn()?;
    let status = process::wait_at_most(&mut child, LIMIT)?;
    let (said, errors) = (fs::read_to_string(said)?, fs::read_to_string(errors)?);
    ensure!(
        status.is_some_and(|status| status.success()),
        "it failed: {said}{errors}"
    );
    Ok(said)
}

/// The server that the examples talk to, until it is dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(binary: &Path, model: &Path, folder: &Path) -> Result<Self> {
        let log = folder.join("server.log");
        let mut command = stranger::command(binary, folder);
        command.args(["serve", "--bind", "127.0.0.1:0"]);
        command.env("SHIMMY_BASE_GGUF", model).stdin(Stdio::null());
        let (output, errors) = (
            File::create(&log)?,
            File::options().append(true).open(&log)?,
        );
        let child = command.stdout(output).stderr(errors).spawn()?;
        let mut server = Self {
            child,
            address: String::new(),
        };
        let start = Instant::now();
        while server.address.is_empty() {
            let text = fs::read_to_string(&log)?;
            if let Some((_, rest)) = text.split_once("listening on http://") {
                server.address = rest.lines().next().unwrap_or_default().trim().to_owned();
            }
            ensure!(
                start.elapsed() < START,
                "the server does not listen: {text}"
            );
            process::pause(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_and_python_are_run_and_nothing_else() {
        let text =
            "Words\n```sh\ncurl x\n```\n```json\n{}\n```\n\n```python\nprint(1)\n\nprint(2)\n```\n";
        let found: Vec<_> = examples(text)
            .into_iter()
            .map(|example| (example.language, example.line, example.code))
            .collect();
        assert_eq!(
            found,
            [
                ("sh".to_owned(), 2, "curl x\n".to_owned()),
                ("python".to_owned(), 9, "print(1)\n\nprint(2)\n".to_owned()),
            ]
        );
    }
}
