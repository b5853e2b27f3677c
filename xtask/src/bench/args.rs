//! The command line of `cargo xtask bench`, and what is made of it.

use std::path::{self, Path, PathBuf};
use std::{fs, mem};

use anyhow::{Context as _, Result, bail, ensure};

use super::side::{Kind, Setting, Side};
use super::workloads::Workload;
use crate::workspace::Workspace;

/// Fewer rounds say too little about the spread.
pub(super) const QUOTABLE_ROUNDS: u32 = 5;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show the workloads with what they measure, and nothing else.
    #[arg(long)]
    pub(super) list: bool,
    /// The model that all sides load.
    #[arg(
        long,
        value_name = "GGUF",
        env = "SHIMMY_TEST_MODEL",
        required_unless_present = "list"
    )]
    model: Option<PathBuf>,
    /// The other model of the workload `swap`.
    #[arg(long, value_name = "GGUF")]
    second_model: Option<PathBuf>,
    /// Our binary [default: the release build].
    #[arg(long, value_name = "BIN")]
    shimmy: Option<PathBuf>,
    /// More arguments of our server, quoted as one.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    shimmy_args: Option<String>,
    /// The llama-server to compare with.
    #[arg(long, value_name = "BIN")]
    peer: Option<PathBuf>,
    /// More arguments of the llama-server, quoted as one.
    #[arg(
        long,
        value_name = "ARGS",
        allow_hyphen_values = true,
        requires = "peer"
    )]
    peer_args: Option<String>,
    /// Add a column for the llama-server with these arguments.
    #[arg(
        long,
        value_name = "ARGS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "-np 8 -b 256",
        requires = "peer"
    )]
    peer_tuned: Option<String>,
    /// The llama-bench to compare the engine's speed with.
    #[arg(long, value_name = "BIN")]
    peer_bench: Option<PathBuf>,
    /// Only these workloads, separated by commas [default: all that apply].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<Workload>,
    /// Times that each side is measured.
    #[arg(
        long,
        value_name = "N",
        default_value_t = QUOTABLE_ROUNDS,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(super) rounds: u32,
    /// Threads of all sides [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Tokens of context of all sides.
    #[arg(long, value_name = "TOKENS", default_value_t = 16_384)]
    ctx: u32,
    /// Where bench.json, bench.svg and the servers' logs go [default: `bench` in the target folder].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Args {
    /// What all sides share; makes the folder of the results.
    pub(super) fn setting(&self, workspace: &Workspace) -> Result<Setting> {
        let model = self.model.clone().context("--model is missing")?;
        let files = [
            Some(&model),
            self.second_model.as_ref(),
            self.peer_bench.as_ref(),
        ];
        files
            .into_iter()
            .flatten()
            .try_for_each(|file| check_file(file))?;
        let cores = std::thread::available_parallelism()?.get();
        let folder = self.out.clone();
        let folder = folder.unwrap_or_else(|| workspace.target.join("bench"));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Setting {
            // A list of models for a server needs whole paths. Links stay: the name that a model is
            // known by may be the link's.
            model: path::absolute(model)?,
            second_model: self.second_model.as_ref().map(path::absolute).transpose()?,
            peer_bench: self.peer_bench.clone(),
            threads: self.threads.unwrap_or(cores),
            ctx: self.ctx,
            folder,
        })
    }

    /// Ours first.
    pub(super) async fn sides(&self, workspace: &Workspace) -> Result<Vec<Side>> {
        let ours = self.shimmy.clone();
        let ours = ours.unwrap_or_else(|| workspace.release_binary());
        check_file(&ours)?;
        let arguments = split_arguments(self.shimmy_args.as_deref())?;
        let mut sides = vec![Side::new("shimmy", Kind::Shimmy, ours, arguments).await?];
        if let Some(peer) = &self.peer {
            check_file(peer)?;
            let columns = [
                ("peer", Some(self.peer_args.as_deref().unwrap_or_default())),
                ("peer-tuned", self.peer_tuned.as_deref()),
            ];
            for (name, arguments) in columns {
                if let Some(arguments) = arguments {
                    let arguments = split_arguments(Some(arguments))?;
                    let side = Side::new(name, Kind::LlamaServer, peer.clone(), arguments);
                    sides.push(side.await?);
                }
            }
        }
        Ok(sides)
    }

    /// What was asked for, or all that can be measured with what was given.
    pub(super) fn workloads(&self, setting: &Setting) -> Result<Vec<Workload>> {
        let all = Workload::ALL.into_iter();
        if self.only.is_empty() {
            return Ok(all.filter(|one| one.needs(setting).is_none()).collect());
        }
        let chosen: Vec<Workload> = all.filter(|one| self.only.contains(one)).collect();
        for workload in &chosen {
            if let Some(option) = workload.needs(setting) {
                bail!("the workload {} needs {option}", workload.spec().name);
            }
        }
        Ok(chosen)
    }
}

