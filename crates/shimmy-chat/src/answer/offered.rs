//! The tools that an answer may call, as far as reading their arguments needs to know them.

use serde_json::Value;

use crate::request::Tool;

/// Deepest choice of schemas that is looked into.
const MAX_DEPTH: usize = 8;

/// Tools by name.
#[derive(Debug, Default)]
pub(super) struct Offered(Vec<(String, Value)>);

/// Which kinds of values a schema admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u8);

const TEXT: u8 = 1;
const NUMBER: u8 = 2;
const BOOLEAN: u8 = 4;
const NULL: u8 = 8;
const ARRAY: u8 = 16;
const OBJECT: u8 = 32;
const ANY: u8 = 63;

impl Offered {
    pub(super) fn new(tools: &[Tool]) -> Self {
        let tools = tools.iter();
        Self(
            tools
                .map(|tool| (tool.name.clone(), tool.parameters.clone()))
                .collect(),
        )
    }

    /// Whether a tool of that name is offered.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// What an argument may be; a text where nothing is known of it.
    pub(super) fn kinds(&self, tool: &str, argument: &str) -> Kinds {
        let found = self.0.iter().find(|(name, _)| name == tool);
        let root = found.map(|(_, schema)| schema);
        let schema = root.map(|schema| &schema["properties"][argument]);
        match (root, schema) {
            (Some(root), Some(schema)) if !schema.is_null() => Kinds(kinds(schema, root, 0)),
            _ => Kinds(TEXT),
        }
    }
}

impl Kinds {
    /// Whether it can only be a text.
    pub(super) fn is_text(self) -> bool {
        self.0 == TEXT
    }

    /// Whether this value is one of the kinds.
    pub(super) fn admit(self, value: &Value) -> bool {
        self.0 & kind(value) != 0
    }
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => BOOLEAN,
        Value::Number(_) => NUMBER,
        Value::String(_) => TEXT,
        Value::Array(_) => ARRAY,
        Value::Object(_) => OBJECT,
    }
}

fn named(kind: &Value) -> u8 {
    match kind.as_str() {
        Some("string") => TEXT,
        Some("number" | "integer") => NUMBER,
        Some("boolean") => BOOLEAN,
        Some("null") => NULL,
        Some("array") => ARRAY,
        Some("object") => OBJECT,
        _ => ANY,
    }
}

fn kinds(schema: &Value, root: &Value, depth: usize) -> u8 {
    if depth > MAX_DEPTH {
        return ANY;
    }
    let of_all = |schemas: &[Value]| {
        let kinds = schemas.iter().map(|schema| kinds(schema, root, depth + 1));
        kinds.fold(0, |all, one| all | one)
    };
    match &schema["type"] {
        Value::Null => {}
        Value::Array(types) => return types.iter().map(named).fold(0, |all, one| all | one),
        one => return named(one),
    }
    if let Some(target) = schema["$ref"].as_str() {
        let target = target.strip_prefix('#').and_then(|at| root.pointer(at));
        return target.map_or(ANY, |target| kinds(target, root, depth + 1));
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(kind).fold(0, |all, one| all | one);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(schemas) = schema[choice].as_array() {
            return of_all(schemas);
        }
    }
    match &schema["const"] {
        Value::Null => ANY,
        value => kind(value),
    }
}
