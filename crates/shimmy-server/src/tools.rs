//! Tool definitions in OpenAI's shape, which several dialects share.

use serde_json::{Value, json};
use shimmy_chat::Tool;

use crate::error::ApiError;

/// The functions of a request's `tools`. Every complaint names the place in `field`.
pub(crate) fn tools(field: &str, wire: Vec<Value>) -> Result<Vec<Tool>, ApiError> {
    let mut tools = Vec::with_capacity(wire.len());
    for (index, definition) in wire.iter().enumerate() {
        let at = || format!("{field}[{index}]");
        let function = match definition["type"].as_str() {
            Some("function") | None => &definition["function"],
            Some(kind) => {
                let reason = format!("is {kind:?}, but only functions can be called");
                return Err(ApiError::field(format!("{}.type", at()), reason));
            }
        };
        tools.push(tool(function, &format!("{}.function", at()))?);
    }
    Ok(tools)
}

/// One function; `at` names its place.
pub(crate) fn tool(function: &Value, at: &str) -> Result<Tool, ApiError> {
    let Some(name) = function["name"].as_str().filter(|name| !name.is_empty()) else {
        return Err(ApiError::field(format!("{at}.name"), "is required"));
    };
    let parameters = match &function["parameters"] {
        Value::Null => json!({ "type": "object", "properties": {} }),
        schema @ Value::Object(_) => schema.clone(),
        _ => {
            let reason = "must be a JSON schema: an object";
            return Err(ApiError::field(format!("{at}.parameters"), reason));
        }
    };
    let description = match &function["description"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        _ => {
            return Err(ApiError::field(
                format!("{at}.description"),
                "must be a text",
            ));
        }
    };
    let strict = match &function["strict"] {
        Value::Null => false,
        Value::Bool(strict) => *strict,
        _ => {
            return Err(ApiError::field(
                format!("{at}.strict"),
                "must be true or false",
            ));
        }
    };
    Ok(Tool {
        name: name.to_owned(),
        description,
        parameters,
        strict,
    })
}
