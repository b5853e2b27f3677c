//! Where things are: the workspace's root, Cargo's target folder and the built binary.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The folders that every task needs.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where Cargo builds, which `CARGO_TARGET_DIR` may have moved.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks Cargo, from this package's own folder.
    pub(crate) fn locate() -> Result<Self> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let metadata = metadata(cargo().current_dir(&manifest_dir), "--no-deps")?;
        let folder = |key: &str| -> Result<PathBuf> {
            let text = metadata[key].as_str();
            text.map(PathBuf::from)
                .with_context(|| format!("cargo metadata has no {key}"))
        };
        Ok(Self {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
        })
    }

    /// A command that runs in the workspace's root.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(&self.root);
        command
    }

    /// Cargo, in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }

    /// What Cargo knows of the workspace and of all that it may be built of.
    pub(crate) fn metadata(&self) -> Result<Value> {
        metadata(self.cargo().arg("--locked"), "--all-features")
    }

    /// The release build of the product.
    pub(crate) fn release_binary(&self) -> PathBuf {
        self.target
            .join("release")
            .join(format!("shimmy{}", env::consts::EXE_SUFFIX))
    }
}

/// The Cargo that runs this task, so that both are of one toolchain.
fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What `cargo metadata` says. Flags for Cargo as a whole, such as `--locked`, come with the command.
fn metadata(cargo: &mut Command, option: &str) -> Result<Value> {
    let output = cargo
        .args(["metadata", "--format-version", "1", option])
        .output()
        .context("cargo cannot be started")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
