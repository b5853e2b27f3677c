//! Prompts that are no conversation, as clients write them: texts, tokens, or both mixed.
//!
//! One reading for all routes that take such prompts: OpenAI's four shapes and llama-server's
//! mixed ones do not contradict each other. What is done with a prompt is not known here.

use serde_json::{Map, Value};
use shimmy_engine::{Prompt, PromptPart, Specials, Token};
use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type,
};

use crate::error::ApiError;
use crate::model::LoadedModel;

/// The prompts in `field`, at least one and at most `most`: a text, a list of tokens, a list that
/// mixes both, or a list of any of these. Every complaint names the place.
pub(crate) fn prompts(
    field: &str,
    value: Option<Value>,
    most: usize,
) -> Result<Vec<Prompt>, ApiError> {
    let list = match value {
        None | Some(Value::Null) => return Err(ApiError::field(field, "is required")),
        Some(Value::Array(list)) => list,
        Some(one) => return Ok(vec![prompt(field, one)?]),
    };
    if list.is_empty() {
        return Err(ApiError::field(field, "is empty"));
    }
    // A token among the elements makes the whole list one prompt.
    if list.iter().any(Value::is_number) {
        return Ok(vec![mixed(field, list)?]);
    }
    if list.len() > most {
        let reason = format!("may hold {most} entries, got {}", list.len());
        return Err(ApiError::field(field, reason));
    }
    let entries = list.into_iter().enumerate();
    entries
        .map(|(index, entry)| prompt(&format!("{field}[{index}]"), entry))
        .collect()
}

/// How such a field is described.
pub(crate) fn schema() -> Schema {
    let of = |kind: Type| ObjectBuilder::new().schema_type(SchemaType::from(kind));
    let entry = AnyOfBuilder::new()
        .item(of(Type::String))
        .item(of(Type::Integer))
        .item(ArrayBuilder::new())
        .item(of(Type::Object));
    AnyOfBuilder::new()
        .item(of(Type::String))
        .item(of(Type::Object))
        .item(ArrayBuilder::new().items(entry))
        .into()
}

/// The text of a prompt as the model reads it, tokens spelt out.
pub(crate) fn text(model: &LoadedModel, prompt: &Prompt) -> String {
    let mut bytes = Vec::new();
    for part in &prompt.parts {
        match part {
            PromptPart::Marked(text) | PromptPart::Literal(text) => {
                bytes.extend_from_slice(text.as_bytes());
            }
            PromptPart::Tokens(tokens) => {
                let tokenizer = model.session.tokenizer();
                for &token in tokens {
                    tokenizer.append_piece(token, Specials::Parse, &mut bytes);
                }
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn prompt(at: &str, value: Value) -> Result<Prompt, ApiError> {
    match value {
        Value::String(text) => Ok(Prompt::marked(text)),
        Value::Array(list) => mixed(at, list),
        Value::Object(fields) => object(at, fields),
        _ => {
            let reason = "must be a text, a list of tokens, or a list of these";
            Err(ApiError::field(at, reason))
        }
    }
}

/// One prompt of tokens and texts.
fn mixed(at: &str, list: Vec<Value>) -> Result<Prompt, ApiError> {
    if list.is_empty() {
        return Err(ApiError::field(at, "is empty"));
    }
    let mut parts = Vec::new();
    for (index, entry) in list.into_iter().enumerate() {
        match entry {
            Value::String(text) => parts.push(PromptPart::Marked(text)),
            entry => {
                let token = token(&entry).ok_or_else(|| {
                    ApiError::field(format!("{at}[{index}]"), "must be a token's id or a text")
                })?;
                match parts.last_mut() {
                    Some(PromptPart::Tokens(tokens)) => tokens.push(token),
                    _ => parts.push(PromptPart::Tokens(vec![token])),
                }
            }
        }
    }
    Ok(Prompt { parts })
}

/// llama-server's way to put images beside a text.
fn object(at: &str, mut fields: Map<String, Value>) -> Result<Prompt, ApiError> {
    let media = fields.get("multimodal_data").and_then(Value::as_array);
    if media.is_some_and(|media| !media.is_empty()) {
        let field = format!("{at}.multimodal_data");
        return Err(ApiError::field(
            field,
            "is refused: this model reads only text",
        ));
    }
    match fields.remove("prompt_string") {
        Some(Value::String(text)) => Ok(Prompt::marked(text)),
        _ => Err(ApiError::field(
            format!("{at}.prompt_string"),
            "is required, as a text",
        )),
    }
}

fn token(value: &Value) -> Option<Token> {
    value.as_u64().and_then(|id| Token::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Vec<Prompt>, ApiError> {
        prompts("prompt", Some(value), 3)
    }

    #[test]
    fn every_shape_is_read() {
        let marked = |text: &str| Prompt::marked(text);
        let tokens = |ids: &[Token]| Prompt {
            parts: vec![PromptPart::Tokens(ids.to_vec())],
        };
        for (value, expected) in [
            (json!("a"), vec![marked("a")]),
            (json!(["a"]), vec![marked("a")]),
            (json!(["a", "b"]), vec![marked("a"), marked("b")]),
            (json!([1, 2]), vec![tokens(&[1, 2])]),
            (json!([[1, 2], [3]]), vec![tokens(&[1, 2]), tokens(&[3])]),
            (json!(["a", [3]]), vec![marked("a"), tokens(&[3])]),
            (json!({ "prompt_string": "a" }), vec![marked("a")]),
        ] {
            assert_eq!(read(value.clone()).unwrap(), expected, "{value}");
        }
        let mixed = Prompt {
            parts: vec![
                PromptPart::Tokens(vec![1, 2]),
                PromptPart::Marked("a".to_owned()),
                PromptPart::Tokens(vec![3]),
            ],
        };
        assert_eq!(read(json!([1, 2, "a", 3])).unwrap(), [mixed]);
    }

    #[test]
    fn what_is_no_prompt_names_its_place() {
        for (value, place) in [
            (json!(null), "prompt"),
            (json!([]), "prompt"),
            (json!(7), "prompt"),
            (json!(["a", "b", "c", "d"]), "prompt"),
            (json!([1, -2]), "prompt[1]"),
            (json!([1, 1.5]), "prompt[1]"),
            (json!([1, 4_294_967_296_u64]), "prompt[1]"),
            (json!(["a", null]), "prompt[1]"),
            (json!([[1], []]), "prompt[1]"),
            (json!([[1], [2, true]]), "prompt[1][1]"),
            (json!({}), "prompt.prompt_string"),
            (
                json!({ "prompt_string": "a", "multimodal_data": ["aGk="] }),
                "prompt.multimodal_data",
            ),
        ] {
            let error = read(value.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(place), "{value}");
        }
    }
}
