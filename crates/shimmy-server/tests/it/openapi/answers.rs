//! That the server answers, streams and fails as it is described.

use reqwest::Method;
use serde_json::json;

use super::document;
use super::operation::operations;
use crate::calls::THINKING_TEMPLATE;
use crate::schema::check;
use crate::support::{Setup, events, with};

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
