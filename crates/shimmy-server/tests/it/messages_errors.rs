//! Every refusal of `/v1/messages`, in its own shape.

use reqwest::StatusCode;
use serde_json::{Value, json};
use shimmy_engine::EngineConfig;
use shimmy_engine::stub::StubConfig;
use shimmy_server::Secret;

use crate::messages::{PATH, ask};
use crate::support::{Setup, TestServer, with};

/// The type of the error that this request gets, which has to be in the dialect's own shape.
pub(crate) async fn refused(server: &TestServer, body: &Value) -> (u16, String, String) {
    let response = server.post(PATH, body).await;
    let status = response.status().as_u16();
    let id = response.headers()["request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["type"], "error", "{error}");
    assert_eq!(error["request_id"], *id);
    let text = |name: &str| error["error"][name].as_str().unwrap().to_owned();
    (status, text("type"), text("message"))
}

#[tokio::test]
async fn wrong_requests_name_the_field() {
    let server = Setup::default().start().await;
    let tool = json!({ "name": "f", "input_schema": { "type": "object" } });
    for (fields, named) in [
        (json!({ "messages": [] }), "`messages` is empty"),
        (json!({ "messages": null }), "`messages`"),
        (
            json!({ "messages": [{ "role": "wizard", "content": "x" }] }),
            "`messages[0].role`",
        ),
        (
            json!({ "messages": [{ "role": "user" }] }),
            "`messages[0].content` is required",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image", "source": {} }] }] }),
            "`messages[0].content[0]` has the type \"image\", but this model reads only text",
        ),
        (json!({ "system": 3 }), "`system`"),
        (json!({ "system": [{ "type": "image" }] }), "`system[0]`"),
        (json!({ "max_tokens": 0 }), "`max_tokens`"),
        (json!({ "max_tokens": "many" }), "`max_tokens`"),
        (json!({ "temperature": 1e9 }), "`temperature`"),
        (json!({ "top_p": 2 }), "`top_p`"),
        (json!({ "stop_sequences": "x" }), "`stop_sequences`"),
        (
            json!({ "stop_sequences": vec!["x"; 1000] }),
            "`stop_sequences`",
        ),
        (json!({ "stream": "yes" }), "`stream`"),
        (json!({ "tools": {} }), "`tools`"),
        (
            json!({ "tools": [{ "name": "f" }] }),
            "`tools[0].input_schema` is required",
        ),
        (
            json!({ "tools": [{ "input_schema": {} }] }),
            "`tools[0].name` is required",
        ),
        (
            json!({ "tools": [{ "name": "f", "input_schema": 3 }] }),
            "`tools[0].input_schema`",
        ),
        (json!({ "tools": [tool, tool] }), "`tools[1].name`"),
        (json!({ "tool_choice": "auto" }), "`tool_choice`"),
        (
            json!({ "tool_choice": { "type": "sometimes" } }),
            "`tool_choice.type`",
        ),
        (json!({ "tool_choice": { "type": "any" } }), "`tool_choice`"),
        (
            json!({ "tool_choice": { "type": "tool" } }),
            "`tool_choice.name`",
        ),
        (
            json!({ "tool_choice": { "type": "tool", "name": "g" }, "tools": [tool] }),
            "`tool_choice.name`",
        ),
        (json!({ "thinking": true }), "`thinking`"),
        (json!({ "thinking": {} }), "`thinking.type` is required"),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": -1 } }),
            "`thinking.budget_tokens`",
        ),
        (
            json!({ "output_config": { "format": { "type": "xml" } } }),
            "`output_config.format.type`",
        ),
        (
            json!({ "output_config": { "format": { "type": "json_schema", "schema": { "type": 3 } } } }),
            "`output_config.format`",
        ),
        (json!({ "mcp_servers": [{ "url": "x" }] }), "`mcp_servers`"),
    ] {
        let body = with(ask("x"), fields);
        let (status, kind, message) = refused(&server, &body).await;
        assert_eq!(
            (status, kind.as_str()),
            (400, "invalid_request_error"),
            "{body}: {message}"
        );
        assert!(message.contains(named), "{body}: {message}");
    }
}

