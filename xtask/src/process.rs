//! Other programs: running them, with a limit on time where they may hang.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context as _, Result};

/// Whether the program can be started and says so with success.
pub(crate) fn works(program: impl AsRef<Path>, arguments: &[&str]) -> bool {
    let mut command = Command::new(program.as_ref());
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The file that a program's name stands for on `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Variables that are set to what they are anyhow, or that keep this machine's settings away from a
/// command.
const UNTOLD: [&str; 8] = [
    "PATH",
    "HOME",
    "USERPROFILE",
    "SYSTEMROOT",
    "TEMP",
    "TMPDIR",
    "OLLAMA_MODELS",
    "NO_COLOR",
];

/// The command as a person would type it.
pub(crate) fn display(command: &Command) -> String {
    let mut text = String::new();
    for (name, value) in command.get_envs() {
        let is_told = !UNTOLD.iter().any(|untold| name == *untold);
        if let Some(value) = value.filter(|_| is_told) {
            let _ = write!(
                text,
                "{}={} ",
                name.to_string_lossy(),
                quote(&value.to_string_lossy())
            );
        }
    }
    let program = Path::new(command.get_program());
    // Cargo passes itself by its full path, which says nothing to the reader.
    match program.file_stem() {
        Some(stem) if stem == "cargo" => text.push_str("cargo"),
        _ => text.push_str(&program.to_string_lossy()),
    }
    for argument in command.get_args() {
        let _ = write!(text, " {}", quote(&argument.to_string_lossy()));
    }
    text
}

fn quote(text: &str) -> String {
    if text.is_empty() || text.contains([' ', '\'', '"', '?', '*', '$']) {
        format!("'{}'", text.replace('\'', "'\\''"))
    } else {
        text.to_owned()
    }
}

/// Waits for the child; after the limit it is killed and the answer is `None`.
pub(crate) fn wait_at_most(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child
            .try_wait()
            .context("a child process cannot be waited for")?
        {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        pause(Duration::from_millis(20));
    }
}

/// Lets time pass while another process works.
#[expect(
    clippy::disallowed_methods,
    reason = "another process gives no event to wait for, and spinning would take the CPU from it"
)]
pub(crate) fn pause(duration: Duration) {
    thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/some/where/cargo");
        command
            .args(["doc", "a b"])
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            display(&command),
            "RUSTDOCFLAGS='-D warnings' cargo doc 'a b'"
        );
    }
}
