//! The engine in Rust on processors that this machine does not have: 64-bit Arm, cross-compiled, its
//! tests run by user-mode emulation on a processor of each kind that has kernels of its own.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Outcome, pass_through};
use crate::process;
use crate::workspace::Workspace;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const COMPILER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where Debian and its kin keep the libraries of that compiler.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// Processors as the emulator calls them, and the kernels that they are to choose.
const PROCESSORS: [(&str, &str); 3] = [
    ("cortex-a72", "neon"),
    ("neoverse-n1", "dotprod"),
    ("max", "i8mm"),
];

/// Lints of the code that other processors leave out.
pub(super) fn lints(workspace: &Workspace) -> Result<Outcome> {
    if let Some(reason) = missing(workspace)? {
        return Ok(Outcome::Skipped(reason));
    }
    let mut command = workspace.cargo();
    command
        .args(["clippy", "--locked", "--all-targets", "--target", TARGET])
        .args(["--package", "shimmy", "--package", "shimmy-native"])
        .args(["--no-default-features", "--features", "shimmy/native"])
        .args(["--", "-D", "warnings"]);
    pass_through(command.env(variable("LINKER"), COMPILER))
}

/// The tests of the engine, once for each processor: they hold all kernels that it can run against
/// those in plain Rust, and an instruction that it does not have ends them.
pub(super) fn tests(workspace: &Workspace) -> Result<Outcome> {
    if let Some(reason) = missing(workspace)? {
        return Ok(Outcome::Skipped(reason));
    }
    for (processor, kernels) in PROCESSORS {
        let mut command = workspace.cargo();
        command
            .args(["test", "--locked", "--package", "shimmy-native"])
            .args(["--lib", "--tests", "--target", TARGET])
            .env(variable("LINKER"), COMPILER)
            .env(
                variable("RUNNER"),
                format!("{EMULATOR} -L {LIBRARIES} -cpu {processor}"),
            )
            .env("SHIMMY_TEST_KERNELS", kernels);
        if let Outcome::Failed(reason) = pass_through(&mut command)? {
            return Ok(Outcome::Failed(format!("{processor}: {reason}")));
        }
    }
    Ok(Outcome::Passed("neon, dotprod, i8mm".to_owned()))
}

/// What is needed and not here.
fn missing(workspace: &Workspace) -> Result<Option<String>> {
    if cfg!(target_arch = "aarch64") {
        return Ok(Some("this is such a machine: `tests` is enough".to_owned()));
    }
    for program in [COMPILER, EMULATOR] {
        if process::find(program).is_none() {
            return Ok(Some(format!("no {program} here")));
        }
    }
    if !Path::new(LIBRARIES).join("lib/libc.so.6").exists() {
        return Ok(Some(format!("no C library in {LIBRARIES}")));
    }
    let sysroot = workspace
        .command("rustc")
        .args(["--print", "sysroot"])
        .output()
        .context("rustc cannot be started")?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    let library = Path::new(&sysroot).join("lib/rustlib").join(TARGET);
    Ok((!library.join("lib").is_dir())
        .then(|| format!("no standard library (rustup target add {TARGET})")))
}

/// The name of a variable by which Cargo is told something about the target.
fn variable(what: &str) -> String {
    let target = TARGET.to_uppercase().replace('-', "_");
    format!("CARGO_TARGET_{target}_{what}")
}
