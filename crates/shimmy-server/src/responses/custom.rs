//! The free text of a custom tool, out of the arguments that a model writes for it.
//!
//! A model is told of such a tool as of a function with one string, [`INPUT`]. What it writes is
//! a piece of JSON that grows; the client wants the text in it, as it grows.

use serde_json::{Value, json};

/// The one argument.
pub(super) const INPUT: &str = "input";

/// The arguments that stand for a text.
pub(super) fn arguments(input: &str) -> String {
    json!({ INPUT: input }).to_string()
}

/// Reads the arguments of one call.
#[derive(Debug, Default)]
pub(super) struct InputReader {
    raw: String,
    /// Bytes of `raw` that have been read.
    read: usize,
    state: State,
    input: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the text's opening quote.
    #[default]
    Head,
    Text,
    /// After its closing quote.
    Done,
    /// Something else than was asked for; the end will show what.
    Lost,
}

impl InputReader {
    /// Takes more of the arguments; returns what of the text is new.
    pub(super) fn push(&mut self, json: &str) -> String {
        self.raw.push_str(json);
        if self.state == State::Head {
            match head(&self.raw) {
                Head::Needs => {}
                Head::Ends(at) => (self.state, self.read) = (State::Text, at),
                Head::Differs => self.state = State::Lost,
            }
        }
        let before = self.input.len();
        while self.state == State::Text {
            let Some((read, piece)) = piece(&self.raw[self.read..]) else {
                break;
            };
            match piece {
                Piece::Char(c) => self.input.push(c),
                Piece::End => self.state = State::Done,
                Piece::Wrong => self.state = State::Lost,
            }
            self.read += read;
        }
        self.input[before..].to_owned()
    }

    /// The whole text, and what of it has not been returned yet.
    pub(super) fn finish(mut self) -> (String, String) {
        if self.state != State::Lost && self.state != State::Head {
            return (self.input, String::new());
        }
        // Not what was asked for: the one text in it, or everything that was written.
        let whole = match serde_json::from_str(&self.raw) {
            Ok(Value::Object(object)) => match object.get(INPUT).or(object.values().next()) {
                Some(Value::String(text)) => text.clone(),
                _ => self.raw,
            },
            Ok(Value::String(text)) => text,
            _ => self.raw,
        };
        // What has gone out cannot be taken back; then it is the text, right or wrong.
        let Some(rest) = whole.strip_prefix(&self.input) else {
            return (std::mem::take(&mut self.input), String::new());
        };
        let rest = rest.to_owned();
        (whole, rest)
    }
}

enum Head {
    /// More is needed to tell.
    Needs,
    /// The text begins here.
    Ends(usize),
    Differs,
}

/// Looks for `{"input":"` with white space where JSON allows it.
fn head(raw: &str) -> Head {
    let mut rest = raw;
    for token in ["{", "\"", INPUT, "\"", ":", "\""] {
        // The name's own quotes allow no space around it, but no model writes one there.
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        match rest.strip_prefix(token) {
            Some(after) => rest = after,
            None if token.starts_with(rest) => return Head::Needs,
            None => return Head::Differs,
        }
    }
    Head::Ends(raw.len() - rest.len())
}

enum Piece {
    Char(char),
    End,
    Wrong,
}

/// The next character of a JSON string's inside, and its bytes; `None` until it is all there.
fn piece(raw: &str) -> Option<(usize, Piece)> {
    let first = raw.chars().next()?;
    if first == '"' {
        return Some((1, Piece::End));
    }
    if first != '\\' {
        return Some((first.len_utf8(), Piece::Char(first)));
    }
    let escape = raw[1..].chars().next()?;
    let plain = match escape {
        '"' | '\\' | '/' => escape,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unicode(raw),
        _ => return Some((1, Piece::Wrong)),
    };
    Some((2, Piece::Char(plain)))
}

/// `\uXXXX`, or a pair of them for one of the rarer characters.
fn unicode(raw: &str) -> Option<(usize, Piece)> {
    let Some(first) = unit(raw)? else {
        return Some((2, Piece::Wrong));
    };
    let (read, units) = if (0xD800..0xDC00).contains(&first) {
        (12, [first, unit(&raw[6..])?.unwrap_or_default()])
    } else {
        (6, [first, 0])
    };
    match char::decode_utf16(units).next() {
        Some(Ok(c)) => Some((read, Piece::Char(c))),
        _ => Some((2, Piece::Wrong)),
    }
}

/// The number in the `\uXXXX` that `raw` begins with, if it does; the outer `None` until that is
/// known.
fn unit(raw: &str) -> Option<Option<u16>> {
    let fits = |(index, byte): (usize, u8)| match index {
        0 => byte == b'\\',
        1 => byte == b'u',
        _ => byte.is_ascii_hexdigit(),
    };
    if !raw.bytes().take(6).enumerate().all(fits) {
        return Some(None);
    }
    Some(u16::from_str_radix(raw.get(2..6)?, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text from arguments cut at every one of `cuts`, and the deltas it came in.
    fn read(arguments: &str, size: usize) -> (String, Vec<String>) {
        let mut reader = InputReader::default();
        let characters: Vec<char> = arguments.chars().collect();
        let mut deltas: Vec<String> = characters
            .chunks(size)
            .map(|piece| reader.push(&piece.iter().collect::<String>()))
            .collect();
        let (whole, rest) = reader.finish();
        deltas.push(rest);
        (whole, deltas)
    }

    #[test]
    fn the_text_arrives_whole_however_the_arguments_are_cut() {
        let patch = "*** Begin Patch\n\t\"é\" \\ / \u{8}\u{c}\r 🦙 \u{0}\n*** End Patch";
        let escaped = r#" { "input" : "\u00e9\ud83e\udd99\/\n" } "#;
        for (arguments, text) in [
            (arguments(patch), patch),
            (arguments(""), ""),
            (escaped.to_owned(), "é🦙/\n"),
        ] {
            for size in 1..=arguments.len() {
                let (whole, deltas) = read(&arguments, size);
                assert_eq!(whole, text, "in pieces of {size}");
                assert_eq!(deltas.concat(), text, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_was_not_asked_for_is_passed_on_as_it_is() {
        for (arguments, text) in [
            (r#"{"patch":"abc"}"#, "abc"),
            (r#"{"other":1,"input":"abc"}"#, "abc"),
            (r#"{"input":["a"]}"#, r#"{"input":["a"]}"#),
            (r#""just text""#, "just text"),
            ("not json", "not json"),
            ("", ""),
            // Cut by the limit.
            (r#"{"input":"ab"#, "ab"),
            (r#"{"input":"ab\u00"#, "ab"),
            (r#"{"input":"ab\ud83e\"#, "ab"),
            (r#"{"inp"#, r#"{"inp"#),
            // Wrong escapes.
            (r#"{"input":"ab\q"}"#, "ab"),
            (r#"{"input":"ab\ud83eé"}"#, "ab"),
            (r#"{"input":"ab\uzzzz"}"#, "ab"),
            ("{\"input\":\"ab\\u0é\"}", "ab"),
        ] {
            for size in 1..=arguments.chars().count().max(1) {
                let (whole, deltas) = read(arguments, size);
                assert_eq!(whole, text, "{arguments} in pieces of {size}");
                assert_eq!(deltas.concat(), text, "{arguments} in pieces of {size}");
            }
        }
    }
}
