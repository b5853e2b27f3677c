//! One documented operation: how it is asked, and what its answers must be.

use reqwest::Method;
use serde_json::{Value, json};

use crate::schema::{check, resolve};
use crate::store::digest;
use crate::support::{TestServer, events};

/// Whose streams end with `[DONE]`.
const ENDED_BY_DONE: [&str; 4] = [
    "/api/generate",
    "/chat/completions",
    "/v1/chat/completions",
    "/v1/completions",
];

/// One documented operation.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Value,
}

/// All of them.
pub(super) fn operations(document: &Value) -> Vec<Operation> {
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
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The path with names that the server under test knows.
    pub(super) fn target(&self) -> String {
        let path = self.path.replace("{name}", "stub").replace("{id}", "stub");
        let path = path.replace("{digest}", &digest('a').to_string());
        path.replace("{file}", "swagger-ui.css")
    }

    pub(super) fn is_open(&self) -> bool {
        self.body["security"] == json!([{}])
    }

    /// A WebSocket's handshake is no request like the others.
    pub(super) fn is_websocket(&self) -> bool {
        self.body["responses"].get("101").is_some()
    }

    /// A file's bytes have no example.
    pub(super) fn takes_bytes(&self) -> bool {
        let content = &self.body["requestBody"]["content"];
        content.get("application/octet-stream").is_some()
    }

    pub(super) fn request_content(&self) -> &Value {
        &self.body["requestBody"]["content"]["application/json"]
    }

    pub(super) async fn send(
        &self,
        server: &TestServer,
        body: Option<&Value>,
    ) -> reqwest::Response {
        let url = server.url(&self.target());
        let mut request = server.client.request(self.method.clone(), url);
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.unwrap()
    }

    /// Checks an answer's status, content type and body against the description.
    pub(super) async fn check_answer(&self, document: &Value, answer: reqwest::Response) {
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
