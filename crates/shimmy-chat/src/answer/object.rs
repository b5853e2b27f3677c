//! Calls that are one JSON object: `{"name": "…", "arguments": {…}}` and its relatives.

use super::draft::{Draft, Progress};
use super::json::{Malformed, Scanner, Step};
use crate::notation::Keys;

/// Longest key that is compared with those that are known.
const KEY_BYTES: usize = 256;

/// Reads one object.
#[derive(Debug)]
pub(super) struct ObjectReader {
    keys: Keys,
    scanner: Scanner,
    /// How deep the members are that count: one level deeper inside `"function": {…}`.
    level: usize,
    key: String,
    value: Value,
    /// The text of a name, as JSON.
    name: String,
}

/// What the value is that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// None, or one that nobody needs: an id, a type.
    Other,
    Name,
    Arguments,
}

impl ObjectReader {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            scanner: Scanner::default(),
            level: 1,
            key: String::new(),
            value: Value::Other,
            name: String::new(),
        }
    }

    pub(super) fn push(&mut self, c: char, draft: &mut Draft) -> Progress {
        match self.read(c, draft) {
            Ok(()) if !self.scanner.is_done() => Progress::More,
            Ok(()) if draft.name().is_some() => {
                draft.complete();
                Progress::Done
            }
            _ => Progress::Failed,
        }
    }

    fn read(&mut self, c: char, draft: &mut Draft) -> Result<(), Malformed> {
        let depth = self.scanner.depth();
        let step = self.scanner.push(c)?;
        let is_member = depth == self.level;
        match step {
            Step::KeyText if is_member && self.key.len() < KEY_BYTES => self.key.push(c),
            Step::KeyEnd if is_member => self.end_key(draft)?,
            Step::ValueStart if is_member => self.begin_value(c)?,
            Step::ValueEnd if depth < self.level => self.level = 1,
            _ => {}
        }
        match self.value {
            Value::Name => self.name.push(c),
            Value::Arguments => draft.push(c),
            Value::Other => {}
        }
        // A container's last character is the only one of it that stands at its parent's depth.
        let depth = self.scanner.depth();
        if step == Step::ValueEnd && depth == self.level {
            self.end_value(draft)?;
        }
        if step == Step::Inside && c == ',' && depth == self.level {
            self.key.clear();
        }
        Ok(())
    }

    fn end_key(&mut self, draft: &mut Draft) -> Result<(), Malformed> {
        match self.keys {
            Keys::NameIsKey if draft.name().is_none() => named(draft, &self.key),
            Keys::NameIsKey => Err(Malformed),
            Keys::Named => Ok(()),
        }
    }

    fn begin_value(&mut self, c: char) -> Result<(), Malformed> {
        let key = std::mem::take(&mut self.key);
        self.value = match (self.keys, key.as_str(), c) {
            (Keys::NameIsKey, _, '{') => Value::Arguments,
            (Keys::NameIsKey, ..) => return Err(Malformed),
            (_, "name" | "tool_name" | "function" | "function_name", '"') => Value::Name,
            (_, "arguments" | "parameters" | "args" | "tool_arguments", '{') => Value::Arguments,
            (_, "arguments" | "parameters" | "args" | "tool_arguments", 'n') => Value::Other,
            (_, "arguments" | "parameters" | "args" | "tool_arguments", _) => {
                return Err(Malformed);
            }
            (_, "function", '{') if self.level == 1 => {
                self.level = 2;
                Value::Other
            }
            _ => Value::Other,
        };
        Ok(())
    }

    fn end_value(&mut self, draft: &mut Draft) -> Result<(), Malformed> {
        let value = std::mem::replace(&mut self.value, Value::Other);
        if value == Value::Name {
            let name: String = serde_json::from_str(&self.name).map_err(|_| Malformed)?;
            self.name.clear();
            named(draft, &name)?;
        }
        Ok(())
    }
}

fn named(draft: &mut Draft, name: &str) -> Result<(), Malformed> {
    match draft.name().is_none() && draft.set_name(name) {
        true => Ok(()),
        false => Err(Malformed),
    }
}
