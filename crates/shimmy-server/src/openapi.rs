//! `GET /openapi.json`: the description of every route, generated from the code.
//!
//! The code that builds the description is ten times the size of the description, so the server
//! does not carry it: [`document`] runs in a test, which fails when its outcome is not the file
//! `openapi.json` beside this crate's manifest. That file is what the server sends.

mod shapes;

use std::collections::BTreeSet;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, Info, InfoBuilder, License, OpenApi, RefOr, Tag};
use utoipa::{OpenApi as _, ToSchema};

use crate::failures::{self, Guarded};
use crate::routes::{ALIASES, Operations};
use crate::{anthropic, llamacpp, native, ollama, openai};

pub(crate) use shapes::{Either, OneOfThree, OneOrList, Picked, empty, null, text_or_list};

/// What is sent, and what [`document`] is compared with.
const DOCUMENT: &str = include_str!("../openapi.json");

/// The groups of routes, in the order of reading.
const TAGS: [(&str, &str); 8] = [
    ("OpenAI", "As OpenAI's clients expect them."),
    ("Anthropic", "As Anthropic's clients expect them."),
    ("Ollama", "As Ollama's clients expect them."),
    ("llama-server", "As llama-server's clients expect them."),
    (
        "Generate",
        "Shimmy's own dialect, and Ollama's where the paths are the same.",
    ),
    (
        "Models",
        "What there is, and loading and unloading it by hand.",
    ),
    (
        "Observe",
        "What the server does, for machines and for people.",
    ),
    (
        "Health",
        "For load balancers and orchestrators. These need no API key.",
    ),
];

/// Characters of a line of the document, where its values allow it.
const LINE: usize = 100;

/// This description
#[utoipa::path(
    get, path = "/openapi.json", tag = "Observe", operation_id = "openapi",
    responses(
        (status = 200, description = "An OpenAPI document.", body = Object),
        Guarded<native::error::ErrorBody>,
    ),
)]
pub(crate) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

/// The description as the code has it now, in the form in which it is kept.
pub fn document() -> String {
    let mut document = with_aliases(Operations::openapi());
    document.info = info();
    document.tags = Some(TAGS.map(tag).to_vec());
    document.security = Some(vec![
        SecurityRequirement::new("bearer", [""; 0]),
        SecurityRequirement::new("apiKey", [""; 0]),
    ]);
    let components = document.components.take().unwrap_or_default();
    let mut components = ComponentsBuilder::from(components)
        .schemas_from_iter(error_bodies())
        .security_scheme("bearer", bearer())
        .security_scheme("apiKey", api_key());
    for name in named_responses(&document) {
        if let Some(response) = failures::response(&name) {
            components = components.response(name, response);
        }
    }
    document.components = Some(components.build());
    let mut text = String::new();
    // Both are text keys and plain values, which always have a JSON form.
    if let Ok(mut value) = serde_json::to_value(&document) {
        free_optional_parts(&mut value);
        drop_unused(&mut value);
        write(&value, 0, &mut text);
        text.push('\n');
    }
    text
}

/// The description with the paths that are other names of another.
fn with_aliases(mut document: OpenApi) -> OpenApi {
    for &(alias, path) in ALIASES {
        let Some(mut item) = document.paths.paths.get(path).cloned() else {
            continue;
        };
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            let id = operation.operation_id.take().unwrap_or_default();
            let other = alias.replace(['/', '-'], "_");
            operation.operation_id = Some(format!("{id}{other}"));
        }
        document.paths.paths.insert(alias.to_owned(), item);
    }
    document
}

/// Each dialect's error body with what it is made of. (Routes refer to them by name.)
fn error_bodies() -> Vec<(String, RefOr<Schema>)> {
    fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into(), T::schema()));
        T::schemas(schemas);
    }
    let mut schemas = Vec::new();
    add::<native::error::ErrorBody>(&mut schemas);
    add::<openai::error::ErrorBody>(&mut schemas);
    add::<anthropic::error::ErrorBody>(&mut schemas);
    add::<llamacpp::error::ErrorBody>(&mut schemas);
    add::<ollama::error::ErrorBody>(&mut schemas);
    schemas
}

fn info() -> Info {
    let mut license = License::new("MIT");
    license.identifier = Some("MIT".to_owned());
    InfoBuilder::new()
        .title("Shimmy")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A local inference server for GGUF models. Unknown fields of a request are ignored, \
             known ones are checked, and an error names the field.",
        ))
        .license(Some(license))
        .build()
}

fn tag((name, description): (&str, &str)) -> Tag {
    TagBuilder::new()
        .name(name)
        .description(Some(description))
        .build()
}

fn bearer() -> SecurityScheme {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "`Authorization: Bearer …`. Needed where the server was started with an API key.",
        ));
    SecurityScheme::Http(scheme.build())
}

