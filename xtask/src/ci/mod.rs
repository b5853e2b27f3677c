//! `cargo xtask ci`: every check of the project in one run, with a summary that hides nothing.
//!
//! This file runs steps and reports; `steps` says which there are, and `gates` which of them a release
//! has to pass.

mod advisories;
mod arm;
mod build;
mod client;
mod deploy;
mod examples;
mod figures;
mod gates;
mod limits;
mod lock;
mod package;
mod python;
mod release;
mod steps;
pub(crate) mod stranger;

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::workspace::Workspace;

pub(crate) use gates::{Args as GateArgs, run as run_gates};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Leave out the steps that need a real model or a client from a package registry.
    #[arg(long)]
    skip_clients: bool,
    /// Run only this step; may be given several times.
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Name the steps and what they do.
    #[arg(long)]
    list: bool,
}

/// One check.
struct Step {
    name: &'static str,
    about: &'static str,
    /// The step whose result this one uses.
    needs: Option<&'static str>,
    /// Whether `--skip-clients` leaves it out.
    is_client: bool,
    /// Whether it takes minutes and runs only where it is named: for a release, or by `--only`.
    is_long: bool,
    run: fn(&Workspace) -> Result<Outcome>,
}

/// How a step ended. An error that a step returns counts as failed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// With what is worth knowing, or nothing.
    Passed(String),
    /// With the reason.
    Failed(String),
    /// With the reason.
    Skipped(String),
}

#[derive(Debug)]
struct Report {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Runs the steps that the arguments ask for; true when none failed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    if args.list {
        for step in steps::ALL {
            println!("{:<16} {}", step.name, step.about);
        }
        return Ok(true);
    }
    if let Some(name) = args
        .only
        .iter()
        .find(|name| !steps::ALL.iter().any(|s| s.name == **name))
    {
        bail!("there is no step {name:?}\nhint: `cargo xtask ci --list` names them");
    }
    let mut reports: Vec<Report> = Vec::new();
    for step in steps::ALL {
        let is_named = args.only.iter().any(|name| name == step.name);
        if !is_named && (!args.only.is_empty() || step.is_long) {
            continue;
        }
        reports.push(run_step(workspace, step, args, &reports));
    }
    print!("{}", summary("step", &reports));
    Ok(!reports
        .iter()
        .any(|report| matches!(report.outcome, Outcome::Failed(_))))
}

fn reason_to_skip(step: &Step, args: &Args, reports: &[Report]) -> Option<String> {
    if step.is_client && args.skip_clients {
        return Some("--skip-clients".to_owned());
    }
    let needed = reports
        .iter()
        .find(|report| Some(report.name) == step.needs)?;
    match &needed.outcome {
        Outcome::Passed(_) => None,
        Outcome::Failed(_) => Some(format!("{} failed", needed.name)),
        Outcome::Skipped(_) => Some(format!("{} was skipped", needed.name)),
    }
}

/// Runs a step, unless an earlier report or the arguments say not to.
fn run_step(workspace: &Workspace, step: &Step, args: &Args, earlier: &[Report]) -> Report {
    let start = Instant::now();
    let outcome = match reason_to_skip(step, args, earlier) {
        Some(reason) => Outcome::Skipped(reason),
        None => {
            println!("\n==> {}: {}", step.name, step.about);
            let outcome = (step.run)(workspace);
            outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
        }
    };
    match &outcome {
        Outcome::Passed(_) => {}
        Outcome::Failed(reason) => println!("failed: {reason}"),
        Outcome::Skipped(reason) => println!("skipped: {reason}"),
    }
    Report {
        name: step.name,
        outcome,
        took: start.elapsed(),
    }
}

/// Runs a command with its output passed through; its exit status is the outcome.
fn pass_through(command: &mut Command) -> Result<Outcome> {
    println!("$ {}", process::display(command));
    std::io::stdout().flush()?;
    let status = command
        .status()
        .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    Ok(if status.success() {
        Outcome::Passed(String::new())
    } else {
        Outcome::Failed(format!("{} ended with {status}", process::display(command)))
    })
}

/// The closing table and the counts, the counts alone on the last line.
fn summary(title: &str, reports: &[Report]) -> String {
    let mut text = format!("\n{title:<16} {:<8} {:>8}  note\n", "result", "time");
    let mut counts = [0_usize; 3];
    for report in reports {
        let (index, word, note) = match &report.outcome {
            Outcome::Passed(note) => (0, "passed", note),
            Outcome::Failed(note) => (1, "FAILED", note),
            Outcome::Skipped(note) => (2, "skipped", note),
        };
        counts[index] += 1;
        let note = note.lines().next().unwrap_or_default();
        let seconds = format!("{:.1} s", report.took.as_secs_f64());
        let line = format!("{:<16} {word:<8} {seconds:>8}  {note}", report.name);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let [passed, failed, skipped] = counts;
    text.push_str(&format!(
        "\n{passed} passed, {failed} failed, {skipped} skipped\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &'static str, outcome: Outcome) -> Report {
        Report {
            name,
            outcome,
            took: Duration::from_millis(1500),
        }
    }

    fn step(needs: Option<&'static str>, is_client: bool) -> Step {
        Step {
            name: "after",
            about: "",
            needs,
            is_client,
            is_long: false,
            run: |_| Ok(Outcome::Passed(String::new())),
        }
    }

    const ARGS: Args = Args {
        skip_clients: false,
        only: Vec::new(),
        list: false,
    };

    #[test]
    fn the_summary_counts_and_gives_reasons() {
        let reports = [
            report("fmt", Outcome::Passed(String::new())),
            report(
                "tests",
                Outcome::Failed("cargo test ended with 101\nmore".into()),
            ),
            report("advisories", Outcome::Skipped("no database".into())),
        ];
        let text = summary("step", &reports);
        assert_eq!(
            text,
            "\nstep             result       time  note\n\
             fmt              passed      1.5 s\n\
             tests            FAILED      1.5 s  cargo test ended with 101\n\
             advisories       skipped     1.5 s  no database\n\n\
             1 passed, 1 failed, 1 skipped\n"
        );
    }

    #[test]
    fn a_step_runs_only_after_the_one_it_needs_has_passed() {
        let skip = |outcome: Outcome| {
            reason_to_skip(
                &step(Some("first"), false),
                &ARGS,
                &[report("first", outcome)],
            )
        };
        assert_eq!(skip(Outcome::Passed(String::new())), None);
        assert_eq!(
            skip(Outcome::Failed("x".into())),
            Some("first failed".into())
        );
        assert_eq!(
            skip(Outcome::Skipped("x".into())),
            Some("first was skipped".into())
        );
        // Left out with `--only`: what an earlier run built is used.
        assert_eq!(
            reason_to_skip(&step(Some("first"), false), &ARGS, &[]),
            None
        );
    }

    #[test]
    fn clients_can_be_left_out() {
        let args = Args {
            skip_clients: true,
            ..ARGS
        };
        assert!(reason_to_skip(&step(None, true), &args, &[]).is_some());
        assert!(reason_to_skip(&step(None, false), &args, &[]).is_none());
    }

    #[test]
    fn every_need_names_an_earlier_step() {
        for (index, step) in steps::ALL.iter().enumerate() {
            if let Some(needs) = step.needs {
                assert!(
                    steps::ALL[..index]
                        .iter()
                        .any(|earlier| earlier.name == needs),
                    "{needs}"
                );
            }
        }
    }
}
