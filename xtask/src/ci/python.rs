//! Python packages that steps work with: pinned in a file of the repository, kept in a virtual
//! environment in the target folder. Must not know what they are for.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Outcome, pass_through};
use crate::process;
use crate::workspace::Workspace;

/// Packages that are installed together, with the folder they are kept in.
pub(super) struct Packages {
    /// In the workspace.
    pub(super) requirements: &'static str,
    /// In the target folder.
    pub(super) folder: &'static str,
}

impl Packages {
    /// The Python of an environment that holds them, or why there is none.
    pub(super) fn python(&self, workspace: &Workspace) -> Result<Result<PathBuf, Outcome>> {
        let folder = workspace.target.join(self.folder);
        if !process::works(program(&folder, "python"), &["-m", "pip", "--version"])
            && let Err(other) = create(workspace, &folder)?
        {
            return Ok(Err(other));
        }
        install(workspace, &folder, &["--requirement", self.requirements])
    }

    /// A program that one of them brings.
    pub(super) fn program(&self, workspace: &Workspace, name: &str) -> PathBuf {
        program(&workspace.target.join(self.folder), name)
    }
}

/// Makes a new and empty environment; what was in the folder is gone.
pub(super) fn create(workspace: &Workspace, folder: &Path) -> Result<Result<(), Outcome>> {
    let python = if cfg!(windows) { "python" } else { "python3" };
    if !process::works(python, &["-c", "import venv, ensurepip"]) {
        let reason = "no Python with venv here (Debian and Ubuntu: apt-get install python3-venv)";
        return Ok(Err(Outcome::Skipped(reason.to_owned())));
    }
    let mut create = workspace.command(python);
    create.args(["-m", "venv", "--clear"]).arg(folder);
    Ok(match pass_through(&mut create)? {
        Outcome::Passed(_) => Ok(()),
        other => Err(other),
    })
}

/// Installs into an environment; the answer is its Python.
pub(super) fn install(
    workspace: &Workspace,
    folder: &Path,
    what: &[&str],
) -> Result<Result<PathBuf, Outcome>> {
    let python = program(folder, "python");
    let mut install = workspace.command(&python);
    install.args(["-m", "pip", "install", "--quiet"]);
    install.arg("--disable-pip-version-check").args(what);
    Ok(match pass_through(&mut install)? {
        Outcome::Passed(_) => Ok(python),
        other => Err(other),
    })
}

/// A program of an environment.
pub(super) fn program(folder: &Path, name: &str) -> PathBuf {
    let scripts = folder.join(if cfg!(windows) { "Scripts" } else { "bin" });
    scripts.join(format!("{name}{}", env::consts::EXE_SUFFIX))
}
