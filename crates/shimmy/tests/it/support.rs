//! Runs the binary: commands to their end, servers until they are dropped.

#![cfg_attr(
    not(any(feature = "llama", feature = "native")),
    expect(dead_code, reason = "the tests of the stub need less of it")
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;
use shimmy_testkit::tiny;
use tempfile::TempDir;

/// The engine that the tests run on: llama.cpp where it is compiled in, unless `SHIMMY_TEST_ENGINE`
/// says otherwise.
fn engine() -> String {
    let default = match cfg!(feature = "llama") {
        true => "llama",
        false => "auto",
    };
    std::env::var("SHIMMY_TEST_ENGINE").unwrap_or_else(|_| default.to_owned())
}

/// The binary in an empty world: no settings of the machine's owner, no models of his.
pub(crate) fn shimmy(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shimmy"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHIMMY_")) {
        command.env_remove(name);
    }
    let places = [
        "LLAMA_CACHE",
        "HF_HUB_CACHE",
        "HF_HOME",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
    ];
    for name in places
        .into_iter()
        .chain(["HF_TOKEN", "HF_ENDPOINT", "VIRTUAL_ENV"])
    {
        command.env_remove(name);
    }
    command
        .env("HOME", folder)
        // Beside the home's there is a service's, which is not of this world.
        .env("OLLAMA_MODELS", folder.join(".ollama/models"))
        .env("NO_COLOR", "1")
        .env("SHIMMY_ENGINE", engine())
        .env_remove("RUST_LOG")
        // How wide help is printed.
        .env_remove("COLUMNS")
        .env_remove("OLLAMA_HOST")
        .current_dir(folder);
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn run(folder: &Path, args: &[&str]) -> Outcome {
    run_with_input(folder, args, "")
}

/// Runs a command with something on its standard input.
pub(crate) fn run_with_input(folder: &Path, args: &[&str], input: &str) -> Outcome {
    let mut child = shimmy(folder)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that does not read its input may have ended already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    outcome(&child.wait_with_output().expect("the binary ends"))
}

/// Runs a whole command line to its end.
pub(crate) fn run_command(mut command: Command) -> Outcome {
    outcome(&command.output().expect("the binary runs"))
}

fn outcome(output: &Output) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// A folder with one tiny model in it, `tiny.gguf`.
pub(crate) fn tiny_folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tiny.gguf");
    tiny::Model::new().write(&path).expect("written");
    (folder, path)
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str()
        .expect("a temporary folder's name is plain text")
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    base: String,
    client: reqwest::blocking::Client,
    /// What it wrote to standard error, once that is closed.
    log: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts `shimmy serve` on a free port and waits for the line with its address.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        let mut command = shimmy(folder);
        command.args(["serve", "--bind", "127.0.0.1:0"]).args(args);
        Self::launch(command)
    }

    /// Starts a whole command line, and waits as above.
    pub(crate) fn launch(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        let Some((_, base)) = line.trim_end().split_once("listening on ") else {
            // It would outlive the test, and hold its output open.
            let _ = child.kill();
            panic!("no address in {line:?}");
        };
        let base = base.to_owned();
        let log = std::thread::spawn(move || {
            let mut rest = String::new();
            // Whatever could be read is kept.
            let _ = stderr.read_to_string(&mut rest);
            rest
        });
        let client = reqwest::blocking::Client::builder()
            .timeout(None)
            .build()
            .expect("a client");
        Self {
            child,
            base,
            client,
            log: Some(log),
        }
    }

    /// A server whose base model is this file.
    pub(crate) fn with_model(folder: &Path, model: &Path, args: &[&str]) -> Self {
        let all: Vec<&str> = ["--model-path", text(model)]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        Self::start(folder, &all)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let response = self.client.get(self.url(path)).send().expect("an answer");
        (response.status().as_u16(), response.json().expect("JSON"))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self
            .client
            .post(self.url(path))
            .json(body)
            .send()
            .expect("an answer");
        (response.status().as_u16(), response.json().expect("JSON"))
    }

    /// A response whose body has not been read.
    pub(crate) fn open(&self, path: &str, body: &Value) -> reqwest::blocking::Response {
        self.client
            .post(self.url(path))
            .json(body)
            .send()
            .expect("an answer")
    }

    /// The text of a native answer that must succeed.
    pub(crate) fn generate(&self, body: &Value) -> String {
        let (status, answer) = self.post("/api/generate", body);
        assert_eq!(status, 200, "{answer}");
        answer["response"].as_str().expect("a text").to_owned()
    }

    /// The status and the data of each event of a native stream.
    pub(crate) fn stream(&self, body: &Value) -> (u16, Vec<String>) {
        let mut body = body.clone();
        body["stream"] = Value::Bool(true);
        let response = self.open("/api/generate", &body);
        let status = response.status().as_u16();
        let lines = BufReader::new(response)
            .lines()
            .map(|line| line.expect("text"));
        (
            status,
            lines
                .filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
                .collect(),
        )
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for the end, and returns it with the log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("an end");
        let log = self
            .log
            .take()
            .expect("only here")
            .join()
            .expect("the reader ends");
        (status, log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
