//! The shape of an answer in the words of other servers: llama-server's `json_schema`, vLLM's
//! `structured_outputs` and what that replaced.

use serde::Deserialize;
use serde_json::Value;
use shimmy_engine::Constraint;
use utoipa::ToSchema;

use crate::error::ApiError;

/// What has a meaning of its own in a pattern.
const META: &str = r"\.+*?()|[]{}^$#&-~";

/// Read beside `response_format` and `grammar`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = OpenAiOtherShapes)]
pub(super) struct OtherShapes {
    /// A JSON schema.
    json_schema: Option<Value>,
    /// The same, or its text.
    guided_json: Option<Value>,
    guided_regex: Option<String>,
    /// The answer is one of these.
    guided_choice: Option<Vec<String>>,
    guided_grammar: Option<String>,
    structured_outputs: Option<Structured>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = OpenAiStructuredOutputs)]
struct Structured {
    json: Option<Value>,
    regex: Option<String>,
    choice: Option<Vec<String>>,
    grammar: Option<String>,
    json_object: Option<bool>,
    structural_tag: Option<Value>,
}

impl OtherShapes {
    /// The one that is asked for, with the field that asks for it.
    pub(super) fn read(self) -> Result<Option<(&'static str, Constraint)>, ApiError> {
        let structured = self.structured_outputs.unwrap_or_default();
        if structured.structural_tag.is_some() {
            let field = "structured_outputs.structural_tag";
            return Err(ApiError::field(field, "is not supported"));
        }
        let json_object = structured.json_object == Some(true);
        let all = [
            ("json_schema", schema("json_schema", self.json_schema)?),
            ("guided_json", schema("guided_json", self.guided_json)?),
            ("guided_regex", self.guided_regex.map(Constraint::Regex)),
            (
                "guided_choice",
                choice("guided_choice", self.guided_choice)?,
            ),
            (
                "guided_grammar",
                self.guided_grammar.map(Constraint::Grammar),
            ),
            (
                "structured_outputs.json",
                schema("structured_outputs.json", structured.json)?,
            ),
            (
                "structured_outputs.regex",
                structured.regex.map(Constraint::Regex),
            ),
            (
                "structured_outputs.choice",
                choice("structured_outputs.choice", structured.choice)?,
            ),
            (
                "structured_outputs.grammar",
                structured.grammar.map(Constraint::Grammar),
            ),
            (
                "structured_outputs.json_object",
                json_object.then_some(Constraint::JsonObject),
            ),
        ];
        let mut asked = all
            .into_iter()
            .filter_map(|(field, shape)| Some((field, shape?)));
        match (asked.next(), asked.next()) {
            (_, Some((field, _))) => Err(combined(field)),
            (only, None) => Ok(only),
        }
    }
}

/// The complaint about a second shape.
pub(super) fn combined(field: &str) -> ApiError {
    ApiError::field(field, "cannot be combined with another output format")
}

fn schema(field: &str, value: Option<Value>) -> Result<Option<Constraint>, ApiError> {
    let value = match value {
        Some(Value::String(text)) => {
            Some(serde_json::from_str(&text).unwrap_or(Value::String(text)))
        }
        value => value,
    };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(schema @ Value::Object(_)) => Ok(Some(Constraint::JsonSchema(schema))),
        Some(_) => Err(ApiError::field(field, "must be a JSON schema: an object")),
    }
}

fn choice(field: &str, texts: Option<Vec<String>>) -> Result<Option<Constraint>, ApiError> {
    match texts {
        None => Ok(None),
        Some(texts) if texts.is_empty() => Err(ApiError::field(field, "is empty")),
        Some(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| escaped(text)).collect();
            Ok(Some(Constraint::Regex(texts.join("|"))))
        }
    }
}

/// A text as the pattern that only it matches.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if META.contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
