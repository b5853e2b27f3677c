//! `tojson` as Hugging Face's templates mean it: Python's `json.dumps`.
//!
//! Models were trained on this very spelling of their tools, so separators, escapes, floats and
//! the order of keys are Python's. Nothing is escaped for HTML, unlike in Jinja's own filter. This
//! file must not know what is being written or why.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Deeper values come from no request (those end at 128) but from a template gone wild.
const MAX_DEPTH: usize = 200;
/// Fuel is charged for every so many bytes, as the template engine does for its own output.
const BYTES_PER_FUEL: usize = 16;

/// The filter: `value | tojson(indent=4)`, with `json.dumps`'s other arguments that are in use.
pub(super) fn tojson(state: &State<'_, '_>, value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        Some(indent) if !indent.is_none() => Some(indentation(&indent)?),
        _ => None,
    };
    let (item, key) = match kwargs.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => separators(&pair)?,
        _ if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        _ => (", ".to_owned(), ": ".to_owned()),
    };
    let mut writer = Writer {
        state,
        indent,
        item,
        key,
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        out: String::new(),
        charged: 0,
    };
    kwargs.assert_all_used()?;
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

/// A value without a blank: how Go writes JSON.
pub(super) fn compact(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut writer = Writer {
        state,
        indent: None,
        item: ",".to_owned(),
        key: ":".to_owned(),
        ascii: false,
        sort: false,
        out: String::new(),
        charged: 0,
    };
    writer.value(value, 0)?;
    Ok(writer.out)
}

fn indentation(indent: &Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str() {
        return Ok(text.to_owned());
    }
    let width = usize::try_from(indent.clone())?;
    if width > 64 {
        return Err(refused("tojson cannot indent by more than 64"));
    }
    Ok(" ".repeat(width))
}

fn separators(pair: &Value) -> Result<(String, String), Error> {
    let texts: Vec<_> = pair
        .try_iter()?
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect();
    <[String; 2]>::try_from(texts)
        .map(|[item, key]| (item, key))
        .map_err(|_| refused("tojson's separators must be two strings"))
}

fn refused(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

struct Writer<'a, 'template, 'env> {
    state: &'a State<'template, 'env>,
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    sort: bool,
    out: String,
    charged: usize,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(refused("tojson got a value that is nested too deeply"));
        }
        self.charge()?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list('[', ']', items, depth, |this, item| {
                    this.value(&item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                self.list('{', '}', keys, depth, |this, key| {
                    this.map_key(&key)?;
                    this.value(&value.get_item(&key)?, depth + 1)
                })?;
            }
            kind => {
                return Err(refused(format!(
                    "tojson cannot write a value of type {kind}"
                )));
            }
        }
        self.charge()
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        items: Vec<Value>,
        depth: usize,
        mut write: impl FnMut(&mut Self, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        let is_empty = items.is_empty();
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push_str(&self.item);
            }
            self.new_line(depth + 1);
            write(self, item)?;
        }
        if !is_empty {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    /// Python writes keys that are no strings as the JSON of what they are, in quotes.
    fn map_key(&mut self, key: &Value) -> Result<(), Error> {
        match key.as_str() {
            Some(text) => self.string(text),
            None if matches!(
                key.kind(),
                ValueKind::None | ValueKind::Bool | ValueKind::Number
            ) =>
            {
                self.out.push('"');
                self.value(key, 0)?;
                self.out.push('"');
            }
            None => return Err(refused("tojson needs keys that are strings or numbers")),
        }
        self.out.push_str(&self.key);
        Ok(())
    }

    fn number(&mut self, value: &Value) {
        if value.is_integer() {
            self.out.push_str(&value.to_string());
            return;
        }
        match f64::try_from(value.clone()) {
            Ok(number) => self.out.push_str(&python_float(number)),
            Err(_) => self.out.push_str(&value.to_string()),
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => self.escape(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(self.out, "\\u{unit:04x}");
        }
    }

    fn charge(&mut self) -> Result<(), Error> {
        let fuel = (self.out.len() - self.charged) / BYTES_PER_FUEL;
        self.charged += fuel * BYTES_PER_FUEL;
        // One for the step itself, so that a deep tree of empty lists is not free.
        self.state.consume_fuel(fuel as u64 + 1)
    }
}

/// A float as Python's `repr` spells it: the shortest digits that read back as the same number,
/// with an exponent below 1e-4 and from 1e16 on.
fn python_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        return format!("{number:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::python_float;

    #[test]
    fn floats_are_spelled_as_python_spells_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e100, "1.25e+100"),
            (f64::INFINITY, "Infinity"),
            (f64::NAN, "NaN"),
        ];
        for (number, text) in cases {
            assert_eq!(python_float(number), text);
        }
    }
}
