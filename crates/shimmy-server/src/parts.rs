//! Reading the parts of a body whose shape depends on a word inside them: messages' content,
//! items, tools.
//!
//! They arrive as JSON values and are read one by one, so that every complaint names its place.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;
use crate::limits::complaint;

/// Reads the value that stands at `at`; a complaint names the field inside it.
pub(crate) fn read<T: DeserializeOwned>(at: &str, value: &Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inside = error.path().to_string();
        let words = error.into_inner().to_string();
        complaint(&match inside.as_str() {
            "." => format!("{at}: {words}"),
            inside if inside.starts_with('[') => format!("{at}{inside}: {words}"),
            inside => format!("{at}.{inside}: {words}"),
        })
    })
}

/// The `type` of a part.
pub(crate) fn kind<'a>(at: &str, part: &'a Value) -> Result<&'a str, ApiError> {
    match &part["type"] {
        Value::String(kind) => Ok(kind),
        Value::Null => Err(ApiError::field(format!("{at}.type"), "is required")),
        _ => Err(ApiError::field(format!("{at}.type"), "must be a string")),
    }
}

/// The text under `name` in a part.
pub(crate) fn text(at: &str, part: &Value, name: &str) -> Result<String, ApiError> {
    match &part[name] {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Err(ApiError::field(format!("{at}.{name}"), "is required")),
        _ => Err(ApiError::field(format!("{at}.{name}"), "must be a string")),
    }
}

/// A part that is nothing this model can read.
pub(crate) fn not_text(at: &str, kind: &str) -> ApiError {
    ApiError::field(
        at,
        format_args!("has the type {kind:?}, but this model reads only text"),
    )
}

/// What stands in a tool's outcome for a part that is no text. A refusal would end an agent's
/// session: the outcome comes again with every request, and nobody can take it back.
pub(crate) fn unseen(kind: &str) -> String {
    format!("[{kind}: not shown, because this model reads only text]")
}

/// Content that is neither a text nor a list of parts.
pub(crate) fn neither(at: &str, found: &Value) -> ApiError {
    match found {
        Value::Null => ApiError::field(at, "is required"),
        _ => ApiError::field(at, "must be a string or a list of parts"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Call {
        #[expect(dead_code, reason = "only whether it can be read matters here")]
        name: String,
        #[expect(dead_code, reason = "only whether it can be read matters here")]
        list: Option<Vec<u32>>,
    }

    #[test]
    fn a_complaint_names_the_field_with_its_place() {
        let field = |value| read::<Call>("input[3]", &value).unwrap_err().param.unwrap();
        assert_eq!(field(json!({})), "input[3].name");
        assert_eq!(field(json!({ "name": 3 })), "input[3].name");
        assert_eq!(
            field(json!({ "name": "", "list": [1, "x"] })),
            "input[3].list[1]"
        );
        assert_eq!(field(json!(7)), "input[3]");
    }
}
