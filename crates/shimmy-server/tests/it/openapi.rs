//! `/openapi.json`: that it is what the code says, and that the server does what it says.

use reqwest::Method;
use serde_json::{Value, json};
use shimmy_server::Secret;

use crate::calls::THINKING_TEMPLATE;
use crate::schema::{check, resolve};
use crate::store::digest;
use crate::support::{Setup, TestServer, events, with};

/// The document that the server sends.
const KEPT: &str = include_str!("../../openapi.json");

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

/// What the model under test cannot do and says so: it neither ranks nor fills gaps.
const BEYOND_THE_STUB: [&str; 5] = [
    "/infill",
    "/rerank",
    "/reranking",
    "/v1/rerank",
    "/v1/reranking",
];

/// What does not answer by a model: it changes which there are, and fails in ways of its own.
const OF_THE_STORE: [&str; 4] = ["/api/copy", "/api/create", "/api/delete", "/api/pull"];

/// What changes the adapters of a model, and names none.
const OF_THE_ADAPTERS: [&str; 2] = ["/lora-adapters", "/v1/unload_lora_adapter"];

/// Whose streams end with `[DONE]`.
const ENDED_BY_DONE: [&str; 3] = ["/api/generate", "/v1/chat/completions", "/v1/completions"];

/// One documented operation.
struct Operation {
    method: Method,
    path: String,
    body: Value,
}

fn document() -> Value {
    serde_json::from_str(KEPT).unwrap()
}

fn operations(document: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            let item = item.as_object().unwrap().iter();
            item.map(|(method, body)| Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                body: body.clone(),
            })
        })
        .collect()
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The path with names that the server under test knows.
    fn target(&self) -> String {
        let path = self.path.replace("{name}", "stub").replace("{id}", "stub");
        let path = path.replace("{digest}", &digest('a').to_string());
        path.replace("{file}", "swagger-ui.css")
    }

    fn is_open(&self) -> bool {
        self.body["security"] == json!([{}])
    }

    /// A WebSocket's handshake is no request like the others.
    fn is_websocket(&self) -> bool {
        self.body["responses"].get("101").is_some()
    }

    /// A file's bytes have no example.
    fn takes_bytes(&self) -> bool {
        let content = &self.body["requestBody"]["content"];
        content.get("application/octet-stream").is_some()
    }

    fn request_content(&self) -> &Value {
        &self.body["requestBody"]["content"]["application/json"]
    }

    async fn send(&self, server: &TestServer, body: Option<&Value>) -> reqwest::Response {
        let url = server.url(&self.target());
        let mut request = server.client.request(self.method.clone(), url);
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.unwrap()
    }

    /// Checks an answer's status, content type and body against the description.
    async fn check_answer(&self, document: &Value, answer: reqwest::Response) {
        let name = self.name();
        let status = answer.status().as_u16();
        let described = &self.body["responses"][status.to_string()];
        assert!(described.is_object(), "{name}: {status} is not described");
        let Some(content) = resolve(document, described)["content"].as_object() else {
            assert_eq!(answer.text().await.unwrap(), "", "{name}");
            return;
        };
        // Its answer is that to a GET, without the body.
        if self.method == Method::HEAD {
            return;
        }
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let kind = kind.split(';').next().unwrap();
        let schema = content
            .get(kind)
            .unwrap_or_else(|| panic!("{name}: {kind} is not described"));
        let schema = &schema["schema"];
        let text = answer.text().await.unwrap();
        self.check_text(document, schema, kind, &text);
    }

    /// Checks every value in an answer's text.
    fn check_text(&self, document: &Value, schema: &Value, kind: &str, text: &str) {
        let values: Vec<Value> = match kind {
            "application/json" => vec![serde_json::from_str(text).unwrap()],
            "text/event-stream" => {
                let mut events = events(text);
                if ENDED_BY_DONE.contains(&self.path.as_str()) {
                    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{}", self.name());
                }
                assert!(!events.is_empty(), "{}", self.name());
                events
                    .iter()
                    .map(|event| serde_json::from_str(event).unwrap())
                    .collect()
            }
            "application/x-ndjson" => text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
            _ => vec![Value::from(text)],
        };
        for value in values {
            let fits = check(document, schema, &value);
            assert_eq!(fits, Ok(()), "{}: {value:#}", self.name());
        }
    }
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
async fn every_example_is_answered_as_described() {
    let document = document();
    let mut setup = Setup::default();
    setup.stub.adapters = 2;
    let server = setup.start().await;
    let mut answered = 0;
    for operation in operations(&document) {
        let content = operation.request_content();
        for (title, example) in content["examples"].as_object().into_iter().flatten() {
            let example = &example["value"];
            let fits = check(&document, &content["schema"], example);
            assert_eq!(fits, Ok(()), "{}: {title}", operation.name());
            let answer = operation.send(&server, Some(example)).await;
            let status = if BEYOND_THE_STUB.contains(&operation.path.as_str()) {
                400
            } else {
                200
            };
            assert_eq!(answer.status(), status, "{}: {title}", operation.name());
            operation.check_answer(&document, answer).await;
            answered += 1;
        }
        let has_example = content["examples"].is_object();
        let reads = operation.body.get("requestBody").is_some() && !operation.takes_bytes();
        assert_eq!(has_example, reads, "{} wants an example", operation.name());
    }
    assert!(answered > 0);
}