fn api_key() -> SecurityScheme {
    let description = "The same key, as Anthropic's clients send it.";
    let value = ApiKeyValue::with_description("x-api-key", description);
    SecurityScheme::ApiKey(ApiKey::Header(value))
}

/// The names of the responses that operations refer to.
fn named_responses(document: &OpenApi) -> BTreeSet<String> {
    let operations = document.paths.paths.values().flat_map(operations);
    let responses = operations.flat_map(|operation| operation.responses.responses.values());
    responses
        .filter_map(|response| match response {
            RefOr::Ref(reference) => reference.ref_location.rsplit('/').next(),
            RefOr::T(_) => None,
        })
        .map(str::to_owned)
        .collect()
}

fn operations(item: &PathItem) -> impl Iterator<Item = &Operation> {
    let PathItem {
        get,
        put,
        post,
        delete,
        head,
        patch,
        ..
    } = item;
    [get, put, post, delete, head, patch].into_iter().flatten()
}

/// A part of an object that may be absent (`flatten` of an `Option`) is described as that part or
/// `null`, which no object is. What is meant is that part or nothing more than an object.
fn free_optional_parts(value: &mut Value) {
    if let Some(parts) = value.get_mut("allOf").and_then(Value::as_array_mut) {
        for part in parts {
            let choices = part.get("oneOf").and_then(Value::as_array);
            let Some([one, none]) = choices.map(Vec::as_slice) else {
                continue;
            };
            if none == &json!({ "type": "null" }) {
                *part = json!({ "anyOf": [one, { "type": "object" }] });
            }
        }
    }
    match value {
        Value::Object(map) => map.values_mut().for_each(free_optional_parts),
        Value::Array(list) => list.iter_mut().for_each(free_optional_parts),
        _ => {}
    }
}

/// Schemas that nothing refers to: the parts of generic types stand inside these, and apart too.
fn drop_unused(document: &mut Value) {
    loop {
        let text = document.to_string();
        let Some(schemas) = document.pointer_mut("/components/schemas") else {
            return;
        };
        let Some(schemas) = schemas.as_object_mut() else {
            return;
        };
        let before = schemas.len();
        schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
        // One that is gone may have been the only one that referred to another.
        if schemas.len() == before {
            return;
        }
    }
}

/// JSON in lines: what fits one stays on one, so that a change of the document is a change of few
/// lines, and the document is not much longer for it.
fn write(value: &Value, depth: usize, out: &mut String) {
    let line = value.to_string();
    let entries: Vec<(String, &Value)> = match value {
        _ if depth + line.len() <= LINE => Vec::new(),
        Value::Object(map) => {
            let entries = map.iter();
            entries
                .map(|(key, value)| (format!("{}: ", Value::from(key.as_str())), value))
                .collect()
        }
        Value::Array(list) => list.iter().map(|value| (String::new(), value)).collect(),
        _ => Vec::new(),
    };
    if entries.is_empty() {
        out.push_str(&line);
        return;
    }
    let brackets = if value.is_object() { "{}" } else { "[]" };
    out.push_str(&brackets[..1]);
    for (index, (key, value)) in entries.into_iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.extend(std::iter::repeat_n(' ', depth + 1));
        out.push_str(&key);
        write(value, depth + 1, out);
    }
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', depth));
    out.push_str(&brackets[1..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::TABLE;

    /// Whether a documented path is one of those that a row takes.
    fn takes(row: &str, documented: &str) -> bool {
        match row.split_once("{*") {
            Some((before, _)) => documented.starts_with(before) && documented.len() > before.len(),
            None => row == documented,
        }
    }

    #[test]
    fn every_route_is_documented_as_it_is() {
        let document = with_aliases(Operations::openapi());
        let mut documented = Vec::new();
        for (path, item) in &document.paths.paths {
            let methods = [
                ("get", &item.get),
                ("post", &item.post),
                ("put", &item.put),
                ("delete", &item.delete),
                ("head", &item.head),
                ("patch", &item.patch),
            ];
            let methods = methods
                .into_iter()
                .filter(|(_, operation)| operation.is_some());
            documented.extend(methods.map(|(method, _)| (method, path.as_str())));
        }
        for (method, row) in TABLE {
            assert!(
                documented
                    .iter()
                    .any(|(m, path)| m == method && takes(row, path)),
                "{method} {row} has no operation of this method and path"
            );
        }
        for (method, path) in documented {
            let exact = TABLE.iter().any(|(m, row)| *m == method && *row == path);
            let taken = TABLE
                .iter()
                .any(|(m, row)| *m == method && takes(row, path));
            assert!(
                exact || taken,
                "{method} {path} is documented and is no route"
            );
        }
    }
}
