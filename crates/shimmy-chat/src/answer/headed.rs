//! Calls whose name stands before the JSON object of their arguments, or is known already.

use super::draft::{Draft, Progress};
use super::json::Scanner;

/// Longest heading.
const HEADING_BYTES: usize = 512;

/// Reads one call.
#[derive(Debug)]
pub(super) struct HeadedReader {
    name: fn(&str) -> Option<&str>,
    heading: String,
    arguments: Option<Scanner>,
}

impl HeadedReader {
    pub(super) fn new(name: fn(&str) -> Option<&str>) -> Self {
        Self {
            name,
            heading: String::new(),
            arguments: None,
        }
    }

    pub(super) fn push(&mut self, c: char, draft: &mut Draft) -> Progress {
        let is_named = draft.name().is_some();
        if self.arguments.is_none() && is_named && c.is_whitespace() {
            return Progress::More;
        }
        if self.arguments.is_none() && !is_named {
            if c != '{' {
                self.heading.push(c);
                return match self.heading.len() <= HEADING_BYTES {
                    true => Progress::More,
                    false => Progress::Failed,
                };
            }
            let name = (self.name)(&self.heading).map(str::trim);
            if !name.is_some_and(|name| draft.set_name(name)) {
                return Progress::Failed;
            }
        }
        let scanner = self.arguments.get_or_insert_default();
        if scanner.push(c).is_err() {
            return Progress::Failed;
        }
        draft.push(c);
        if scanner.is_done() {
            draft.complete();
            return Progress::Done;
        }
        Progress::More
    }
}
