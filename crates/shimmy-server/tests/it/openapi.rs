//! `/openapi.json`: that it is what the code says, and says all that it should. That the server does
//! what it says is seen to in `answers`.

mod answers;
mod operation;

use serde_json::{Value, json};
use shimmy_server::Secret;

use crate::schema::resolve;
use crate::support::Setup;
use operation::operations;

/// The document that the server sends.
const KEPT: &str = include_str!("../../openapi.json");

fn document() -> Value {
    serde_json::from_str(KEPT).unwrap()
}

#[test]
fn the_document_is_what_the_code_says() {
    let generated = shimmy_server::document();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        std::fs::write(path, &generated).unwrap();
        return;
    }
    let differs = KEPT.lines().zip(generated.lines()).find(|(a, b)| a != b);
    assert!(
        KEPT == generated,
        "openapi.json is not what the code says now; make it anew with\n  \
         UPDATE_OPENAPI=1 cargo test -p shimmy-server openapi\nfirst difference: {differs:#?}"
    );
}

#[test]
fn an_independent_reader_takes_the_document() {
    let document = oas3::from_json(KEPT).unwrap();
    assert_eq!(document.openapi, "3.1.0");
    for (path, method, operation) in document.operations() {
        operation.responses(&document);
        let read = operation.parameters(&document);
        assert!(read.is_ok(), "{method} {path}: {read:?}");
        if let Some(body) = &operation.request_body {
            assert!(body.resolve(&document).is_ok(), "{method} {path}");
        }
    }
}

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in &found {
        resolve(&document, &json!({ "$ref": reference }));
    }
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(
                found.contains(&reference.as_str()),
                "{reference} is not used"
            );
        }
    }
}

#[test]
fn every_operation_says_what_it_is() {
    let document = document();
    let tags = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["name"]);
    let tags: Vec<_> = tags.collect();
    let schemes = document["components"]["securitySchemes"]
        .as_object()
        .unwrap();
    let mut ids = Vec::new();
    for operation in operations(&document) {
        let (name, body) = (operation.name(), &operation.body);
        assert!(body["summary"].is_string(), "{name} has no summary");
        assert_eq!(body["tags"].as_array().unwrap().len(), 1, "{name}");
        assert!(
            tags.contains(&&body["tags"][0]),
            "{name} has a tag of its own"
        );
        ids.push(body["operationId"].as_str().unwrap().to_owned());
        let parameters = body["parameters"].as_array().into_iter().flatten();
        let described: Vec<_> = parameters
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
            .collect();
        let in_path: Vec<_> = operation
            .path
            .split('/')
            .filter(|part| part.starts_with('{'))
            .collect();
        assert_eq!(described, in_path, "{name}");
        for (status, response) in body["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            assert!(
                !response["description"].as_str().unwrap().is_empty(),
                "{name} {status}"
            );
        }
    }
    let (count, _) = (ids.len(), ids.sort());
    ids.dedup();
    assert_eq!(ids.len(), count, "an operation id is there twice");
    for requirement in document["security"].as_array().unwrap() {
        let (scheme, _) = requirement.as_object().unwrap().iter().next().unwrap();
        assert!(schemes.contains_key(scheme), "{scheme}");
    }
}

#[tokio::test]
async fn the_description_knows_which_routes_need_the_token() {
    let document = document();
    let mut setup = Setup::default();
    setup.server.api_keys = vec![Secret::new("sk-right").unwrap()];
    let server = setup.start().await;
    for operation in operations(&document) {
        let answer = operation.send(&server, None).await;
        if operation.is_open() {
            assert_eq!(answer.status(), 200, "{}", operation.name());
        } else {
            assert_eq!(answer.status(), 401, "{}", operation.name());
            operation.check_answer(&document, answer).await;
        }
    }
}

#[tokio::test]
async fn the_document_is_sent_as_it_is_kept() {
    let server = Setup::default().start().await;
    let answer = server.get("/openapi.json").await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.text().await.unwrap(), KEPT);
}
