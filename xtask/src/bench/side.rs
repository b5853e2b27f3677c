//! The sides that are compared: which program, with which arguments for which purpose.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{env, fmt};

use anyhow::{Context as _, Result};
use tokio::process::Command;
use tokio::time::timeout;

/// For `--version` and `--help`.
const TELL_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Shimmy,
    LlamaServer,
}

/// One column of the result.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    binary: PathBuf,
    /// What the user adds to every start.
    pub(super) arguments: Vec<String>,
    pub(super) version: String,
    help: String,
}

/// What is the same for all sides and workloads.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) model: PathBuf,
    pub(super) second_model: Option<PathBuf>,
    pub(super) peer_bench: Option<PathBuf>,
    pub(super) threads: usize,
    pub(super) ctx: u32,
    /// For logs, caches and results.
    pub(super) folder: PathBuf,
}

/// What a server is started for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role<'a> {
    /// Chats with one model.
    Chat,
    Embeddings,
    /// Chats that a later process goes on with, from what is kept in the folder.
    Resume(&'a Path),
    /// Chats with two models, of which one is loaded at a time; the peer's list of them is written
    /// to the file.
    Swap {
        second: &'a Path,
        list: &'a Path,
    },
}

/// A server does not offer what a workload needs.
#[derive(Debug)]
pub(super) struct NotSupported(pub(super) String);

impl fmt::Display for NotSupported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not supported: {}", self.0)
    }
}

impl std::error::Error for NotSupported {}

impl Side {
    /// Asks the program who it is.
    pub(super) async fn new(
        name: &'static str,
        kind: Kind,
        binary: PathBuf,
        arguments: Vec<String>,
    ) -> Result<Self> {
        let version = tell(&binary, &["--version"]).await?;
        let help = match kind {
            Kind::Shimmy => tell(&binary, &["serve", "--help"]).await?,
            Kind::LlamaServer => tell(&binary, &["--help"]).await?,
        };
        let version = version.lines().find(|line| !line.trim().is_empty());
        Ok(Self {
            name,
            kind,
            version: version.unwrap_or("unknown").trim().to_owned(),
            binary,
            arguments,
            help,
        })
    }

    /// The command of a server for this purpose, which drafts tokens or does not.
    pub(super) fn serve(
        &self,
        setting: &Setting,
        role: Role<'_>,
        drafts: bool,
        port: u16,
    ) -> Result<Command> {
        let mut command = self.program();
        match self.kind {
            Kind::Shimmy => {
                command.args(["serve", "--bind", &format!("127.0.0.1:{port}")]);
                command.args(engine_arguments(setting));
                // What a run before this one left on disk is no merit of this one.
                if !matches!(role, Role::Resume(_)) && has_option(&self.help, "--cache-dir") {
                    command.args(["--cache-dir", "none"]);
                }
                // Small models repeat themselves when they choose greedily, which drafts would turn into
                // speed that sensible answers do not have.
                if !drafts && has_option(&self.help, "--drafts") {
                    command.args(["--drafts", "off"]);
                }
                match role {
                    // No option to embed: a build without the route says so when it is asked.
                    Role::Chat | Role::Embeddings => {}
                    Role::Resume(folder) => {
                        self.require("--cache-dir")?;
                        command.arg("--cache-dir").arg(folder);
                    }
                    Role::Swap { second, .. } => {
                        let folder = second.parent().context("a model without a folder")?;
                        command.arg("--model-dirs").arg(folder);
                    }
                }
            }
            Kind::LlamaServer => {
                command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
                command.args(["-t", &setting.threads.to_string()]);
                command.args(["-c", &setting.ctx.to_string()]);
                match role {
                    Role::Swap { second, list } => {
                        self.require("--models-preset")?;
                        write_preset(list, &setting.model, second)?;
                        command.arg("--models-preset").arg(list);
                        command.args(["--models-max", "1"]);
                    }
                    Role::Embeddings => {
                        command.arg("-m").arg(&setting.model);
                        command.args(["--embedding", "--pooling", "mean"]);
                    }
                    // Its slots can be saved to files, but only by a client that says so.
                    Role::Chat | Role::Resume(_) => {
                        command.arg("-m").arg(&setting.model);
                    }
                }
            }
        }
        command.args(&self.arguments);
        Ok(command)
    }

    /// `shimmy generate`.
    pub(super) fn generate(&self, setting: &Setting) -> Command {
        let mut command = self.program();
        command.args(["generate", "--prompt", "Say hello.", "--temperature", "0"]);
        command.args(["--max-tokens", "8"]);
        command.args(engine_arguments(setting));
        command
    }

