//! Advisories need their database, which comes over the network: without it nothing was checked,
//! and that must not look like a pass.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;

use super::{Outcome, pass_through, steps};
use crate::process;
use crate::workspace::Workspace;

/// A network that drops packets would make git wait for minutes.
const FETCH_LIMIT: Duration = Duration::from_secs(90);

pub(super) fn run(workspace: &Workspace) -> Result<Outcome> {
    if !process::works("cargo-deny", &["--version"]) {
        return Ok(Outcome::Skipped(steps::NO_DENY.to_owned()));
    }
    let mut fetch = workspace.cargo();
    fetch.args(["deny", "fetch", "db"]).stdin(Stdio::null());
    // No question for a password: whoever runs this may not be there.
    fetch.env("GIT_TERMINAL_PROMPT", "0");
    println!("$ {}", process::display(&fetch));
    let fetched = process::wait_at_most(&mut fetch.spawn()?, FETCH_LIMIT)?;
    if !fetched.is_some_and(|status| status.success()) {
        let reason = "the advisory database cannot be fetched, so nothing was checked";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    pass_through(
        workspace
            .cargo()
            .args(["deny", "--offline", "--locked", "check", "advisories"]),
    )
}
