//! Every refusal, in every dialect.

use insta::assert_snapshot;
use serde_json::{Value, json};
use shimmy_engine::EngineConfig;
use shimmy_engine::stub::StubConfig;

use crate::support::{Setup, TestServer, chat, events, with};

const CHAT: &str = "/v1/chat/completions";
const GENERATE: &str = "/api/generate";

/// Asserts that both dialects refuse these fields with a 400 that names the field.
async fn refused(server: &TestServer, field: &str, fields: Value) {
    let body = with(chat("x"), fields);
    let (status, error) = server.post_json(CHAT, &body).await;
    assert_eq!(status, 400, "{body}: {error}");
    let inner = &error["error"];
    assert_eq!(inner.as_object().unwrap().len(), 4, "{error}");
    assert_eq!(inner["param"], field, "{error}");
    assert_eq!(inner["type"], "invalid_request_error");
    assert!(
        inner["message"].as_str().unwrap().contains(field),
        "{error}"
    );
}

#[tokio::test]
async fn wrong_types_and_numbers_name_the_field() {
    let server = Setup::default().start().await;
    for (field, value) in [
        ("temperature", json!("hot")),
        ("temperature", json!(-1)),
        ("temperature", json!(1e300)),
        ("top_p", json!(1.5)),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(9_223_372_036_854_775_808_u64)),
        ("max_completion_tokens", json!(0)),
        ("n", json!(1_000_000)),
        ("n", json!(0)),
        ("n", json!(-1)),
        ("stop", json!(7)),
        ("stop", json!(vec!["x"; 100])),
        ("seed", json!("x")),
        ("logit_bias", json!({ "word": 1 })),
        ("logit_bias", json!({ "999999": 1 })),
        ("logit_bias", json!({ "97": 101 })),
        ("stream", json!("yes")),
        ("top_logprobs", json!(1_000_000_000)),
        ("reasoning_effort", json!("enormous")),
        ("audio", json!({ "voice": "alloy", "format": "wav" })),
        ("web_search_options", json!({})),
        ("modalities", json!(["text", "audio"])),
        ("lora", json!([{ "id": 3 }])),
        ("chat_template_kwargs", json!({ "messages": [] })),
        ("messages", json!([])),
        ("messages", json!("hello")),
    ] {
        refused(&server, field, json!({ field: value })).await;
    }
}

#[tokio::test]
async fn wrong_messages_name_their_place() {
    let server = Setup::default().start().await;
    for (field, message) in [
        (
            "messages[0].role",
            json!({ "role": "wizard", "content": "x" }),
        ),
        ("messages[0].role", json!({ "content": "x" })),
        ("messages[0].content", json!({ "role": "user" })),
        (
            "messages[0].content",
            json!({ "role": "user", "content": 5 }),
        ),
        (
            "messages[0].content[1]",
            json!({ "role": "user", "content": [{ "type": "text", "text": "a" },
                { "type": "image_url", "image_url": { "url": "http://169.254.169.254/" } }] }),
        ),
        (
            "messages[0].content[0].text",
            json!({ "role": "user", "content": [{ "type": "text" }] }),
        ),
    ] {
        refused(&server, field, json!({ "messages": [message] })).await;
    }
}

#[tokio::test]
async fn the_native_dialect_names_the_field_too() {
    let server = Setup::default().start().await;
    for (field, body) in [
        ("prompt", json!({})),
        ("prompt", json!({ "prompt": "" })),
        ("messages", json!({ "messages": [] })),
        ("max_tokens", json!({ "prompt": "x", "max_tokens": -1 })),
        (
            "temperature",
            json!({ "prompt": "x", "temperature": "hot" }),
        ),
        ("format", json!({ "prompt": "x", "format": "xml" })),
        (
            "format",
            json!({ "prompt": "x", "format": { "type": "nonsense" } }),
        ),
        (
            "grammar",
            json!({ "prompt": "x", "format": "json", "grammar": "start: \"a\"" }),
        ),
        ("model", json!({ "prompt": "x", "model": "a\u{0}b" })),
        (
            "model",
            json!({ "prompt": "x", "model": "a".repeat(10 << 10) }),
        ),
    ] {
        let (status, error) = server.post_json(GENERATE, &body).await;
        assert_eq!((status, &error["param"]), (400, &json!(field)), "{error}");
        assert!(error["error"].as_str().unwrap().contains(field), "{error}");
    }
}