#[tokio::test]
async fn every_refusal_has_this_dialects_shape() {
    let server = Setup::default().start().await;
    for (model, status, kind) in [
        ("nobody", 404, "not_found_error"),
        ("broken", 502, "api_error"),
        ("busy", 503, "overloaded_error"),
        ("ambiguous", 400, "invalid_request_error"),
    ] {
        let (got, got_kind, _) = refused(&server, &with(ask("x"), json!({ "model": model }))).await;
        assert_eq!((got, got_kind.as_str()), (status, kind), "{model}");
    }
    let (_, _, message) = refused(&server, &with(ask("x"), json!({ "model": "nobody" }))).await;
    assert!(message.ends_with("did you mean stub?"), "{message}");

    let get = |path: &'static str| server.get(path);
    for (response, status, kind) in [
        (get("/v1/messages").await, 405, "invalid_request_error"),
        (get("/v1/messages/batches").await, 404, "not_found_error"),
    ] {
        assert_eq!(response.status().as_u16(), status);
        assert!(response.headers().contains_key("request-id"));
        let error: Value = response.json().await.unwrap();
        assert_eq!(
            (&error["type"], &error["error"]["type"]),
            (&json!("error"), &json!(kind))
        );
    }
    let form = server
        .client
        .post(server.url(PATH))
        .header("content-type", "text/plain")
        .body("{}");
    let error: Value = form.send().await.unwrap().json().await.unwrap();
    assert_eq!(error["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn the_key_is_taken_from_either_header_and_asked_for_in_this_dialect() {
    let mut setup = Setup::default();
    setup.server.api_keys = vec![Secret::new("sk-right").unwrap()];
    let server = setup.start().await;
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let post = || server.client.post(server.url(path)).json(&ask("x"));
        let refused = post().send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        let error: Value = refused.json().await.unwrap();
        assert_eq!(error["error"]["type"], "authentication_error");
        let by_key = post().header("x-api-key", "sk-right").send().await.unwrap();
        assert_eq!(by_key.status(), 200);
        let by_token = post().bearer_auth("sk-right").send().await.unwrap();
        assert_eq!(by_token.status(), 200);
    }
    for path in ["/api/hello", "/v1/responses/resp_1"] {
        assert_eq!(server.get(path).await.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_prompt_over_the_context_is_told_in_the_words_that_agents_look_for() {
    let mut setup = Setup::default();
    setup.stub.cells = 64;
    let server = setup.start().await;
    let (status, kind, message) = refused(&server, &ask(&"long ".repeat(40))).await;
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    assert_eq!(message, "prompt is too long: 219 tokens > 64 maximum");
    // The limit on the answer is no reason: it is clamped.
    let asked = with(ask("x"), json!({ "max_tokens": 32_000 }));
    assert_eq!(server.post_json(PATH, &asked).await.0, 200);
}

#[tokio::test]
async fn a_body_that_is_too_large_and_a_full_queue_have_their_words() {
    let mut setup = Setup::default();
    setup.server.max_body = 1000;
    let server = setup.start().await;
    let (status, kind, _) = refused(&server, &ask(&"x".repeat(2000))).await;
    assert_eq!((status, kind.as_str()), (413, "request_too_large"));

    let (mut setup, gate) = Setup::gated();
    setup.engine = EngineConfig {
        queue: 1,
        ..EngineConfig::default()
    };
    setup.stub = StubConfig {
        sequences: 1,
        ..setup.stub
    };
    let server = setup.start().await;
    let body = with(ask("x"), json!({ "stream": true }));
    let _running = server.post(PATH, &body).await;
    gate.step_until(|| server.engine().running == 1).await;
    let _waiting = server.post(PATH, &body).await;
    let (status, kind, _) = refused(&server, &body).await;
    assert_eq!((status, kind.as_str()), (429, "rate_limit_error"));
}

#[tokio::test]
async fn a_client_of_this_vendor_is_told_in_its_words_of_models_too() {
    let server = Setup::default().start().await;
    for (path, status, kind) in [
        ("/v1/models/nope", 404, "not_found_error"),
        ("/v1/models?limit=0", 400, "invalid_request_error"),
    ] {
        let ask = server.client.get(server.url(path));
        let response = ask.header("anthropic-version", "2023-06-01").send().await;
        let response = response.unwrap();
        assert_eq!(response.status(), status);
        let id = response.headers()["request-id"].clone();
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["type"], "error", "{error}");
        assert_eq!(error["error"]["type"], kind);
        assert_eq!(error["request_id"], id.to_str().unwrap());
    }
    let (_, error) = server.get_json("/v1/models/nope").await;
    assert_eq!(error["error"]["code"], "model_not_found", "{error}");
}
