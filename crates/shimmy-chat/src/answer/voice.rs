//! What is said and thought, with white space held back until it is known to belong to it.
//!
//! It must not know marks.

use super::Delta;

/// Says text.
#[derive(Debug, Default)]
pub(super) struct Voice {
    /// White space that waits for what follows: before a call or the end of thoughts it is layout.
    blank: String,
    /// White space that comes first is layout.
    skips_blank: bool,
    /// Whether anything has been said to the user.
    pub(super) has_spoken: bool,
    /// Whether nothing has been said since the last call.
    follows_call: bool,
    /// Whether nothing is for the user: what reads like text is a piece of a call that was cut.
    is_for_nobody: bool,
}

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ear {
    User,
    Nobody,
}

impl Voice {
    /// One for an answer; where a call is required, nothing is for the user.
    pub(super) fn new(must_call: bool) -> Self {
        Self {
            is_for_nobody: must_call,
            ..Self::default()
        }
    }

    /// More text.
    pub(super) fn say(&mut self, ear: Ear, text: &str, out: &mut Vec<Delta>) {
        if ear == Ear::User && self.is_for_nobody {
            return;
        }
        let Some((text, blank)) = split_blank(text) else {
            if !self.skips_blank {
                self.blank.push_str(text);
            }
            return;
        };
        let blank_before = std::mem::take(&mut self.blank);
        let text = match self.skips_blank {
            true => text.trim_start(),
            false => text,
        };
        self.skips_blank = false;
        append(ear, &blank_before, out);
        append(ear, text, out);
        self.blank.push_str(blank);
        if ear == Ear::User {
            self.has_spoken = true;
            self.follows_call = false;
        }
    }

    /// Thoughts begin or end: the white space on both sides belongs to neither.
    pub(super) fn turn(&mut self) {
        self.blank.clear();
        self.skips_blank = true;
    }

    /// A call has come: the white space in front of it was layout.
    pub(super) fn note_call(&mut self) {
        self.blank.clear();
        self.follows_call = true;
    }

    /// The answer ends.
    pub(super) fn finish(&mut self, ear: Ear, out: &mut Vec<Delta>) {
        let blank = std::mem::take(&mut self.blank);
        if ear == Ear::User && !self.follows_call && !self.is_for_nobody {
            append(ear, &blank, out);
        }
    }
}

/// A text and the white space at its end; nothing where all of it is white.
fn split_blank(text: &str) -> Option<(&str, &str)> {
    let end = text.trim_end().len();
    (end > 0).then(|| text.split_at(end))
}

fn append(ear: Ear, text: &str, out: &mut Vec<Delta>) {
    if text.is_empty() {
        return;
    }
    match (ear, out.last_mut()) {
        (Ear::User, Some(Delta::Content(last))) | (Ear::Nobody, Some(Delta::Reasoning(last))) => {
            last.push_str(text);
        }
        (Ear::User, _) => out.push(Delta::Content(text.to_owned())),
        (Ear::Nobody, _) => out.push(Delta::Reasoning(text.to_owned())),
    }
}
