//! `response_format`: the shape that an answer must have.

use serde::Deserialize;
use serde_json::Value;
use shimmy_engine::Constraint;
use utoipa::ToSchema;

use super::shapes::{OtherShapes, combined};
use crate::error::ApiError;
use crate::fields::constraint;

const SCHEMA: &str = "response_format.json_schema.schema";

/// Longest name of a schema. It means nothing to the answer, but a longer one is no name.
const NAME_BYTES: usize = 64;

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiResponseFormat)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ResponseFormat {
    Text,
    JsonObject {
        /// llama-server's clients put one here.
        schema: Option<Value>,
    },
    JsonSchema {
        json_schema: Option<JsonSchema>,
        /// As above.
        schema: Option<Value>,
    },
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OpenAiJsonSchema)]
pub(super) struct JsonSchema {
    name: Option<String>,
    #[expect(dead_code, reason = "only its type is checked: the model is not told")]
    description: Option<String>,
    schema: Option<Value>,
    /// Every answer is held to its schema, so there is nothing more to be strict about.
    #[expect(dead_code, reason = "only its type is checked: see above")]
    strict: Option<bool>,
}

/// What a request asks of an answer's shape.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) constraint: Option<Constraint>,
    /// The field that asks for it where that is none of the two below.
    other: Option<&'static str>,
}

impl Shape {
    /// The field that asks for a shape, if one does.
    pub(super) fn field(&self) -> Option<&'static str> {
        self.other.or(match self.constraint.as_ref()? {
            Constraint::Grammar(_) => Some("grammar"),
            _ => Some("response_format"),
        })
    }
}

/// An engine's complaint about a shape that `field` asked for.
pub(super) fn rename(error: ApiError, field: Option<&'static str>) -> ApiError {
    let field = field.unwrap_or("response_format");
    error.renamed(&[("format", field), ("regex", field), ("grammar", field)])
}

/// What a request's format and grammar fields ask for, and those of other servers.
pub(super) fn shape(
    format: Option<ResponseFormat>,
    grammar: Option<&String>,
    others: OtherShapes,
) -> Result<Shape, ApiError> {
    let own = own_shape(format, grammar)?;
    match (own, others.read()?) {
        (Some(_), Some((field, _))) => Err(combined(field)),
        (None, Some((field, constraint))) => Ok(Shape {
            constraint: Some(constraint),
            other: Some(field),
        }),
        (constraint, None) => Ok(Shape {
            constraint,
            other: None,
        }),
    }
}

fn own_shape(
    format: Option<ResponseFormat>,
    grammar: Option<&String>,
) -> Result<Option<Constraint>, ApiError> {
    let format = match format {
        None | Some(ResponseFormat::Text) => None,
        Some(ResponseFormat::JsonObject { schema }) => {
            Some(checked("response_format.schema", schema)?)
        }
        Some(ResponseFormat::JsonSchema {
            json_schema: Some(JsonSchema { name, schema, .. }),
            ..
        }) => {
            if name.is_some_and(|name| name.len() > NAME_BYTES) {
                let field = "response_format.json_schema.name";
                let reason = format!("is longer than {NAME_BYTES} bytes");
                return Err(ApiError::field(field, reason));
            }
            Some(checked(SCHEMA, schema)?)
        }
        Some(ResponseFormat::JsonSchema {
            json_schema: None,
            schema: Some(schema),
        }) => Some(checked("response_format.schema", Some(schema))?),
        Some(ResponseFormat::JsonSchema { .. }) => {
            return Err(ApiError::field(
                "response_format.json_schema",
                "is required for the type \"json_schema\"",
            ));
        }
    };
    constraint(format.as_ref(), grammar)
}

/// A schema; without one, only JSON is asked for.
fn checked(field: &str, schema: Option<Value>) -> Result<Value, ApiError> {
    match schema {
        None | Some(Value::Null) => Ok(Value::from("json")),
        Some(schema @ Value::Object(_)) => Ok(schema),
        Some(_) => Err(ApiError::field(field, "must be an object")),
    }
}
