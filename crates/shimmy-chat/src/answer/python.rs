//! Calls as Python writes them, `name(text="a", list=[1, None])`, made into JSON on the way.

use super::draft::{Draft, Progress};
use super::json::escape;

/// Deeper values are refused, as everywhere.
const MAX_DEPTH: usize = 128;
/// Longest word or number.
const WORD_BYTES: usize = 128;

/// Reads one call.
#[derive(Debug)]
pub(super) struct PythonReader {
    place: Place,
    /// Names, words and numbers while they are read.
    word: String,
    /// Brackets that are open in a value: what closes them.
    open: Vec<char>,
    has_arguments: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The function's name.
    Name,
    /// An argument's name or the end of the call.
    ArgumentOrEnd,
    /// Within an argument's name, or after it.
    Argument,
    /// A value must come.
    Value,
    /// A value or the end of the bracket.
    FirstItem,
    /// The same, after a comma.
    AfterComma,
    Word,
    Text {
        quote: char,
        is_key: bool,
        escape: Escape,
    },
    /// The colon after a dictionary's key.
    Colon,
    AfterValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// A code point with so many digits to come.
    Hex {
        left: u8,
        code: u32,
    },
}

impl PythonReader {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Name,
            word: String::new(),
            open: Vec::new(),
            has_arguments: false,
        }
    }

    pub(super) fn push(&mut self, c: char, draft: &mut Draft) -> Progress {
        self.read(c, draft).unwrap_or(Progress::Failed)
    }

    /// `None` where this is no call.
    fn read(&mut self, c: char, draft: &mut Draft) -> Option<Progress> {
        match self.place {
            Place::Name => self.name(c, draft)?,
            Place::Text {
                quote,
                is_key,
                escape,
            } => self.text(c, (quote, is_key, escape), draft)?,
            Place::Word if is_word(c) => self.lengthen(c)?,
            Place::Word => {
                self.end_word(draft)?;
                return self.after_value(c, draft);
            }
            Place::AfterValue => return self.after_value(c, draft),
            _ if c.is_whitespace() => {}
            Place::ArgumentOrEnd if c == ')' => return Some(self.end(draft)),
            Place::ArgumentOrEnd | Place::Argument => self.argument(c, draft)?,
            Place::Colon if c == ':' => {
                draft.push_str(": ");
                self.place = Place::Value;
            }
            Place::Colon => return None,
            Place::FirstItem | Place::AfterComma if self.open.last() == Some(&c) => {
                self.close(c, draft)?;
            }
            Place::AfterComma => {
                draft.push_str(", ");
                self.value(c, draft)?;
            }
            Place::Value | Place::FirstItem => self.value(c, draft)?,
        }
        Some(Progress::More)
    }

    fn lengthen(&mut self, c: char) -> Option<()> {
        self.word.push(c);
        (self.word.len() <= WORD_BYTES).then_some(())
    }

    fn name(&mut self, c: char, draft: &mut Draft) -> Option<()> {
        if c != '(' {
            let fits = c.is_alphanumeric() || "_-.".contains(c);
            return fits.then(|| self.lengthen(c))?;
        }
        let name = std::mem::take(&mut self.word);
        self.place = Place::ArgumentOrEnd;
        draft.set_name(&name).then_some(())
    }

    fn argument(&mut self, c: char, draft: &mut Draft) -> Option<()> {
        self.place = Place::Argument;
        if c != '=' {
            return (c.is_alphanumeric() || c == '_').then(|| self.lengthen(c))?;
        }
        if self.word.is_empty() {
            return None;
        }
        draft.push_str(if self.has_arguments { ", \"" } else { "{\"" });
        self.has_arguments = true;
        draft.push_str(&std::mem::take(&mut self.word));
        draft.push_str("\": ");
        self.place = Place::Value;
        Some(())
    }

    fn end(&mut self, draft: &mut Draft) -> Progress {
        if self.has_arguments {
            draft.push('}');
        }
        draft.complete();
        Progress::Done
    }

    fn value(&mut self, c: char, draft: &mut Draft) -> Option<()> {
        let is_key = self.open.last() == Some(&'}') && self.place != Place::Value;
        match c {
            '"' | '\'' => {
                draft.push('"');
                self.place = Place::Text {
                    quote: c,
                    is_key,
                    escape: Escape::None,
                };
            }
            // JSON's keys are texts.
            _ if is_key => return None,
            '[' | '(' | '{' if self.open.len() < MAX_DEPTH => {
                draft.push(if c == '{' { '{' } else { '[' });
                self.open.push(match c {
                    '[' => ']',
                    '(' => ')',
                    _ => '}',
                });
                self.place = Place::FirstItem;
            }
            _ if is_word(c) => {
                self.place = Place::Word;
                self.lengthen(c)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn end_word(&mut self, draft: &mut Draft) -> Option<()> {
        let word = std::mem::take(&mut self.word);
        let json = match word.as_str() {
            "True" | "true" => "true",
            "False" | "false" => "false",
            "None" | "null" => "null",
            number => {
                serde_json::from_str::<serde_json::Number>(number).ok()?;
                number
            }
        };
        draft.push_str(json);
        self.place = Place::AfterValue;
        Some(())
    }

    fn after_value(&mut self, c: char, draft: &mut Draft) -> Option<Progress> {
        match (c, self.open.last()) {
            _ if c.is_whitespace() => {}
            (',', None) => self.place = Place::ArgumentOrEnd,
            (')', None) => return Some(self.end(draft)),
            // A comma may also stand before the end, which JSON does not allow.
            (',', Some(_)) => self.place = Place::AfterComma,
            (_, Some(close)) if c == *close => self.close(c, draft)?,
            _ => return None,
        }
        Some(Progress::More)
    }

    fn close(&mut self, c: char, draft: &mut Draft) -> Option<()> {
        self.open.pop()?;
        draft.push(if c == '}' { '}' } else { ']' });
        self.place = Place::AfterValue;
        Some(())
    }

    fn text(
        &mut self,
        c: char,
        (quote, is_key, state): (char, bool, Escape),
        draft: &mut Draft,
    ) -> Option<()> {
        let out = draft.arguments();
        let next = match (state, c) {
            (Escape::None, '\\') => Escape::Begun,
            (Escape::None, _) if c == quote => {
                out.push('"');
                self.place = if is_key {
                    Place::Colon
                } else {
                    Place::AfterValue
                };
                return Some(());
            }
            (Escape::None, _) => {
                escape(c, out);
                Escape::None
            }
            (Escape::Begun, 'x') => Escape::Hex { left: 2, code: 0 },
            (Escape::Begun, 'u') => Escape::Hex { left: 4, code: 0 },
            (Escape::Begun, 'U') => Escape::Hex { left: 8, code: 0 },
            (Escape::Begun, _) => {
                match c {
                    'n' => escape('\n', out),
                    't' => escape('\t', out),
                    'r' => escape('\r', out),
                    '\n' => {}
                    '\\' | '\'' | '"' => escape(c, out),
                    // Python leaves an escape that it does not know as it is.
                    _ => {
                        escape('\\', out);
                        escape(c, out);
                    }
                }
                Escape::None
            }
            (Escape::Hex { left, code }, _) => {
                let code = code.checked_mul(16)? + c.to_digit(16)?;
                match left {
                    1 => {
                        escape(char::from_u32(code)?, out);
                        Escape::None
                    }
                    _ => Escape::Hex {
                        left: left - 1,
                        code,
                    },
                }
            }
        };
        self.place = Place::Text {
            quote,
            is_key,
            escape: next,
        };
        Some(())
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+-._".contains(c)
}
