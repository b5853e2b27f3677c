//! A call while it is read: when nothing can take it back, and what is told of it then.
//!
//! It must not know notations.

/// Longest name of a tool; the vendors allow 64 characters.
const NAME_BYTES: usize = 256;

/// A call that is being read.
#[derive(Debug, Default)]
pub(super) struct Draft {
    name: Option<String>,
    /// Arguments that have been read and not been told.
    arguments: String,
    /// Whether any have been told.
    has_told: bool,
    is_complete: bool,
    /// Whether nothing more will come.
    is_cut: bool,
}

/// How a reader of calls gets on with a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The call goes on.
    More,
    /// The call ends with this character.
    Done,
    /// This is no call.
    Failed,
}

impl Draft {
    /// Says what is called; false where that cannot be a name.
    pub(super) fn set_name(&mut self, name: &str) -> bool {
        let is_name = !name.is_empty()
            && name.len() <= NAME_BYTES
            && !name
                .contains(|c: char| c.is_whitespace() || c.is_control() || "\"<>{}".contains(c));
        if is_name {
            self.name = Some(name.to_owned());
        }
        is_name
    }

    /// The name, once it is known.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// More of the arguments' text.
    pub(super) fn push(&mut self, c: char) {
        self.arguments.push(c);
    }

    /// More of the arguments' text.
    pub(super) fn push_str(&mut self, text: &str) {
        self.arguments.push_str(text);
    }

    /// Where more of the arguments' text goes.
    pub(super) fn arguments(&mut self) -> &mut String {
        &mut self.arguments
    }

    /// Nothing of the call is missing any more.
    pub(super) fn complete(&mut self) {
        self.is_complete = true;
        if self.arguments.is_empty() && !self.has_told {
            self.arguments.push_str("{}");
        }
    }

    /// Nothing more will come of a call that cannot be anything else.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Whether the call may be told of: it is complete, or so much of it has read well that it
    /// would be a pity to wait for the rest.
    pub(super) fn is_ripe(&self, enough: usize) -> bool {
        let is_enough = self.is_complete || self.is_cut || self.arguments.len() > enough;
        self.name.is_some() && is_enough
    }

    /// The arguments that have not been told, which stay untold.
    pub(super) fn untold(&self) -> &str {
        &self.arguments
    }

    /// The arguments that have not been told.
    pub(super) fn take_arguments(&mut self) -> String {
        self.has_told |= !self.arguments.is_empty();
        std::mem::take(&mut self.arguments)
    }
}
