//! As much of TOML as the configuration file is made of: keys with plain values or lists of them, in
//! tables one deep. Owns the reading; must not know which keys there are.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};
use toml_parser::decoder::ScalarKind;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{ParseError, Source, Span};

/// What `text` says, its tables as objects; the reason names the line.
pub(super) fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut events: Vec<Event> = Vec::new();
    let mut error: Option<ParseError> = None;
    // Nothing here is deep, and a parser that recurses should not be led to be.
    let mut bounded = RecursionGuard::new(&mut events, 4);
    parse_document(&tokens, &mut bounded, &mut error);
    match error {
        Some(error) => Err(at(text, error.unexpected(), error.description())),
        None => Reader::new(text, source).read(&events),
    }
}

struct Reader<'a> {
    text: &'a str,
    source: Source<'a>,
    root: Map<String, Value>,
    /// The table that the keys belong to.
    table: Option<String>,
    /// Whether a table's header is being read.
    in_header: bool,
    key: Option<String>,
    list: Option<Vec<Value>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, source: Source<'a>) -> Self {
        Self {
            text,
            source,
            root: Map::new(),
            table: None,
            in_header: false,
            key: None,
            list: None,
        }
    }

    fn read(mut self, events: &[Event]) -> Result<Map<String, Value>, String> {
        for event in events {
            self.take(event)
                .map_err(|reason| at(self.text, Some(event.span()), &reason))?;
        }
        Ok(self.root)
    }

    fn take(&mut self, event: &Event) -> Result<(), String> {
        match event.kind() {
            EventKind::StdTableOpen => self.in_header = true,
            EventKind::StdTableClose => self.in_header = false,
            EventKind::SimpleKey if self.in_header => {
                let name = self.decoded(event)?.0;
                let new = self.root.insert(name.clone(), Value::Object(Map::new()));
                if new.is_some() {
                    return Err(format!("{name:?} is there twice"));
                }
                self.table = Some(name);
            }
            EventKind::SimpleKey => self.key = Some(self.decoded(event)?.0),
            EventKind::ArrayOpen if self.list.is_none() => self.list = Some(Vec::new()),
            EventKind::ArrayClose => {
                if let Some(list) = self.list.take() {
                    self.set(Value::Array(list))?;
                }
            }
            EventKind::Scalar => {
                let value = self.scalar(event)?;
                match &mut self.list {
                    Some(list) => list.push(value),
                    None => self.set(value)?,
                }
            }
            EventKind::KeyValSep
            | EventKind::ValueSep
            | EventKind::Whitespace
            | EventKind::Comment
            | EventKind::Newline => {}
            other => {
                return Err(format!(
                    "there is no place here for a {}",
                    other.description()
                ));
            }
        }
        Ok(())
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        let Some(key) = self.key.take() else {
            return Err("a value has no key".to_owned());
        };
        let table = match &self.table {
            Some(name) => self.root.get_mut(name).and_then(Value::as_object_mut),
            None => Some(&mut self.root),
        };
        match table.and_then(|table| table.insert(key.clone(), value)) {
            Some(_) => Err(format!("{key:?} is there twice")),
            None => Ok(()),
        }
    }

    fn scalar(&self, event: &Event) -> Result<Value, String> {
        let (text, kind) = self.decoded(event)?;
        let number = match kind {
            ScalarKind::String => return Ok(Value::String(text)),
            ScalarKind::Boolean(truth) => return Ok(Value::Bool(truth)),
            ScalarKind::Integer(radix) => i64::from_str_radix(&text, radix.value())
                .ok()
                .map(Number::from),
            ScalarKind::Float => text.parse().ok().and_then(Number::from_f64),
            ScalarKind::DateTime => None,
        };
        let number = number.ok_or_else(|| format!("{text} is no value for a setting"))?;
        Ok(Value::Number(number))
    }

    /// The text of a key or a value, without its quotes.
    fn decoded(&self, event: &Event) -> Result<(String, ScalarKind), String> {
        let raw = self.source.get(event).ok_or("it cannot be read")?;
        let mut error: Option<ParseError> = None;
        let mut text = Cow::Borrowed("");
        let kind = if event.kind() == EventKind::SimpleKey {
            raw.decode_key(&mut text, &mut error);
            ScalarKind::String
        } else {
            raw.decode_scalar(&mut text, &mut error)
        };
        match error {
            Some(error) => Err(error.description().to_owned()),
            None => Ok((text.into_owned(), kind)),
        }
    }
}

/// A reason with its place.
fn at(text: &str, span: Option<Span>, reason: &str) -> String {
    let end = span.map_or(text.len(), |span| span.start());
    let before = text.as_bytes().get(..end).unwrap_or_default();
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    format!("line {line}: {reason}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_values_lists_and_tables_are_read() {
        let text = "# comment\nctx = 8_192\nhalf = 0.5\nhex = 0x10\non = true\n\
                    dirs = [\n  \"/a\", '/b', # both\n]\n[aliases]\n\"gpt-4.1\" = \"ü\\n\"\n";
        let expected = json!({
            "ctx": 8192, "half": 0.5, "hex": 16, "on": true, "dirs": ["/a", "/b"],
            "aliases": { "gpt-4.1": "ü\n" },
        });
        assert_eq!(Value::Object(parse(text).unwrap()), expected);
        assert_eq!(parse(""), Ok(Map::new()));
    }

    #[test]
    fn what_has_no_place_is_refused_with_its_line() {
        for (text, line) in [
            ("a = 1\nb = \n", "line 2"),
            ("a = 1\na = 2", "line 2"),
            ("a.b = 1", "line 1"),
            ("[a]\n[a]", "line 2"),
            ("[[a]]", "line 1"),
            ("[a.b]", "line 1"),
            ("a = { b = 1 }", "line 1"),
            ("a = [[1]]", "line 1"),
            ("\n\na = 1979-05-27", "line 3"),
            ("a = \"", "line 1"),
            ("a = nan", "line 1"),
            ("a", "line 1"),
        ] {
            let reason = parse(text).unwrap_err();
            assert!(reason.starts_with(line), "{text:?}: {reason}");
        }
        let deep = format!("a = {}", "[".repeat(100_000));
        assert!(parse(&deep).is_err());
    }
}
