//! `cargo xtask gates`: what a release has to pass, as six gates made of the steps of `ci`. A gate fails
//! with any of its steps, and also when a step checked nothing that this gate needs.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{Args as StepArgs, Outcome, Report, run_step, steps, summary};
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this gate; may be given several times.
    #[arg(long, value_name = "GATE")]
    only: Vec<String>,
    /// Name the gates, with their steps.
    #[arg(long)]
    list: bool,
}

struct Gate {
    name: &'static str,
    about: &'static str,
    steps: &'static [&'static str],
    /// Those of the steps that may be skipped: a network or a tool that not every machine has.
    may_skip: &'static [&'static str],
}

const GATES: [Gate; 6] = [
    Gate {
        name: "lock",
        about: "the lock file is fresh and committed",
        steps: &["lock"],
        may_skip: &[],
    },
    Gate {
        name: "llama",
        about: "the release build with llama.cpp, warnings denied",
        steps: &["release"],
        may_skip: &[],
    },
    Gate {
        name: "features",
        about: "every set of features that can be built here",
        steps: &["features"],
        may_skip: &[],
    },
    Gate {
        name: "artefacts",
        about: "archive and wheel install into empty places and answer",
        steps: &["release", "archive", "wheel", "deploy"],
        may_skip: &[],
    },
    Gate {
        name: "figures",
        about: "size and speed are within their limits",
        steps: &["release", "figures"],
        may_skip: &[],
    },
    Gate {
        name: "checks",
        about: "tests, documents and licences",
        steps: &[
            "fmt",
            "tidy",
            "deny",
            "advisories",
            "docs",
            "tests",
            "tests-stub",
            "tests-native",
            "native-arm",
            "doc-tests",
            "examples",
        ],
        may_skip: &["advisories", "native-arm"],
    },
];

/// Runs the gates that the arguments ask for; true when all were passed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    if args.list {
        for gate in &GATES {
            println!(
                "{:<16} {} ({})",
                gate.name,
                gate.about,
                gate.steps.join(", ")
            );
        }
        return Ok(true);
    }
    let is_gate = |name: &&String| GATES.iter().any(|gate| gate.name == **name);
    if let Some(name) = args.only.iter().find(|name| !is_gate(name)) {
        bail!("there is no gate {name:?}\nhint: `cargo xtask gates --list` names them");
    }
    let mut done: Vec<Report> = Vec::new();
    let mut gates = Vec::new();
    for gate in &GATES {
        if args.only.is_empty() || args.only.iter().any(|name| name == gate.name) {
            println!("\n=== gate {}: {}", gate.name, gate.about);
            let earlier = done.len();
            run_steps(workspace, gate, &mut done);
            gates.push(judge(gate, &done, earlier));
        }
    }
    print!("{}{}", summary("step", &done), summary("gate", &gates));
    Ok(gates
        .iter()
        .all(|gate| matches!(gate.outcome, Outcome::Passed(_))))
}

/// Runs those steps of a gate that no earlier gate has run.
fn run_steps(workspace: &Workspace, gate: &Gate, done: &mut Vec<Report>) {
    for step in steps::ALL
        .iter()
        .filter(|step| gate.steps.contains(&step.name))
    {
        if !done.iter().any(|report| report.name == step.name) {
            let report = run_step(workspace, step, &StepArgs::default(), done);
            done.push(report);
        }
    }
}

/// What the reports of its steps mean for a gate. So many of them are of earlier gates, which have said
/// what there was to say and taken the time.
fn judge(gate: &Gate, done: &[Report], earlier: usize) -> Report {
    let mut took = Duration::ZERO;
    let mut notes = Vec::new();
    let mut is_passed = true;
    for (index, report) in done.iter().enumerate() {
        if !gate.steps.contains(&report.name) {
            continue;
        }
        let is_own = index >= earlier;
        if is_own {
            took += report.took;
        }
        match &report.outcome {
            Outcome::Passed(note) if note.is_empty() || !is_own => {}
            Outcome::Passed(note) => notes.push(note.clone()),
            Outcome::Failed(reason) => {
                is_passed = false;
                notes.push(format!("{} failed: {reason}", report.name));
            }
            Outcome::Skipped(reason) => {
                is_passed &= gate.may_skip.contains(&report.name);
                notes.push(format!("{} was skipped: {reason}", report.name));
            }
        }
    }
    let note = notes.join("; ").replace('\n', " ");
    Report {
        name: gate.name,
        outcome: if is_passed {
            Outcome::Passed(note)
        } else {
            Outcome::Failed(note)
        },
        took,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &'static str, outcome: Outcome) -> Report {
        Report {
            name,
            outcome,
            took: Duration::from_secs(1),
        }
    }

    const GATE: Gate = Gate {
        name: "gate",
        about: "",
        steps: &["one", "two"],
        may_skip: &["two"],
    };

    #[test]
    fn a_gate_holds_what_its_steps_hold() {
        let passed = || report("one", Outcome::Passed("fine".into()));
        let skipped = |name| report(name, Outcome::Skipped("no tool".into()));
        let failed = report("two", Outcome::Failed("broken".into()));
        let other = report("three", Outcome::Failed("not of this gate".into()));
        assert_eq!(
            judge(&GATE, &[passed(), skipped("two"), other], 0).outcome,
            Outcome::Passed("fine; two was skipped: no tool".into())
        );
        assert_eq!(
            judge(&GATE, &[passed(), failed], 1).outcome,
            Outcome::Failed("two failed: broken".into())
        );
        assert!(matches!(
            judge(&GATE, &[skipped("one")], 1).outcome,
            Outcome::Failed(_)
        ));
    }

    #[test]
    fn gates_are_made_of_steps_that_exist() {
        for gate in &GATES {
            for name in gate.steps.iter().chain(gate.may_skip) {
                assert!(steps::ALL.iter().any(|step| step.name == *name), "{name}");
            }
            assert!(gate.may_skip.iter().all(|name| gate.steps.contains(name)));
        }
    }
}
