//! The part of JSON Schema that `/openapi.json` uses, as a check.
//!
//! Stricter than the standard in two ways, so that the document and the server cannot drift apart:
//! a keyword that it does not know is a failure, and so is a property that is not described.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// What does not decide whether a value fits.
const NOTES: [&str; 6] = [
    "description",
    "example",
    "examples",
    "format",
    "title",
    "deprecated",
];

/// Whether `value` fits `schema`, whose references are into `document`.
pub(crate) fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    Checker(document).check(schema, value, "")
}

/// What a reference into the document means.
pub(crate) fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document
            .pointer(reference.strip_prefix('#').unwrap())
            .unwrap_or_else(|| panic!("{reference} leads nowhere")),
        None => value,
    }
}

struct Checker<'a>(&'a Value);

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        self.keywords(schema, value, at)?;
        if let (Value::Object(map), Some(known)) = (value, self.described(schema))
            && let Some(key) = map.keys().find(|key| !known.contains(key.as_str()))
        {
            return Err(format!("{at}/{key} is not described"));
        }
        Ok(())
    }

    fn keywords(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let Value::Object(keywords) = schema else {
            return if schema == &Value::Bool(true) {
                Ok(())
            } else {
                Err(format!("{at} may not be there"))
            };
        };
        for (keyword, rule) in keywords {
            self.keyword(keyword, rule, keywords, value, at)?;
        }
        Ok(())
    }

    fn keyword(
        &self,
        keyword: &str,
        rule: &Value,
        schema: &Map<String, Value>,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let must = |fits: bool| {
            let complaint = || format!("{at}: {value} does not fit {keyword} {rule}");
            if fits { Ok(()) } else { Err(complaint()) }
        };
        let branches = || rule.as_array().unwrap().iter();
        let number = |fits: fn(f64, f64) -> bool| {
            let value = value.as_f64();
            must(value.is_none_or(|value| fits(value, rule.as_f64().unwrap())))
        };
        match keyword {
            "$ref" => self.keywords(resolve(self.0, &Value::Object(schema.clone())), value, at),
            "type" => must(match rule {
                Value::Array(types) => types.iter().any(|one| is_a(one, value)),
                one => is_a(one, value),
            }),
            "enum" => must(branches().any(|one| one == value)),
            "const" => must(rule == value),
            "minimum" => number(|value, bound| value >= bound),
            "maximum" => number(|value, bound| value <= bound),
            "minItems" => must(
                value
                    .as_array()
                    .is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
            ),
            "required" => {
                must(value.as_object().is_none_or(|map| {
                    branches().all(|name| map.contains_key(name.as_str().unwrap()))
                }))
            }
            "properties" => {
                let map = value.as_object().into_iter().flatten();
                map.filter_map(|(key, value)| Some((key, rule.get(key)?, value)))
                    .try_for_each(|(key, rule, value)| {
                        self.check(rule, value, &format!("{at}/{key}"))
                    })
            }
            "additionalProperties" => {
                let named = schema.get("properties").and_then(Value::as_object);
                let map = value.as_object().into_iter().flatten();
                map.filter(|(key, _)| named.is_none_or(|named| !named.contains_key(*key)))
                    .try_for_each(|(key, value)| self.check(rule, value, &format!("{at}/{key}")))
            }
            "propertyNames" => {
                let mut keys = value.as_object().into_iter().flatten().map(|(key, _)| key);
                keys.try_for_each(|key| self.check(rule, &Value::from(key.as_str()), at))
            }
            "items" => {
                let first = schema.get("prefixItems").and_then(Value::as_array);
                let items = value.as_array().into_iter().flatten().enumerate();
                let mut rest = items.skip(first.map_or(0, Vec::len));
                rest.try_for_each(|(index, value)| {
                    self.check(rule, value, &format!("{at}/{index}"))
                })
            }
            "prefixItems" => {
                let items = value.as_array().into_iter().flatten();
                branches()
                    .zip(items)
                    .enumerate()
                    .try_for_each(|(index, (rule, value))| {
                        self.check(rule, value, &format!("{at}/{index}"))
                    })
            }
            "allOf" => branches().try_for_each(|one| self.keywords(one, value, at)),
            "anyOf" | "oneOf" => {
                let outcomes: Vec<_> = branches()
                    .map(|one| self.keywords(one, value, at))
                    .collect();
                match (
                    keyword,
                    outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
                ) {
                    ("anyOf", 1..) | ("oneOf", 1) => Ok(()),
                    ("oneOf", 2..) => Err(format!("{at}: {value} fits several of {rule}")),
                    _ => Err(format!("{at}: {value} fits none: {outcomes:?}")),
                }
            }
            note if NOTES.contains(&note) => Ok(()),
            unknown => panic!("the check does not know {unknown:?}"),
        }
    }

    /// The properties that an object may have; `None` where it may have any.
    fn described(&self, schema: &Value) -> Option<BTreeSet<String>> {
        let schema = resolve(self.0, schema);
        if schema.get("additionalProperties").is_some() {
            return None;
        }
        let mut names = BTreeSet::new();
        let mut says_something = false;
        if let Some(properties) = schema["properties"].as_object() {
            says_something = true;
            names.extend(properties.keys().cloned());
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for branch in schema[keyword].as_array().into_iter().flatten() {
                // No object, or one of which nothing is said: it adds no property.
                if branch["type"] == "null" || branch == &json!({ "type": "object" }) {
                    continue;
                }
                says_something = true;
                names.extend(self.described(branch)?);
            }
        }
        says_something.then_some(names)
    }
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("{unknown:?} is no type"),
    }
}

#[test]
fn the_check_finds_what_does_not_fit() {
    let document = json!({ "components": { "schemas": {
        "Named": { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } },
        "Both": { "allOf": [
            { "$ref": "#/components/schemas/Named" },
            { "type": "object", "properties": { "size": { "type": ["integer", "null"], "minimum": 0 } } },
        ] },
    } } });
    let both = json!({ "$ref": "#/components/schemas/Both" });
    for good in [
        json!({ "name": "a" }),
        json!({ "name": "a", "size": null }),
        json!({ "name": "a", "size": 3 }),
    ] {
        assert_eq!(check(&document, &both, &good), Ok(()));
    }
    for bad in [
        json!({ "size": 3 }),
        json!({ "name": 3 }),
        json!({ "name": "a", "size": -1 }),
        json!({ "name": "a", "other": 1 }),
        json!("a"),
    ] {
        assert!(check(&document, &both, &bad).is_err(), "{bad}");
    }
    let list = json!({ "type": "array", "items": both });
    assert!(check(&document, &list, &json!([{ "name": "a" }, {}])).is_err());
    let either = json!({ "oneOf": [{ "type": "string" }, { "enum": ["a", 1] }] });
    assert_eq!(check(&document, &either, &json!("b")), Ok(()));
    assert!(check(&document, &either, &json!("a")).is_err());
}
