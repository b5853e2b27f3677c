//! What is read of answers. Owns how a test reads one; its files have what is read of which.

mod cuts;
mod forced;
mod notations;
mod words;

use serde_json::{Value, json};

use super::*;
use crate::notation::NOTATIONS;

/// A whole answer, with pieces joined.
#[derive(Debug, Default, PartialEq)]
struct Read {
    content: String,
    reasoning: String,
    calls: Vec<(String, String)>,
}

impl Read {
    fn of(deltas: Vec<Delta>) -> Self {
        let mut read = Self::default();
        for delta in deltas {
            match delta {
                Delta::Content(text) => {
                    assert!(!text.is_empty());
                    read.content.push_str(&text);
                }
                Delta::Reasoning(text) => {
                    assert!(!text.is_empty());
                    read.reasoning.push_str(&text);
                }
                Delta::ToolCall { index, name } => {
                    assert_eq!(index, read.calls.len());
                    read.calls.push((name, String::new()));
                }
                Delta::ToolArguments { index, json } => {
                    assert_eq!(index + 1, read.calls.len());
                    assert!(!json.is_empty());
                    read.calls[index].1.push_str(&json);
                }
            }
        }
        read
    }

    fn calls(&self) -> Vec<(&str, Value)> {
        let value =
            |arguments: &str| serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments));
        let calls = self.calls.iter();
        calls
            .map(|(name, arguments)| (name.as_str(), value(arguments)))
            .collect()
    }
}

fn tools() -> Vec<Tool> {
    let tool = |name: &str, parameters: Value| Tool {
        name: name.to_owned(),
        description: None,
        parameters,
        strict: false,
    };
    vec![
        tool(
            "weather",
            json!({ "type": "object", "properties": {
                "city": { "type": "string" },
                "days": { "type": "integer" },
                "tags": { "anyOf": [{ "type": "array" }, { "type": "null" }] },
                "unit": { "$ref": "#/$defs/unit" },
            }, "$defs": { "unit": { "enum": ["c", "f", null] } } }),
        ),
        tool("time", json!({ "type": "object", "properties": {} })),
    ]
}

fn notation(name: &str) -> &'static Notation {
    let found = NOTATIONS.iter().find(|notation| notation.name == name);
    found
        .copied()
        .unwrap_or_else(|| panic!("no notation {name}"))
}

fn format(name: &str) -> AnswerFormat {
    formed(name, |_| {})
}

fn formed(name: &str, change: impl FnOnce(&mut Parts<'_>)) -> AnswerFormat {
    let tools = tools();
    let mut parts = Parts {
        notation: notation(name),
        tools: &tools,
        only_one_call: false,
        must_call: false,
        is_forced: false,
        thoughts: ThoughtMarks::of("<think></think>"),
        are_thoughts_open: false,
        certain: Vec::new(),
    };
    change(&mut parts);
    AnswerFormat::new(parts)
}

fn read(format: &AnswerFormat, pieces: &[&str]) -> Read {
    let mut parser = format.parser();
    let mut deltas = Vec::new();
    for piece in pieces {
        let mut new = Vec::new();
        parser.push(piece, &mut new);
        deltas.extend(new);
    }
    parser.finish(&mut deltas);
    Read::of(deltas)
}