fn check_file(file: &Path) -> Result<()> {
    ensure!(file.is_file(), "{} is not there", file.display());
    Ok(())
}

/// Splits at spaces; quotes keep a word together, as in a shell, but nothing else is special.
fn split_arguments(text: Option<&str>) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for char in text.unwrap_or_default().chars() {
        match quote {
            Some(open) if char == open => quote = None,
            Some(_) => word.get_or_insert_default().push(char),
            None if char == '"' || char == '\'' => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            None if char.is_whitespace() => words.extend(mem::take(&mut word)),
            None => word.get_or_insert_default().push(char),
        }
    }
    ensure!(
        quote.is_none(),
        "a quote is not closed in {:?}",
        text.unwrap_or_default()
    );
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from([&["bench"], line].concat()).map(|cli| cli.args)
    }

    #[test]
    fn arguments_are_split_as_a_shell_would() {
        let split = |text| split_arguments(Some(text)).expect("words");
        assert_eq!(split(" -np 8  -b 256 "), ["-np", "8", "-b", "256"]);
        assert_eq!(
            split("-a 'x y' --k=\"it's\" ''"),
            ["-a", "x y", "--k=it's", ""]
        );
        assert!(split_arguments(None).expect("nothing").is_empty());
        assert!(split_arguments(Some("-a 'x")).is_err());
    }

    #[test]
    fn the_peers_arguments_may_begin_with_a_dash() {
        let line = [
            "--model",
            "m",
            "--peer",
            "p",
            "--peer-args",
            "-np 4",
            "--peer-tuned",
            "--rounds",
            "2",
        ];
        let args = parse(&line).expect("arguments");
        assert_eq!(args.peer_args.as_deref(), Some("-np 4"));
        assert_eq!(args.peer_tuned.as_deref(), Some("-np 8 -b 256"));
        assert_eq!(args.rounds, 2);
        let args = parse(&["--model", "m", "--peer", "p", "--peer-tuned=-np 16"]);
        assert_eq!(
            args.expect("arguments").peer_tuned.as_deref(),
            Some("-np 16")
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(parse(&["--model", "m", "--peer-args", "-np 4"]).is_err());
        assert!(parse(&["--model", "m", "--peer-tuned"]).is_err());
        assert!(parse(&["--model", "m", "--rounds", "0"]).is_err());
        let error = parse(&["--model", "m", "--only", "start,sprint"]).expect_err("a name");
        assert!(error.to_string().contains("sprint"), "{error}");
    }

    #[test]
    fn workloads_are_chosen_by_name_and_by_what_they_need() {
        let args = parse(&["--model", "m", "--only", "streams-8,swap"]).expect("arguments");
        assert_eq!(args.only, [Workload::Streams8, Workload::Swap]);
        let mut setting = Setting {
            model: "m".into(),
            second_model: None,
            peer_bench: None,
            threads: 1,
            ctx: 1,
            folder: "out".into(),
        };
        let error = args.workloads(&setting).expect_err("no second model");
        assert_eq!(error.to_string(), "the workload swap needs --second-model");
        let all = parse(&["--model", "m"]).expect("arguments");
        let fewer = all.workloads(&setting).expect("workloads");
        assert!(!fewer.contains(&Workload::Swap) && fewer.contains(&Workload::Start));
        setting.second_model = Some("n".into());
        assert!(
            all.workloads(&setting)
                .expect("workloads")
                .contains(&Workload::Swap)
        );
    }
}
