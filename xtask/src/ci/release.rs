//! The release binary, built as it is shipped, and what its users rely on: small, at home on any
//! system of its kind, and able to say what it does.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::limits::BINARY_BYTES;
use super::{Outcome, build};
use crate::process;
use crate::workspace::Workspace;

/// The dynamic libraries that every glibc system has, by the start of their names.
const LIBRARIES: [&str; 5] = [
    "libc.so",
    "libm.so",
    "libstdc++.so",
    "libgcc_s.so",
    "ld-linux",
];

/// What a release has beside the default features: llama.cpp, and every Apple Silicon has Metal.
pub(super) const FEATURES: &[&str] = if cfg!(all(target_os = "macos", target_arch = "aarch64")) {
    &["--features", "metal"]
} else {
    &["--features", "llama"]
};

pub(super) fn run(workspace: &Workspace) -> Result<Outcome> {
    let selection = [&["--release", "--package", "shimmy"], FEATURES].concat();
    build::without_warnings(workspace, &selection)?;
    let binary = workspace.release_binary();
    let size = check_size(&binary)?;
    let libraries = check_libraries(&binary)?;
    check_help(&binary)?;
    let megabytes = size as f64 / 1e6;
    Ok(Outcome::Passed(format!("{megabytes:.1} MB; {libraries}")))
}

fn check_size(binary: &Path) -> Result<u64> {
    let metadata = binary
        .metadata()
        .with_context(|| binary.display().to_string())?;
    let size = metadata.len();
    println!("size: {size} bytes");
    ensure!(
        size <= BINARY_BYTES,
        "the binary has {size} bytes; {BINARY_BYTES} is the most"
    );
    Ok(size)
}

/// Checks the dynamic libraries the binary asks for; the answer is for the summary.
fn check_libraries(binary: &Path) -> Result<String> {
    if !cfg!(target_os = "linux") {
        return Ok("libraries not checked: not Linux".to_owned());
    }
    if process::find("readelf").is_none() {
        return Ok("libraries not checked: no readelf".to_owned());
    }
    let listing = output(
        Command::new("readelf")
            .args(["--dynamic", "--wide"])
            .arg(binary),
    )?;
    let needed = needed(&listing);
    println!("needs: {}", needed.join(" "));
    let foreign: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|name| !LIBRARIES.iter().any(|allowed| name.starts_with(allowed)))
        .collect();
    ensure!(
        foreign.is_empty(),
        "the binary needs {}, which not every system has",
        foreign.join(", ")
    );
    Ok(format!("needs {}", needed.join(" ")))
}

/// The names in the NEEDED lines of `readelf --dynamic`.
fn needed(listing: &str) -> Vec<&str> {
    let lines = listing.lines().filter(|line| line.contains("(NEEDED)"));
    lines
        .filter_map(|line| {
            line.split_once('[')?
                .1
                .split_once(']')
                .map(|(name, _)| name)
        })
        .collect()
}

fn check_help(binary: &Path) -> Result<()> {
    let help = output(Command::new(binary).arg("--help"))?;
    for command in ["serve", "generate", "list"] {
        ensure!(
            help.contains(command),
            "`shimmy --help` does not name {command}"
        );
    }
    let version = output(Command::new(binary).arg("--version"))?;
    println!("version: {}", version.trim());
    Ok(())
}

/// The standard output of a command that must succeed.
pub(super) fn output(command: &mut Command) -> Result<String> {
    println!("$ {}", process::display(command));
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{} ended with {}: {}",
        process::display(command),
        output.status,
        errors.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_read_from_the_listing() {
        let listing = " 0x0000000000000001 (NEEDED)  Shared library: [libm.so.6]\n \
                       0x000000000000000c (INIT)    0x1000\n \
                       0x0000000000000001 (NEEDED)  Shared library: [ld-linux-x86-64.so.2]\n";
        assert_eq!(needed(listing), ["libm.so.6", "ld-linux-x86-64.so.2"]);
        assert!(needed("").is_empty());
    }
}
