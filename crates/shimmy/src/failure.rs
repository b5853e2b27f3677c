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
}

/// It did not work.
pub(crate) const FAILED: u8 = 1;
/// It was asked for in a way that makes no sense, or a probe found a model that does not work.
pub(crate) const USAGE: u8 = 2;

impl Failure {
    /// A mistake in how the command was called.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            error: anyhow::anyhow!("{message}"),
            hint: None,
            code: USAGE,
        }
    }

    /// Something that went wrong.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self {
            error: anyhow::anyhow!("{message}"),
            hint: None,
            code: FAILED,
        }
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

    /// Prints to standard error what is done without because of it.
    pub(crate) fn warn(self, without: &str) {
        eprintln!("warning: {without}: {:#}", self.error);
        if let Some(hint) = self.hint {
            eprintln!("hint: {hint}");
        }
    }

    /// Prints it to standard error.
    pub(crate) fn report(self) -> ExitCode {
        // A reader that went away, as in `shimmy list | head -1`, is no failure.
        let broken_pipe = self.error.chain().any(|cause| {
            cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
        });
        if broken_pipe {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {:#}", self.error);
        if let Some(hint) = self.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.code)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            hint: None,
            code: FAILED,
        }
    }
}
