//! `cargo xtask bench`: the release binary beside a llama-server, one after the other in turn
//! (A B A B), on the same machine in the same run, because only such ratios mean anything.
//!
//! Targets are shown, not enforced: a shared machine is no judge.

mod args;
mod client;
mod http;
mod machine;
mod proc;
mod prompts;
mod results;
mod rounds;
pub(crate) mod server;
mod side;
mod signals;
mod sse;
mod stage;
mod stats;
mod svg;
mod table;
mod workloads;

use std::fmt::Write as _;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::runtime::Builder;

pub(crate) use self::args::Args;
use self::args::QUOTABLE_ROUNDS;
use self::machine::Machine;
use self::results::Results;
use self::side::{Setting, Side};
use self::stage::Place;
use self::workloads::{Figure, MEMORY, Workload};
use crate::workspace::Workspace;

/// Measures, prints the table and writes the files. False when a run failed; a target that is
/// missed and a workload that a server does not have are shown and are no failures.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    if args.list {
        list();
        return Ok(true);
    }
    ensure!(
        cfg!(target_os = "linux"),
        "memory and CPU time are read from /proc, so this runs on Linux only"
    );
    // One thread for everything: the client must not take the processors that it measures.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = measure(workspace, args) => done,
            // Leaving the measurement ends its servers.
            () = interrupted() => bail!("interrupted; the servers are stopped"),
        }
    })
}

fn list() {
    let mut text = String::new();
    for workload in Workload::ALL {
        let spec = workload.spec();
        let needs = workload.option();
        let needs = needs.map_or(String::new(), |option| format!(" (needs {option})"));
        let _ = writeln!(text, "{}{needs}\n    {}", spec.name, spec.about);
        for Figure {
            name, unit, better, ..
        } in spec.figures
        {
            let _ = writeln!(text, "    - {name} ({unit}, {better} is better)");
        }
    }
    let Figure {
        name, unit, better, ..
    } = MEMORY;
    println!("{text}Beside its own figures each server's {name} ({unit}, {better} is better).");
}

async fn measure(workspace: &Workspace, args: &Args) -> Result<bool> {
    let setting = args.setting(workspace)?;
    let workloads = args.workloads(&setting)?;
    let machine = Machine::look();
    let sides = args.sides(workspace).await?;
    for model in [Some(&setting.model), setting.second_model.as_ref()] {
        model.map_or(Ok(()), |model| server::read_through(model))?;
    }
    let ruler = rounds::measure_words(&setting, &sides[0])
        .await
        .context("our server, asked for the length of prompts")?;
    let mut results = Results {
        sides: sides.iter().map(|side| side.name).collect(),
        workloads,
        runs: Vec::new(),
    };
    let about = about(&machine, &setting, &sides, args.rounds)?;
    let (json_file, svg_file) = (
        setting.folder.join("bench.json"),
        setting.folder.join("bench.svg"),
    );
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        for workload in results.workloads.clone() {
            let place = Place {
                round,
                workload,
                ruler,
            };
            rounds::turn(place, &setting, &sides, &mut results).await?;
            // Each time, so that a run that is cut short leaves what it has.
            let json = json!({"about": about, "rows": results.rows(), "runs": results.runs});
            fs::write(&json_file, json.to_string())
                .with_context(|| json_file.display().to_string())?;
        }
    }
    let heading = heading(&machine, &setting, args.rounds);
    println!("{heading}");
    for side in &sides {
        println!(
            "{}: {} {}",
            side.name,
            side.version,
            side.arguments.join(" ")
        );
    }
    println!("\n{}", table::table(&results, machine.cores));
    println!("{}", json_file.display());
    if sides.len() > 1 {
        fs::write(&svg_file, svg::svg(&results, &heading))
            .with_context(|| svg_file.display().to_string())?;
        println!("{}", svg_file.display());
    }
    if args.rounds < QUOTABLE_ROUNDS {
        eprintln!("warning: figures of fewer than {QUOTABLE_ROUNDS} rounds are not to be quoted");
    }
    Ok(!results.has_failures())
}

/// What was measured where, in a line.
fn heading(machine: &Machine, setting: &Setting, rounds: u32) -> String {
    let model = setting.model.file_name().unwrap_or_default().display();
    format!(
        "{model}; {}, which reads {:.0} GB/s; threads: {}; context: {}; rounds: {rounds}",
        machine.cpu, machine.read_bandwidth, setting.threads, setting.ctx
    )
}

/// The same for scripts, with all that could matter.
fn about(machine: &Machine, setting: &Setting, sides: &[Side], rounds: u32) -> Result<Value> {
    let model = |file: &std::path::PathBuf| -> Result<Value> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(json!({"file": name, "bytes": fs::metadata(file)?.len()}))
    };
    let sides: Vec<Value> = sides
        .iter()
        .map(
            |side| json!({"name": side.name, "version": side.version, "arguments": side.arguments}),
        )
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(json!({
        "unix_time": now.as_secs(),
        "machine": machine,
        "model": model(&setting.model)?,
        "second_model": setting.second_model.as_ref().map(model).transpose()?,
        "threads": setting.threads,
        "ctx": setting.ctx,
        "rounds": rounds,
        "sides": sides,
    }))
}

/// Waits for the user or the system to end this program.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
