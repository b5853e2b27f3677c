//! `shimmy doctor`: checks what has to be right for this program to work, and says what to do.
//!
//! One file per kind of check, each of which only looks: nothing is changed, started or sent beyond
//! this machine.

mod build;
mod caches;
mod machine;
mod models;
mod port;
mod port_holder;
mod settings;

use serde::Serialize;
use serde_json::json;

use super::{print, print_json};
use crate::cli::DoctorArgs;
use crate::failure::Failure;
use crate::terminal::STDOUT;

/// What a check found.
#[derive(Debug, Clone, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    /// What to do about it.
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// It works, though not as well as it could.
    Warn,
    /// It does not work.
    Fail,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            detail: detail.into(),
            hint: None,
        }
    }

    fn warn(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            status: Status::Warn,
            hint: Some(hint.into()),
            ..Self::ok(name, detail)
        }
    }

    fn fail(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(name, detail, hint)
        }
    }
}

pub(super) fn run(args: DoctorArgs) -> Result<(), Failure> {
    let mut checks = vec![build::engines(), build::processor(), build::gpus()];
    checks.push(machine::memory());
    checks.push(settings::file());
    checks.push(settings::served(&args));
    checks.extend(settings::tokens(&args.listen));
    checks.push(port::check(&args.listen));
    checks.extend(models::checks(args.models));
    checks.extend(caches::checks(&args.weights, &args.prefixes));

    let failed = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .count();
    if args.json {
        print_json(&json!({ "ok": failed == 0, "checks": checks }))?;
    } else {
        print(&checks.iter().map(lines).collect::<String>())?;
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::new("one check failed").hint("it says above what to do")),
        several => {
            Err(Failure::new(format!("{several} checks failed")).hint("each says above what to do"))
        }
    }
}

fn lines(check: &Check) -> String {
    let (word, colour) = match check.status {
        Status::Ok => ("ok", "32"),
        Status::Warn => ("warn", "33"),
        Status::Fail => ("fail", "31"),
    };
    let word = match STDOUT.has_colours() {
        true => format!("\x1b[{colour}m{word:<4}\x1b[0m"),
        false => format!("{word:<4}"),
    };
    let mut text = format!("{word}  {:<11} {}\n", check.name, check.detail);
    if let Some(hint) = &check.hint {
        text.push_str(&format!("      hint: {hint}\n"));
    }
    text
}
