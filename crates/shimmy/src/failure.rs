//! How a command fails: what, why, what to do next, and the exit code.

#![expect(
    clippy::print_stderr,
    reason = "this is where every command's error is printed"
)]

use std::fmt;
use std::process::ExitCode;

/// A command's error.
#[derive(Debug)]
pub(crate) struct Failure {
    error: anyhow::Error,
    hint: Option<String>,
    code: u8,
    is_final: bool,
}

/// It did not work.
pub(crate) const FAILED: u8 = 1;
/// Somebody pressed Ctrl-C.
const INTERRUPTED: u8 = 130;
/// It was asked for in a way that makes no sense, or a probe found a model that does not work.
pub(crate) const USAGE: u8 = 2;

impl Failure {
    /// A mistake in how the command was called.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            error: anyhow::anyhow!("{message}"),
            hint: None,
            code: USAGE,
            is_final: false,
        }
    }

    /// Something that went wrong.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self {
            error: anyhow::anyhow!("{message}"),
            hint: None,
            code: FAILED,
            is_final: false,
        }
    }

    /// The user has ended it.
    pub(crate) fn interrupted() -> Self {
        Self::new("interrupted").with_code(INTERRUPTED).fatal()
    }

    /// The same failure, after which a conversation cannot go on.
    pub(crate) fn fatal(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// Whether a conversation cannot go on after it.
    pub(crate) fn is_final(&self) -> bool {
        self.is_final || self.is_broken_pipe()
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// What to do next.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The same failure with its hint in other words.
    pub(crate) fn map_hint(mut self, reword: impl FnOnce(String) -> String) -> Self {
        self.hint = self.hint.map(reword);
        self
    }

    /// Prints to standard error what is done without because of it.
    pub(crate) fn warn(self, without: &str) {
        eprintln!("warning: {without}: {self}");
        if let Some(hint) = self.hint {
            eprintln!("hint: {hint}");
        }
    }

    /// Prints it to standard error.
    pub(crate) fn report(self) -> ExitCode {
        if self.is_broken_pipe() {
            return ExitCode::SUCCESS;
        }
        self.show();
        ExitCode::from(self.code)
    }

    /// Prints it where it does not end the command.
    pub(crate) fn show(&self) {
        eprintln!("error: {self}");
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
    }

    /// A reader that went away, as in `shimmy list | head -1`, is no failure.
    fn is_broken_pipe(&self) -> bool {
        self.error.chain().any(|cause| {
            cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            // Many errors tell their cause in their own text.
            if said.contains(&cause) {
                continue;
            }
            let separator = if said.is_empty() { "" } else { ": " };
            write!(f, "{separator}{cause}")?;
            said = cause;
        }
        Ok(())
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            hint: None,
            code: FAILED,
            is_final: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use shimmy_models::ModelError;

    use super::Failure;

    #[test]
    fn a_cause_is_told_once() {
        let source = || io::Error::other("the disk is on fire");
        let inner = ModelError::Io {
            path: "a.gguf".into(),
            source: source(),
        };
        let told = "a.gguf cannot be read: the disk is on fire";
        assert_eq!(Failure::from(inner).to_string(), told);
        let outer = anyhow::Error::from(source()).context("nothing works");
        let told = "nothing works: the disk is on fire";
        assert_eq!(Failure::from(outer).to_string(), told);
    }
}