#[tokio::test]
async fn ollamas_dialect_on_a_shared_path_is_described_too() {
    let document = document();
    let server = Setup::default().start().await;
    let operations = operations(&document);
    let generate = operations
        .iter()
        .find(|operation| operation.path == "/api/generate")
        .unwrap();
    let options = json!({ "num_predict": 9, "temperature": 0, "stop": ["x"] });
    for stream in [true, false] {
        let body = json!({
            "model": "stub", "prompt": "hello", "system": "Be brief.", "stream": stream,
            "options": options,
        });
        let fits = check(&document, &generate.request_content()["schema"], &body);
        assert_eq!(fits, Ok(()));
        let request = server.client.post(server.url("/api/generate")).json(&body);
        let answer = request
            .header("accept", "application/x-ndjson")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        generate.check_answer(&document, answer).await;
    }
}

/// Thinks, speaks and calls twice.
const RICH_ANSWER: &str = "<think>\nWhich city?\n</think>\n\nLet me see.\n<tool_call>\n{\"name\": \
    \"read\", \"arguments\": {\"input\": \"Paris\"}}\n</tool_call>\n<tool_call>\n{\"name\": \
    \"write\", \"arguments\": {}}\n</tool_call>";

#[tokio::test]
async fn thoughts_calls_and_probabilities_are_as_described() {
    let document = document();
    let setup = Setup {
        template: Some(THINKING_TEMPLATE),
        ..Setup::saying(RICH_ANSWER)
    };
    let server = setup.start().await;
    let operations = operations(&document);
    let schema = json!({ "type": "object" });
    let function = |name: &str| json!({ "type": "function", "name": name, "function": { "name": name, "parameters": schema } });
    let functions = json!([function("read"), function("write")]);
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let chat = json!({ "messages": messages, "tools": functions });
    let anthropic = json!({
        "max_tokens": 512, "messages": messages, "thinking": { "type": "adaptive" },
        "context_management": {},
        "tools": [
            { "name": "read", "input_schema": schema }, { "name": "write", "input_schema": schema },
        ],
    });
    let responses = json!({ "input": "Hi", "tools": functions, "top_logprobs": 2,
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"] });
    for (path, body) in [
        ("/v1/chat/completions", chat.clone()),
        (
            "/v1/chat/completions",
            json!({ "messages": messages, "n": 2, "logprobs": true, "top_logprobs": 2 }),
        ),
        (
            "/v1/chat/completions",
            json!({ "messages": messages, "functions": [
            { "name": "read", "parameters": schema }, { "name": "write", "parameters": schema },
        ] }),
        ),
        ("/api/chat", chat),
        (
            "/v1/completions",
            json!({ "prompt": "Hi", "logprobs": 2, "echo": false }),
        ),
        (
            "/completion",
            json!({ "prompt": "Hi", "n_probs": 2, "return_tokens": true, "n_cmpl": 2 }),
        ),
        (
            "/completion",
            json!({ "prompt": "Hi", "logit_bias": [[97, false]], "stop": "city" }),
        ),
        ("/v1/messages", anthropic),
        ("/v1/responses", responses),
        (
            "/v1/responses",
            json!({
                "input": "Hi", "reasoning": { "summary": "auto" },
                "tools": [{ "type": "custom", "name": "read" }, function("write")],
            }),
        ),
        (
            "/v1/responses",
            json!({ "input": "Hi", "max_output_tokens": 1 }),
        ),
    ] {
        let operation = operations
            .iter()
            .find(|one| one.path == path && one.method == Method::POST);
        let operation = operation.unwrap();
        for stream in [false, true] {
            let body = with(body.clone(), json!({ "stream": stream }));
            let fits = check(&document, &operation.request_content()["schema"], &body);
            assert_eq!(fits, Ok(()), "{path}");
            let answer = operation.send(&server, Some(&body)).await;
            assert_eq!(answer.status(), 200, "{path} {body}");
            operation.check_answer(&document, answer).await;
        }
    }
}

#[tokio::test]
async fn a_stream_that_fails_ends_as_described() {
    let document = document();
    for operation in operations(&document) {
        let streams = [
            "/v1/messages",
            "/v1/responses",
            "/v1/chat/completions",
            "/completion",
        ];
        if operation.method != Method::POST || !streams.contains(&operation.path.as_str()) {
            continue;
        }
        let example = operation.request_content()["examples"].as_object().unwrap();
        let example = with(
            example.values().next().unwrap()["value"].clone(),
            json!({ "stream": true }),
        );
        let mut setup = Setup::saying("a long answer that is never finished");
        setup.stub.fail_from_step = Some(3);
        let server = setup.start().await;
        let answer = operation.send(&server, Some(&example)).await;
        let text = answer.text().await.unwrap();
        let schema = &operation.body["responses"]["200"]["content"]["text/event-stream"]["schema"];
        let events = events(&text);
        assert!(events.last().unwrap().contains("error"), "{text}");
        for event in &events {
            let event = serde_json::from_str(event).unwrap();
            assert_eq!(
                check(&document, schema, &event),
                Ok(()),
                "{} {event:#}",
                operation.name()
            );
        }
    }
}

#[tokio::test]
async fn anthropics_clients_get_a_list_that_is_described_too() {
    let document = document();
    let server = Setup::default().start().await;
    for operation in operations(&document) {
        if !["/v1/models", "/v1/models/{id}"].contains(&operation.path.as_str()) {
            continue;
        }
        let request = server.client.get(server.url(&operation.target()));
        let answer = request
            .header("anthropic-version", "2023-06-01")
            .send()
            .await
            .unwrap();
        operation.check_answer(&document, answer).await;
    }
}

#[tokio::test]
async fn every_route_without_a_body_answers_as_described() {
    let document = document();
    let server = Setup::default().start().await;
    for operation in operations(&document) {
        // There is no answer that could be had or deleted.
        if operation.path == "/v1/responses/{id}" {
            continue;
        }
        if operation.body.get("requestBody").is_none() && !operation.is_websocket() {
            let answer = operation.send(&server, None).await;
            assert_eq!(answer.status(), 200, "{}", operation.name());
            operation.check_answer(&document, answer).await;
        }
    }
}

#[tokio::test]
async fn failures_are_as_described() {
    let document = document();
    let server = Setup::default().start().await;
    for operation in operations(&document) {
        let content = operation.request_content();
        let Some(examples) = content["examples"].as_object() else {
            continue;
        };
        let path = operation.path.as_str();
        if OF_THE_STORE.contains(&path) || OF_THE_ADAPTERS.contains(&path) {
            continue;
        }
        let mut example = examples.values().next().unwrap()["value"].clone();
        for (model, status) in [
            (json!("nobody"), 404),
            (json!("broken"), 502),
            (json!(5), 400),
        ] {
            example["model"] = model;
            let answer = operation.send(&server, Some(&example)).await;
            assert_eq!(answer.status(), status, "{}", operation.name());
            operation.check_answer(&document, answer).await;
        }
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