#[tokio::test]
async fn an_invalid_schema_is_never_an_unconstrained_answer() {
    let server = Setup::default().start().await;
    let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "strict": true,
        "schema": { "type": "nonsense" } } });
    refused(
        &server,
        "response_format",
        json!({ "response_format": format }),
    )
    .await;
}

#[tokio::test]
async fn models_that_cannot_answer() {
    let server = Setup::default().start().await;
    let mut golden = String::new();
    for model in [
        "nobody",
        "../../etc/passwd",
        "-flag",
        "ambiguous",
        "broken",
        "busy",
    ] {
        for path in [CHAT, GENERATE] {
            let response = server
                .post(path, &with(chat("x"), json!({ "model": model })))
                .await;
            let header = |name| {
                response
                    .headers()
                    .get(name)
                    .map(|v| v.to_str().unwrap().to_owned())
            };
            let retry = (header("retry-after"), header("x-should-retry"));
            let status = response.status().as_u16();
            let body = response.text().await.unwrap();
            golden.push_str(&format!("{model} {path}: {status} {retry:?}\n  {body}\n"));
        }
    }
    assert_snapshot!("models_that_cannot_answer", golden);
}

#[tokio::test]
async fn malformed_and_deep_json_is_400() {
    let mut setup = Setup::default();
    setup.server.max_json_depth = 20;
    let server = setup.start().await;
    let deep = format!(
        r#"{{"messages":[],"tools":{}{}}}"#,
        "[".repeat(3000),
        "]".repeat(3000)
    );
    let surrogate = r#"{"messages":[{"role":"user","content":"\ud800"}],"prompt":"\ud800"}"#;
    for body in [
        "",
        "{",
        "nonsense",
        "[]",
        "\"x\"",
        "{\"model\":}",
        "{}{}",
        &deep,
        surrogate,
    ] {
        for path in [CHAT, GENERATE] {
            let request = server.client.post(server.url(path)).body(body.to_owned());
            let request = request.header("content-type", "application/json");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 400, "{path} {body:.40}");
            let error: Value = response.json().await.unwrap();
            assert!(error.get("error").is_some(), "{error}");
        }
    }
}

