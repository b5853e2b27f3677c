//! The lock file: what was tested is what is built anywhere else.

use anyhow::{Context as _, Result, ensure};

use super::Outcome;
use super::release::output;
use crate::workspace::Workspace;

const FILE: &str = "Cargo.lock";

pub(super) fn run(workspace: &Workspace) -> Result<Outcome> {
    // Cargo fails when it would have to change the file.
    let mut fits = workspace.cargo();
    fits.args(["metadata", "--locked", "--format-version", "1"]);
    output(&mut fits).context("the lock file does not fit the manifests")?;
    let git = || workspace.command("git");
    let tracked = output(git().args(["ls-files", FILE]))?;
    ensure!(
        !tracked.trim().is_empty(),
        "{FILE} is not in the repository\nhint: git add {FILE}"
    );
    let changed = output(git().args(["status", "--porcelain", "--", FILE]))?;
    ensure!(
        changed.trim().is_empty(),
        "{FILE} has changes that are not committed"
    );
    Ok(Outcome::Passed(String::new()))
}
