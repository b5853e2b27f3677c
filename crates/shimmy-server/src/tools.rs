//! Tool definitions in OpenAI's shape, which several dialects share.

use serde_json::{Value, json};
use shimmy_chat::Tool;

use crate::error::ApiError;

/// What a vendor lets functions be called. Every notation of calls has room for all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    longest: usize,
    /// Beside letters and digits.
    others: &'static str,
}

impl Names {
    pub(crate) const OPENAI: Self = Self {
        longest: 64,
        others: "_-",
    };
    pub(crate) const ANTHROPIC: Self = Self {
        longest: 128,
        others: "_-",
    };
    /// The vendor has no rule of its own.
    pub(crate) const OLLAMA: Self = Self {
        longest: 128,
        others: "_-.",
    };

    /// Refuses a name at `at` that is none.
    pub(crate) fn check(self, at: impl Into<String>, name: &str) -> Result<(), ApiError> {
        let Self { longest, others } = self;
        let fits = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        if !name.is_empty() && name.len() <= longest && name.chars().all(fits) {
            return Ok(());
        }
        let others: Vec<String> = others.chars().map(|c| format!("`{c}`")).collect();
        let reason = format!(
            "must be 1 to {longest} letters, digits and {}, got {name:?}",
            others.join(", ")
        );
        Err(ApiError::field(at, reason))
    }
}

/// Refuses a schema at `at` that is not one of an object: arguments have names.
pub(crate) fn check_parameters(at: &str, schema: &Value) -> Result<(), ApiError> {
    let is_object = match &schema["type"] {
        Value::Null => true,
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        kind => kind == "object",
    };
    if is_object {
        return Ok(());
    }
    let reason = format!("must be \"object\", got {}", schema["type"]);
    Err(ApiError::field(format!("{at}.type"), reason))
}

/// The functions of a request's `tools`. Every complaint names the place in `field`.
pub(crate) fn tools(field: &str, wire: Vec<Value>, names: Names) -> Result<Vec<Tool>, ApiError> {
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
        tools.push(tool(function, &format!("{}.function", at()), names)?);
    }
    Ok(tools)
}

/// One function; `at` names its place.
pub(crate) fn tool(function: &Value, at: &str, names: Names) -> Result<Tool, ApiError> {
    let Some(name) = function["name"].as_str().filter(|name| !name.is_empty()) else {
        return Err(ApiError::field(format!("{at}.name"), "is required"));
    };
    names.check(format!("{at}.name"), name)?;
    let parameters = match &function["parameters"] {
        Value::Null => json!({ "type": "object", "properties": {} }),
        schema @ Value::Object(_) => {
            check_parameters(&format!("{at}.parameters"), schema)?;
            schema.clone()
        }
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
