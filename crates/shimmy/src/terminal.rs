//! What the standard streams can show. Owns the rule for colours; must not know what is written.

use std::io::{IsTerminal, stderr, stdout};

/// A stream that people may look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    is_terminal: fn() -> bool,
}

/// Where answers go.
pub(crate) const STDOUT: Stream = Stream {
    is_terminal: || stdout().is_terminal(),
};

/// Where everything else goes.
pub(crate) const STDERR: Stream = Stream {
    is_terminal: || stderr().is_terminal(),
};

impl Stream {
    /// Whether somebody looks at it.
    pub(crate) fn is_terminal(self) -> bool {
        (self.is_terminal)()
    }

    /// Whether it shows colours, and lines that change: not without a terminal, and not where the
    /// user wants none (no-color.org) or the terminal says that it cannot.
    pub(crate) fn has_colours(self) -> bool {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        self.is_terminal() && !is_unwanted && !is_dumb
    }
}