#[tokio::test]
async fn duplicate_fields_are_400_and_unknown_ones_are_not() {
    let server = Setup::default().start().await;
    let post = async |body: String| {
        let request = server.client.post(server.url(GENERATE)).body(body);
        request
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(post(r#"{"prompt":"a","prompt":"b"}"#.to_owned()).await, 400);
    assert_eq!(post(r#"{"prompt":"a","x":1,"x":2}"#.to_owned()).await, 200);
    let many: Vec<String> = (0..40_000).map(|n| format!("\"k{n}\":{n}")).collect();
    assert_eq!(
        post(format!(r#"{{"prompt":"a",{}}}"#, many.join(","))).await,
        200
    );
}

#[tokio::test]
async fn only_json_is_taken() {
    let server = Setup::default().start().await;
    for path in [
        CHAT,
        GENERATE,
        "/api/models/discover",
        "/api/models/stub/unload",
    ] {
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
        ] {
            let request = server
                .client
                .post(server.url(path))
                .header("content-type", content_type);
            let response = request.body("{\"prompt\":\"x\"}").send().await.unwrap();
            assert_eq!(response.status(), 415, "{path} {content_type}");
        }
    }
    let request = server
        .client
        .post(server.url(GENERATE))
        .body("{\"prompt\":\"x\"}");
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_prompt_over_the_context_names_both_numbers() {
    let setup = Setup {
        engine: EngineConfig {
            context: Some(64),
            ..EngineConfig::default()
        },
        ..Setup::default()
    };
    let server = setup.start().await;
    let long = "x".repeat(100);
    let (status, error) = server.post_json(CHAT, &chat(&long)).await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    let (status, native) = server
        .post_json(GENERATE, &json!({ "prompt": long, "raw": true }))
        .await;
    assert_eq!(status, 400);
    assert_eq!(native["prompt_tokens"], 100);
    assert_eq!(native["context_length"], 64);
    let message = native["error"].as_str().unwrap();
    assert!(
        message.contains("100") && message.contains("64"),
        "{message}"
    );
}

#[tokio::test]
async fn an_engine_that_fails_at_once_is_502_and_not_retried() {
    let stub = StubConfig {
        fail_from_step: Some(0),
        ..StubConfig::default()
    };
    let server = Setup {
        stub,
        ..Setup::default()
    }
    .start()
    .await;
    for path in [CHAT, GENERATE] {
        let response = server.post(path, &chat("x")).await;
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()["x-should-retry"], "false");
        let error: Value = response.json().await.unwrap();
        assert!(error.to_string().contains("told to fail"), "{error}");
    }
}

#[tokio::test]
async fn a_stream_that_fails_says_so_and_is_not_done() {
    for (path, fields) in [
        (CHAT, json!({ "stream": true })),
        (GENERATE, json!({ "stream": true })),
        (GENERATE, json!({ "stream": true, "stream_format": "json" })),
    ] {
        let mut setup = Setup::saying("a long answer that is never finished");
        setup.stub.fail_from_step = Some(8);
        let server = setup.start().await;
        let stream = server.stream(path, &with(chat("x"), fields)).await;
        let frames = events(&stream);
        assert!(frames.len() > 1, "some text came first: {stream}");
        let last: Value = serde_json::from_str(frames.last().unwrap()).unwrap();
        assert!(
            last["error"].to_string().contains("told to fail"),
            "{stream}"
        );
        assert!(!stream.contains("[DONE]"), "{stream}");
        assert_eq!(
            stream.contains("event: error\n"),
            path == GENERATE,
            "{stream}"
        );
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_answer_in_their_dialect() {
    let server = Setup::default().start().await;
    for path in [
        "//v1/models",
        "/V1/models",
        "/v1/models/",
        "/v1/chat/completions/",
        "/v1/%2e%2e/v1/models",
        "/v1",
        "//",
        "/api/nothing",
        "/health/",
        "/Health",
        "/api/generate/",
    ] {
        let answer = server
            .raw(
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(answer.contains("{\"error\":"), "{path}: {answer}");
    }
    let (status, error) = server.get_json(CHAT).await;
    assert_eq!(
        (status, error["error"].as_object().unwrap().len()),
        (405, 4)
    );
    let (status, error) = server.get_json(GENERATE).await;
    assert_eq!((status, error["error"].is_string()), (405, true));
    let (status, error) = server.get_json("/ws/generate").await;
    assert_eq!((status, error["error"].is_string()), (400, true));
}

#[tokio::test]
async fn a_packed_body_is_refused_by_its_encoding() {
    let server = Setup::default().start().await;
    let send = |path: &str, encoding: &str| {
        reqwest::Client::new()
            .post(server.url(path))
            .header("content-type", "application/json")
            .header("content-encoding", encoding)
            .body("{}")
            .send()
    };
    for path in [
        "/v1/chat/completions",
        "/v1/messages",
        "/api/chat",
        &format!("/api/blobs/sha256:{}", "0".repeat(64)),
        "/completion",
        "/api/models/stub/load",
    ] {
        let response = send(path, "gzip").await.unwrap();
        assert_eq!(response.status(), 415, "{path}");
        let answer: Value = response.json().await.unwrap();
        let message = answer["error"].as_str();
        let message = message.or(answer["error"]["message"].as_str());
        assert!(message.unwrap().contains("gzip"), "{path}: {answer}");
    }
    // That is none.
    let response = send("/v1/chat/completions", "identity").await.unwrap();
    assert_eq!(response.status(), 400);
}
