//! JSON read character by character: whether it is still well-formed, and where it is.
//!
//! It must not know what the text is for, and keeps none of it.

/// Deeper values are refused, as the server refuses them in requests.
const MAX_DEPTH: usize = 128;

/// Reads one JSON value.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    /// Open containers, outermost first.
    open: Vec<Container>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Object,
    Array,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A value must come.
    Value,
    /// A value or the end of the array.
    FirstItem,
    /// A key or the end of the object.
    FirstKey,
    /// A key must come.
    Key,
    /// The colon after a key.
    Colon,
    Text(Text),
    /// `true`, `false` or `null`; what is left of it.
    Word(&'static str),
    Number(Number),
    /// A comma or the container's end.
    AfterValue,
    Done,
}

/// Inside a string, which may be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Text {
    is_key: bool,
    escape: Escape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// Hexadecimal digits that are still to come.
    Hex(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// What a character was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing that a reader of keys and values has to know.
    Inside,
    /// A character of a key, without the quotation marks.
    KeyText,
    /// The end of a key.
    KeyEnd,
    /// The first character of a value.
    ValueStart,
    /// The last character of an object, array, string or word. A number ends unnoticed.
    ValueEnd,
}

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Default for Scanner {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            place: Place::Value,
        }
    }
}

impl Scanner {
    /// Containers that are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether the value is complete.
    pub(super) fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// Takes one character.
    pub(super) fn push(&mut self, c: char) -> Result<Step, Malformed> {
        match self.place {
            Place::Text(text) => return self.text(text, c),
            Place::Word(rest) => return self.word(rest, c),
            Place::Number(number) => match number.after(c) {
                Some(next) => {
                    self.place = Place::Number(next);
                    return Ok(Step::Inside);
                }
                None if number.may_end() => self.close_value(),
                None => return Err(Malformed),
            },
            _ => {}
        }
        if matches!(c, ' ' | '\n' | '\r' | '\t') && self.place != Place::Done {
            return Ok(Step::Inside);
        }
        match (self.place, c) {
            (Place::FirstItem, ']') | (Place::FirstKey, '}') => self.close(c),
            (Place::Value | Place::FirstItem, _) => self.value(c),
            (Place::FirstKey | Place::Key, '"') => {
                self.begin_text(true);
                Ok(Step::Inside)
            }
            (Place::Colon, ':') => {
                self.place = Place::Value;
                Ok(Step::Inside)
            }
            (Place::AfterValue, ',') => {
                self.place = match self.open.last() {
                    Some(Container::Object) => Place::Key,
                    _ => Place::Value,
                };
                Ok(Step::Inside)
            }
            (Place::AfterValue, '}' | ']') => self.close(c),
            _ => Err(Malformed),
        }
    }

    fn begin_text(&mut self, is_key: bool) {
        self.place = Place::Text(Text {
            is_key,
            escape: Escape::None,
        });
    }

    fn value(&mut self, c: char) -> Result<Step, Malformed> {
        match c {
            '{' | '[' if self.open.len() == MAX_DEPTH => return Err(Malformed),
            '{' => {
                self.open.push(Container::Object);
                self.place = Place::FirstKey;
            }
            '[' => {
                self.open.push(Container::Array);
                self.place = Place::FirstItem;
            }
            '"' => self.begin_text(false),
            't' => self.place = Place::Word("rue"),
            'f' => self.place = Place::Word("alse"),
            'n' => self.place = Place::Word("ull"),
            '-' => self.place = Place::Number(Number::Minus),
            '0' => self.place = Place::Number(Number::Zero),
            '1'..='9' => self.place = Place::Number(Number::Whole),
            _ => return Err(Malformed),
        }
        Ok(Step::ValueStart)
    }

    fn text(&mut self, text: Text, c: char) -> Result<Step, Malformed> {
        let escape = match (text.escape, c) {
            (Escape::None, '"') if text.is_key => {
                self.place = Place::Colon;
                return Ok(Step::KeyEnd);
            }
            (Escape::None, '"') => {
                self.close_value();
                return Ok(Step::ValueEnd);
            }
            (Escape::None, '\\') => Escape::Begun,
            (Escape::None, c) if c >= ' ' => Escape::None,
            (Escape::Begun, 'u') => Escape::Hex(4),
            (Escape::Begun, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Escape::None,
            (Escape::Hex(1), c) if c.is_ascii_hexdigit() => Escape::None,
            (Escape::Hex(left), c) if c.is_ascii_hexdigit() => Escape::Hex(left - 1),
            _ => return Err(Malformed),
        };
        self.place = Place::Text(Text { escape, ..text });
        Ok(match text.is_key {
            true => Step::KeyText,
            false => Step::Inside,
        })
    }

    fn word(&mut self, rest: &'static str, c: char) -> Result<Step, Malformed> {
        let rest = rest.strip_prefix(c).ok_or(Malformed)?;
        if rest.is_empty() {
            self.close_value();
            return Ok(Step::ValueEnd);
        }
        self.place = Place::Word(rest);
        Ok(Step::Inside)
    }

    fn close(&mut self, c: char) -> Result<Step, Malformed> {
        let container = match c {
            '}' => Container::Object,
            _ => Container::Array,
        };
        if self.open.pop() != Some(container) {
            return Err(Malformed);
        }
        self.close_value();
        Ok(Step::ValueEnd)
    }

    fn close_value(&mut self) {
        self.place = match self.open.is_empty() {
            true => Place::Done,
            false => Place::AfterValue,
        };
    }
}

impl Number {
    /// The number with one more character, if it goes on with it.
    fn after(self, c: char) -> Option<Self> {
        Some(match (self, c) {
            (Self::Minus, '0') => Self::Zero,
            (Self::Minus, '1'..='9') | (Self::Whole, '0'..='9') => Self::Whole,
            (Self::Zero | Self::Whole, '.') => Self::Point,
            (Self::Point | Self::Fraction, '0'..='9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, 'e' | 'E') => Self::Exponent,
            (Self::Exponent, '+' | '-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, '0'..='9') => {
                Self::ExponentDigits
            }
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Whole | Self::Fraction | Self::ExponentDigits
        )
    }
}

/// Appends a character as JSON's strings have it.
pub(super) fn escape(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Whether the whole text is one object.
    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::default();
        text.chars().all(|c| scanner.push(c).is_ok()) && scanner.is_done()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]
        #[test]
        fn it_agrees_with_a_parser_that_sees_the_whole(
            inside in r#"[ a\[\]{}:,"\\0-2.eE+tnrulfs-]{0,14}"#,
        ) {
            let text = format!("{{{inside}}}");
            let whole = serde_json::from_str::<Value>(&text);
            // A number too large for a float is well-formed all the same.
            let is_large = whole.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
            prop_assume!(!is_large);
            prop_assert_eq!(accepts(&text), whole.is_ok(), "{}", text);
        }
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(accepts(&nested(MAX_DEPTH)));
        assert!(!accepts(&nested(MAX_DEPTH + 1)));
    }
}
