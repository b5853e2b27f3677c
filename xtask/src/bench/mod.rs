//! `cargo xtask bench`: the release binary beside a llama-server, one after the other in turn
//! (A B A B), on the same machine in the same run, because only such ratios mean anything.
//!
//! Targets are shown, not enforced: a shared machine is no judge.

mod http;
mod measure;
mod report;
mod server;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use self::report::Figures;
use self::server::Server;
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model that both sides load.
    #[arg(long, value_name = "GGUF", env = "SHIMMY_TEST_MODEL")]
    model: PathBuf,
    /// Our binary [default: the release build].
    #[arg(long, value_name = "BIN")]
    shimmy: Option<PathBuf>,
    /// The llama-server to compare with.
    #[arg(long, value_name = "BIN")]
    peer: Option<PathBuf>,
    /// The llama-bench to compare the engine's speed with.
    #[arg(long, value_name = "BIN")]
    peer_bench: Option<PathBuf>,
    /// Times that each side is measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Threads of both sides [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Tokens of context of both sides.
    #[arg(long, value_name = "TOKENS", default_value_t = 16_384)]
    ctx: u32,
    /// Print JSON, with the value of every round.
    #[arg(long)]
    json: bool,
}

/// What stays the same from round to round.
#[derive(Debug)]
struct Plan {
    shimmy: PathBuf,
    model: PathBuf,
    threads: usize,
    ctx: u32,
    logs: PathBuf,
}

/// Measures and prints. A target that is missed is shown and is no failure.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let plan = plan(workspace, args)?;
    // Both sides are to find the model in the page cache: disks are not what is compared.
    std::io::copy(&mut File::open(&plan.model)?, &mut std::io::sink())?;
    let mut figures = Figures::default();
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        figures
            .ours
            .push(measure::server_round(plan.start_shimmy()?).context("shimmy")?);
        if let Some(peer) = &args.peer {
            let server = plan.start_peer(peer)?;
            figures
                .peer
                .push(measure::server_round(server).context("the peer")?);
        }
        let first = measure::first_output(&mut plan.generate()).context("shimmy generate")?;
        figures.in_process.push(first.as_secs_f64());
        if let Some(bench) = &args.peer_bench {
            let (decode, prefill) = measure::engine_speeds(bench, &plan.model, plan.threads)?;
            figures.engine_decode.push(decode);
            figures.engine_prefill.push(prefill);
        }
    }
    let rows = report::rows(&figures);
    if args.json {
        let mut result = report::json(&rows, &figures);
        result["machine"] = json!({
            "cpu": cpu_name(),
            "threads": plan.threads,
            "model": plan.model.file_name().map(|name| name.to_string_lossy()),
            "ctx": plan.ctx,
        });
        println!("{result:#}");
    } else {
        println!(
            "{}; {} threads; context {}",
            cpu_name(),
            plan.threads,
            plan.ctx
        );
        print!("{}", report::table(&rows));
    }
    Ok(true)
}

fn plan(workspace: &Workspace, args: &Args) -> Result<Plan> {
    let shimmy = args
        .shimmy
        .clone()
        .unwrap_or_else(|| workspace.release_binary());
    for file in [
        Some(&shimmy),
        Some(&args.model),
        args.peer.as_ref(),
        args.peer_bench.as_ref(),
    ] {
        let missing = file.filter(|file| !file.is_file());
        ensure!(
            missing.is_none(),
            "{} is not there",
            missing.map_or(Path::new(""), |f| f).display()
        );
    }
    let cores = std::thread::available_parallelism()?.get();
    let logs = workspace.target.join("bench");
    fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
    Ok(Plan {
        shimmy,
        model: args.model.clone(),
        threads: args.threads.unwrap_or(cores),
        ctx: args.ctx,
        logs,
    })
}

impl Plan {
    fn shimmy(&self) -> Command {
        let mut command = Command::new(&self.shimmy);
        command
            .env("SHIMMY_BASE_GGUF", &self.model)
            .env("SHIMMY_CTX", self.ctx.to_string())
            .env("SHIMMY_THREADS", self.threads.to_string())
            .env_remove("SHIMMY_API_KEY");
        command
    }

    fn start_shimmy(&self) -> Result<Server> {
        let port = server::free_port()?;
        let mut command = self.shimmy();
        command.args(["serve", "--bind", &format!("127.0.0.1:{port}")]);
        Server::start(&mut command, port, &self.logs.join("shimmy.log"))
    }

    /// llama-server with its defaults, but for the threads and the context that both sides share.
    fn start_peer(&self, peer: &Path) -> Result<Server> {
        let port = server::free_port()?;
        let mut command = Command::new(peer);
        command
            .arg("-m")
            .arg(&self.model)
            .args(["--host", "127.0.0.1", "--port"]);
        command.arg(port.to_string());
        command.args(["-t", &self.threads.to_string(), "-c", &self.ctx.to_string()]);
        Server::start(&mut command, port, &self.logs.join("peer.log"))
    }

    fn generate(&self) -> Command {
        let mut command = self.shimmy();
        command.args(["generate", "--prompt", "Say hello.", "--temperature", "0"]);
        command.args(["--max-tokens", "8"]);
        command
    }
}

/// The processor's own name, where the system tells it.
fn cpu_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line
        .and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
