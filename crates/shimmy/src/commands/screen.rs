//! Where an answer is shown: its text on standard output, its thoughts, dimmed, on standard error
//! if somebody looks at that.

use std::io::Write;

use super::print;
use crate::failure::Failure;
use crate::terminal::{STDERR, STDOUT};

/// Dimmed letters, and plain ones again.
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// What has been shown so far, as far as what comes next depends on it.
#[derive(Debug)]
pub(super) struct Screen {
    /// Whether the last thing shown was a thought.
    is_thinking: bool,
    /// Whether the cursor is at the beginning of a line.
    is_at_start: bool,
    has_text: bool,
    pub(super) shows_thoughts: bool,
    is_terminal: bool,
    dims: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            is_thinking: false,
            is_at_start: true,
            has_text: false,
            shows_thoughts: STDERR.is_terminal(),
            is_terminal: STDOUT.is_terminal(),
            dims: STDERR.has_colours(),
        }
    }

    /// Shows a piece of a thought.
    pub(super) fn thought(&mut self, text: &str) {
        if !self.shows_thoughts {
            return;
        }
        // Line breaks before the first word are only the template's.
        let text = match self.is_thinking {
            true => text,
            false => text.trim_start(),
        };
        if text.is_empty() {
            return;
        }
        self.is_thinking = true;
        self.is_at_start = text.ends_with('\n');
        match self.dims {
            true => note(&format!("{DIM}{text}{PLAIN}")),
            false => note(text),
        }
    }

    /// Shows a piece of the answer itself.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        if self.is_thinking {
            self.is_thinking = false;
            note(if self.is_at_start { "\n" } else { "\n\n" });
        }
        self.has_text = true;
        self.is_at_start = text.ends_with('\n');
        print(text)
    }

    /// Ends the answer, on a terminal at the beginning of a line.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.is_thinking) && !self.is_at_start {
            note("\n");
        } else if self.has_text && !self.is_at_start && self.is_terminal {
            print("\n")?;
        }
        (self.has_text, self.is_at_start) = (false, true);
        Ok(())
    }

    /// Says what is not done as it was asked for.
    pub(super) fn warn(&mut self, text: &str) {
        note(&format!("warning: {text}\n"));
    }
}

/// Writes to standard error.
pub(super) fn note(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // A terminal that has gone away is no reason to end an answer.
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}
