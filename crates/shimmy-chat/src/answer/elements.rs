//! Calls whose arguments are elements: `<parameter=path>a.rs</parameter>`.
//!
//! A value is written without quotation marks, so only the tool's schema tells a text from a
//! number. What it admits decides; where it admits a text only, the text is told as it comes.

use serde_json::Value;

use super::draft::{Draft, Progress};
use super::json::escape;
use super::marks::Finder;
use super::offered::{Kinds, Offered};
use crate::notation::Elements;

/// Longest name of an argument.
const KEY_BYTES: usize = 256;

/// Reads one call.
#[derive(Debug)]
pub(super) struct ElementsReader {
    marks: Elements,
    place: Place,
    finder: Finder,
    /// A name, or a value that is kept until it is whole.
    text: String,
    has_arguments: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The function's name.
    Name,
    /// An argument or the end.
    Between,
    Key,
    /// The mark before a value.
    BeforeValue,
    /// A value that is a text: told as it comes.
    Text {
        /// Whether nothing has come yet.
        is_new: bool,
    },
    /// Any other value.
    Value(Kinds),
}

impl ElementsReader {
    pub(super) fn new(marks: Elements) -> Self {
        Self {
            marks,
            place: Place::Name,
            finder: Finder::default(),
            text: String::new(),
            has_arguments: false,
        }
    }

    pub(super) fn push(&mut self, c: char, offered: &Offered, draft: &mut Draft) -> Progress {
        match self.place {
            Place::Name => self.name(c, draft),
            Place::Between => self.between(c, draft),
            Place::Key => self.key(c, offered, draft),
            Place::BeforeValue => {
                let mut other = String::new();
                let found = self.finder.push(c, [self.marks.value.0], &mut other);
                if found.is_some() {
                    self.begin_value(offered, draft);
                }
                blank_or_failed(&other)
            }
            Place::Text { is_new } => self.text(c, is_new, draft),
            Place::Value(kinds) => self.value(c, kinds, draft),
        }
    }

    /// Takes the end of the answer; true where nothing but the end of the call is missing.
    pub(super) fn finish(&mut self, draft: &mut Draft) -> bool {
        let is_whole = self.place == Place::Between && draft.name().is_some();
        if is_whole {
            self.end(draft);
        }
        is_whole
    }

    fn name(&mut self, c: char, draft: &mut Draft) -> Progress {
        let end = self.marks.name_end;
        let is_quoted = end.len() > 1;
        let ends = match is_quoted {
            true => {
                self.text.push(c);
                self.text.ends_with(end)
            }
            // Where the name is bare, the first argument may stand right behind it.
            false => {
                let ends = end.starts_with(c) || c.is_whitespace() || c == '<';
                if !ends {
                    self.text.push(c);
                }
                ends
            }
        };
        if !ends {
            return match self.text.len() <= KEY_BYTES {
                true => Progress::More,
                false => Progress::Failed,
            };
        }
        let name = std::mem::take(&mut self.text);
        let name = name.strip_suffix(end).unwrap_or(&name);
        if !draft.set_name(name) {
            return Progress::Failed;
        }
        self.place = Place::Between;
        match c {
            '<' => self.between(c, draft),
            _ => Progress::More,
        }
    }

    fn between(&mut self, c: char, draft: &mut Draft) -> Progress {
        let mut other = String::new();
        let marks = [self.marks.key.0, self.marks.end];
        match self.finder.push(c, marks, &mut other) {
            Some(0) => self.place = Place::Key,
            Some(_) => {
                self.end(draft);
                return Progress::Done;
            }
            None => {}
        }
        blank_or_failed(&other)
    }

    fn key(&mut self, c: char, offered: &Offered, draft: &mut Draft) -> Progress {
        self.text.push(c);
        let Some(key) = self.text.strip_suffix(self.marks.key.1) else {
            return match self.text.len() <= KEY_BYTES {
                true => Progress::More,
                false => Progress::Failed,
            };
        };
        self.text = key.trim().to_owned();
        match self.marks.value.0 {
            "" => self.begin_value(offered, draft),
            _ => self.place = Place::BeforeValue,
        }
        Progress::More
    }

    fn begin_value(&mut self, offered: &Offered, draft: &mut Draft) {
        let key = std::mem::take(&mut self.text);
        let kinds = offered.kinds(draft.name().unwrap_or_default(), &key);
        draft.push_str(if self.has_arguments { ", \"" } else { "{\"" });
        self.has_arguments = true;
        key.chars().for_each(|c| escape(c, draft.arguments()));
        draft.push_str("\": ");
        self.place = Place::Value(kinds);
        if kinds.is_text() {
            draft.push('"');
            self.place = Place::Text { is_new: true };
        }
    }

    /// One line break after the first mark and one before the last belong to the layout.
    fn text(&mut self, c: char, is_new: bool, draft: &mut Draft) -> Progress {
        let mut text = String::new();
        let found = self.finder.push(c, [self.marks.value.1], &mut text);
        for (index, c) in text.chars().enumerate() {
            if is_new && index == 0 && c == '\n' {
                continue;
            }
            // The last line break waits in `text` until something follows it.
            if self.text.pop().is_some() {
                escape('\n', draft.arguments());
            }
            match c {
                '\n' => self.text.push('\n'),
                c => escape(c, draft.arguments()),
            }
        }
        self.place = Place::Text {
            is_new: is_new && text.is_empty(),
        };
        if found.is_some() {
            self.text.clear();
            draft.push('"');
            self.place = Place::Between;
        }
        Progress::More
    }

    fn value(&mut self, c: char, kinds: Kinds, draft: &mut Draft) -> Progress {
        let found = self.finder.push(c, [self.marks.value.1], &mut self.text);
        if found.is_none() {
            return Progress::More;
        }
        let text = std::mem::take(&mut self.text);
        let written = text.strip_prefix('\n').unwrap_or(&text);
        let written = written.strip_suffix('\n').unwrap_or(written);
        let value = match serde_json::from_str::<Value>(written.trim()) {
            Ok(value) if kinds.admit(&value) => value,
            _ => match (written.trim(), kinds.admit(&Value::Bool(true))) {
                // As Python writes them, and as some models do.
                ("True", true) => Value::Bool(true),
                ("False", true) => Value::Bool(false),
                ("None", _) if kinds.admit(&Value::Null) => Value::Null,
                _ => Value::String(written.to_owned()),
            },
        };
        draft.push_str(&value.to_string());
        self.place = Place::Between;
        Progress::More
    }

    fn end(&mut self, draft: &mut Draft) {
        if self.has_arguments {
            draft.push('}');
        }
        draft.complete();
    }
}

fn blank_or_failed(text: &str) -> Progress {
    match text.trim().is_empty() {
        true => Progress::More,
        false => Progress::Failed,
    }
}
