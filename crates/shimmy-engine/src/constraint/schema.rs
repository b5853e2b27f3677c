//! What is refused in a JSON schema before it is compiled.
//!
//! The compiler recurses over a schema and writes out some of its numbers; both are bounded here, and
//! those that it would round are found in `numbers`.
//! It does not fetch anything, and a schema that would need it is told so by name.

use serde_json::{Map, Value};

use super::{numbers, pattern};

/// How deep a schema may be.
const DEPTH: usize = 100;

/// Objects, lists and values of a schema, at most.
const VALUES: usize = 60_000;

/// Objects among them that are schemas, at most: compiling this many takes half a second.
const SCHEMAS: usize = 8_000;

/// The greatest number of elements or characters that may be required.
const REQUIRED: u64 = 100_000;

/// Keywords whose values are data and not schemas.
const DATA: [&str; 4] = ["const", "default", "enum", "examples"];

/// Keywords whose values are objects of schemas by name.
const NAMED: [&str; 5] = [
    "$defs",
    "definitions",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

/// What an object in a schema is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Schema,
    /// Its keys are names, its values schemas.
    Named,
    Data,
}

impl Kind {
    /// What stands under `key` in an object of this kind.
    fn within(self, key: &str) -> Self {
        match self {
            Self::Data => Self::Data,
            Self::Named => Self::Schema,
            Self::Schema if DATA.contains(&key) => Self::Data,
            Self::Schema if NAMED.contains(&key) => Self::Named,
            Self::Schema => Self::Schema,
        }
    }
}

/// The formats that the compiler knows. Any other is a note, as the standard has it: it says how a text
/// is meant, shown or stored. The compiler would take it for one that it cannot enforce.
pub(super) const FORMATS: [&str; 10] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "time",
    "uri",
    "uuid",
];

/// The same schema as the compiler can take it: without the formats that are notes, and with the ends
/// of 64 bits where it can keep them.
pub(super) fn enforceable(mut schema: Value) -> Value {
    let mut left = vec![(&mut schema, Kind::Schema)];
    while let Some((value, kind)) = left.pop() {
        match value {
            Value::Array(list) => left.extend(list.iter_mut().map(|value| (value, kind))),
            Value::Object(object) => {
                if kind == Kind::Schema {
                    let format = object.get("format").and_then(Value::as_str);
                    if format.is_some_and(|format| !FORMATS.contains(&format)) {
                        object.remove("format");
                    }
                    numbers::draw_in(object);
                }
                let inside = object.iter_mut();
                left.extend(inside.map(|(key, value)| (value, kind.within(key))));
            }
            _ => {}
        }
    }
    schema
}

/// Checks a schema; an error says what is wrong, as the end of a sentence.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut left = vec![(schema, 0, Kind::Schema)];
    let (mut values, mut schemas) = (0, 0);
    while let Some((value, depth, kind)) = left.pop() {
        values += 1;
        if depth > DEPTH {
            return Err(format!("is nested more than {DEPTH} deep"));
        }
        if values > VALUES {
            return Err(format!("is too big: it has more than {VALUES} values"));
        }
        match value {
            Value::Array(list) => left.extend(list.iter().map(|value| (value, depth + 1, kind))),
            Value::Object(object) => {
                if kind == Kind::Schema {
                    schemas += 1;
                    check_keywords(object)?;
                }
                if schemas > SCHEMAS {
                    return Err(format!("is too big: it has more than {SCHEMAS} schemas"));
                }
                for (key, value) in object {
                    if key == "patternProperties" && kind == Kind::Schema {
                        check_patterns(value)?;
                    }
                    left.push((value, depth + 1, kind.within(key)));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_keywords(schema: &Map<String, Value>) -> Result<(), String> {
    if let Some(Value::String(target)) = schema.get("$ref")
        && !target.starts_with('#')
    {
        return Err(format!(
            "refers to {target:?}, and nothing outside of the schema itself is fetched"
        ));
    }
    if let Some(Value::String(pattern)) = schema.get("pattern") {
        pattern::check(pattern).map_err(|reason| named("pattern", pattern, &reason))?;
    }
    numbers::check(schema)?;
    for keyword in ["minItems", "minLength", "minProperties"] {
        let required = schema.get(keyword).and_then(Value::as_f64);
        if required.is_some_and(|required| required > REQUIRED as f64) {
            return Err(format!(
                "has a `{keyword}` of more than {REQUIRED}, which no answer can have"
            ));
        }
    }
    Ok(())
}

fn check_patterns(patterns: &Value) -> Result<(), String> {
    let patterns = patterns.as_object().into_iter().flat_map(Map::keys);
    for pattern in patterns {
        pattern::check(pattern).map_err(|reason| named("patternProperties", pattern, &reason))?;
    }
    Ok(())
}

fn named(keyword: &str, pattern: &str, reason: &str) -> String {
    let shown: String = pattern.chars().take(60).collect();
    format!("has a `{keyword}` that {reason}: {shown:?}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_abuse_is_named() {
        let mut deep = json!(true);
        for _ in 0..DEPTH + 1 {
            deep = json!({ "items": deep });
        }
        let abuses = [
            (json!({ "minItems": 1e9 }), "minItems"),
            (
                json!({ "properties": { "a": { "minLength": 1_000_000_000 } } }),
                "minLength",
            ),
            (json!({ "$ref": "http://127.0.0.1/x" }), "127.0.0.1"),
            (json!({ "anyOf": [{ "$ref": "other.json" }] }), "fetched"),
            (json!({ "pattern": "foo**" }), "pattern"),
            (
                json!({ "patternProperties": { "a{1000000}": {} } }),
                "patternProperties",
            ),
            (deep, "deep"),
            (json!({ "enum": vec![0; VALUES] }), "values"),
            (json!({ "anyOf": vec![json!({}); SCHEMAS] }), "schemas"),
        ];
        for (schema, word) in abuses {
            let refusal = check(&schema).expect_err(word);
            assert!(refusal.contains(word), "{refusal}");
        }
    }

    #[test]
    fn names_and_data_that_look_like_keywords_pass() {
        let schema = json!({
            "properties": {
                "pattern": { "const": { "$ref": "x", "pattern": "a**" } },
                "minItems": { "type": "integer", "default": 1e9 },
                "$ref": { "type": "string" },
            },
            "enum": [{ "minItems": 1e9 }],
        });
        assert_eq!(check(&schema), Ok(()));
    }
}