    fn program(&self) -> Command {
        let mut command = Command::new(&self.binary);
        // Only what is on the command lines is compared.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if ["SHIMMY_", "LLAMA_"]
                .iter()
                .any(|start| name.starts_with(start))
            {
                command.env_remove(&*name);
            }
        }
        command
    }

    fn require(&self, option: &str) -> Result<()> {
        if has_option(&self.help, option) {
            return Ok(());
        }
        Err(NotSupported(format!("this build has no {option}")).into())
    }
}

fn engine_arguments(setting: &Setting) -> Vec<std::ffi::OsString> {
    let (ctx, threads) = (setting.ctx.to_string(), setting.threads.to_string());
    let model = setting.model.clone().into_os_string();
    vec![
        "--model-path".into(),
        model,
        "--ctx".into(),
        ctx.into(),
        "--threads".into(),
        threads.into(),
    ]
}

/// The names under which the peer knows the two models of a swap.
pub(super) const PRESET_NAMES: [&str; 2] = ["first", "second"];

fn write_preset(list: &Path, first: &Path, second: &Path) -> Result<()> {
    let mut text = String::from("version = 1\n");
    for (name, model) in PRESET_NAMES.into_iter().zip([first, second]) {
        text += &format!("[{name}]\nmodel = {}\n", model.display());
    }
    std::fs::write(list, text).with_context(|| list.display().to_string())
}

/// Whether a help text has the option as a word of its own.
fn has_option(help: &str, option: &str) -> bool {
    help.split(|char: char| char.is_whitespace() || ",[]<>=|".contains(char))
        .any(|word| word == option)
}

/// What a program writes when asked, to either output.
async fn tell(binary: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(TELL_LIMIT, command.output())
        .await
        .with_context(|| format!("{} does not answer {arguments:?}", binary.display()))?
        .with_context(|| format!("{} cannot be started", binary.display()))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(kind: Kind, help: &str) -> Side {
        Side {
            name: "x",
            kind,
            binary: "server".into(),
            arguments: vec!["-np".to_owned(), "8".to_owned()],
            version: String::new(),
            help: help.to_owned(),
        }
    }

    fn setting() -> Setting {
        Setting {
            model: "m/one.gguf".into(),
            second_model: None,
            peer_bench: None,
            threads: 2,
            ctx: 4096,
            folder: "out".into(),
        }
    }

    fn line(side: &Side, role: Role<'_>) -> Result<String> {
        let drafts = matches!(role, Role::Embeddings);
        let command = side.serve(&setting(), role, drafts, 9)?;
        Ok(crate::process::display(command.as_std()))
    }

    #[test]
    fn each_side_is_started_in_its_own_words() {
        let ours = side(Kind::Shimmy, "      --cache-dir <FOLDER>  Keep");
        let text = line(&ours, Role::Resume(Path::new("kept"))).expect("a command");
        assert!(text.ends_with(
            "server serve --bind 127.0.0.1:9 --model-path m/one.gguf --ctx 4096 --threads 2 \
             --cache-dir kept -np 8"
        ));
        let text = line(&ours, Role::Chat).expect("a command");
        assert!(
            text.ends_with("--threads 2 --cache-dir none -np 8"),
            "{text}"
        );
        let drafting = side(Kind::Shimmy, "      --drafts <WHEN>  Draft");
        let text = line(&drafting, Role::Chat).expect("a command");
        assert!(text.ends_with("--threads 2 --drafts off -np 8"), "{text}");
        let text = line(&drafting, Role::Embeddings).expect("a command");
        assert!(text.ends_with("--threads 2 -np 8"), "{text}");
        let peer = side(Kind::LlamaServer, "");
        let text = line(&peer, Role::Embeddings).expect("a command");
        assert!(text.ends_with(
            "server --host 127.0.0.1 --port 9 -t 2 -c 4096 -m m/one.gguf --embedding \
             --pooling mean -np 8"
        ));
    }

    #[test]
    fn what_a_build_does_not_have_is_said_so() {
        let ours = side(Kind::Shimmy, "      --cache-dirs <FOLDERS>  Keep");
        let error = line(&ours, Role::Resume(Path::new("kept"))).expect_err("no such option");
        assert_eq!(
            error.to_string(),
            "not supported: this build has no --cache-dir"
        );
        assert!(error.is::<NotSupported>());
    }

    #[test]
    fn options_are_found_as_whole_words() {
        let help = "-c,    --ctx-size N  size\n--models-preset PATH\n  [--x|--y=N]";
        assert!(
            ["-c", "--ctx-size", "--models-preset", "--x", "--y"]
                .iter()
                .all(|option| has_option(help, option))
        );
        assert!(!has_option(help, "--models"));
    }
}
