//! How Ollama's dialect fails: one text, by the names that fields have there, everywhere at its
//! own address.

use serde_json::{Value, json};

use crate::ollama::post_json;
use crate::support::{Setup, chat, with};

#[tokio::test]
async fn an_unknown_model_is_404_in_one_text() {
    let server = Setup::default().start().await;
    for path in [
        "/api/chat",
        "/api/generate",
        "/api/show",
        "/api/embed",
        "/api/embeddings",
    ] {
        let body = with(
            chat("hi"),
            json!({ "model": "x", "prompt": "hi", "input": "hi" }),
        );
        let failed = post_json(&server, path, &body).await;
        let expected = json!({ "error": "model 'x' not found" });
        assert_eq!(failed, (404, expected), "{path}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_as_the_client_wrote_it() {
    let server = Setup::default().start().await;
    for (more, named) in [
        (
            json!({ "options": { "temperature": -1 } }),
            "`options.temperature`",
        ),
        (
            json!({ "options": { "temperature": "hot" } }),
            "`options.temperature`",
        ),
        (json!({ "options": { "top_p": 7 } }), "`options.top_p`"),
        (json!({ "options": { "num_ctx": 0 } }), "`options.num_ctx`"),
        (
            json!({ "options": { "mirostat": 2 } }),
            "`options.mirostat`",
        ),
        (json!({ "options": [] }), "`options`"),
        (json!({ "keep_alive": "soon" }), "`keep_alive`"),
        (json!({ "think": "very" }), "`think`"),
        (json!({ "format": "xml" }), "`format`"),
        (json!({ "top_logprobs": 99 }), "`top_logprobs`"),
        (
            json!({ "messages": [{ "role": "nobody" }] }),
            "`messages[0].role`",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "What is this?",
                "images": ["iVBORw0KGgo="] }] }),
            "`messages[0].images`",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "tool_calls": [{ "function": {} }] }] }),
            "`messages[0].tool_calls[0].function.name`",
        ),
        (
            json!({ "tools": [{ "type": "web_search" }] }),
            "`tools[0].type`",
        ),
    ] {
        let (status, error) = post_json(&server, "/api/chat", &with(chat("hi"), more)).await;
        assert_eq!(status, 400, "{error}");
        assert_eq!(error.as_object().unwrap().len(), 1, "{error}");
        let message = error["error"].as_str().unwrap();
        assert!(message.contains(named), "{named}: {message}");
    }
}

#[tokio::test]
async fn what_generate_cannot_do_is_named() {
    let server = Setup::default().start().await;
    for (more, named) in [
        (json!({ "images": ["iVBORw0KGgo="] }), "`images`"),
        (json!({ "template": "{{ .Prompt }}" }), "`template`"),
        (json!({ "context": [1, 2, 3] }), "`context`"),
        (json!({ "raw": true, "system": "Be brief." }), "`system`"),
    ] {
        let body = with(json!({ "model": "stub", "prompt": "hi" }), more);
        let (status, error) = post_json(&server, "/api/generate", &body).await;
        assert_eq!(status, 400, "{error}");
        let message = error["error"].as_str().unwrap();
        assert!(message.starts_with(named), "{named}: {message}");
    }
    // Said and empty is not said.
    let body = json!({ "model": "stub", "prompt": "hi", "stream": false, "images": [],
        "template": "", "context": [], "suffix": "", "system": "", "format": "" });
    let (status, answer) = post_json(&server, "/api/generate", &body).await;
    assert_eq!(
        (status, &answer["response"]),
        (200, &json!("hi")),
        "{answer}"
    );
}

#[tokio::test]
async fn at_its_own_address_every_error_is_ollamas() {
    let server = Setup::default().start().await;
    let base = format!("http://{}", server.ollama);
    for (request, status) in [
        (server.client.get(format!("{base}/nothing/here")), 404),
        (server.client.get(format!("{base}/api/chat")), 405),
        (
            server.client.post(format!("{base}/tokenize")).body("{}"),
            400,
        ),
        (
            server
                .client
                .post(format!("{base}/api/chat"))
                .body("{}")
                .header("content-type", "text/plain"),
            415,
        ),
        (
            server
                .client
                .get(format!("{base}/api/tags"))
                .header("host", "evil.example"),
            403,
        ),
        (
            server
                .client
                .get(format!("{base}/api/tags"))
                .header("origin", "http://evil.example"),
            403,
        ),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        let error: Value = response.json().await.unwrap();
        assert!(error["error"].is_string(), "{error}");
        assert_eq!(error.as_object().unwrap().len(), 1, "{error}");
    }
    // OpenAI's dialect is there too, and its errors are its own.
    let (status, error) = post_json(&server, "/v1/chat/completions", &json!({})).await;
    assert_eq!(
        (status, &error["error"]["param"]),
        (400, &json!("messages"))
    );
    let (status, answer) = post_json(&server, "/v1/chat/completions", &chat("hi")).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn generate_at_its_own_address_is_ollamas_whoever_asks() {
    let server = Setup::default().start().await;
    let body = json!({ "model": "stub", "prompt": "hi" });
    let response = crate::ollama::post(&server, "/api/generate", &body).await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let response = server.post("/api/generate", &body).await;
    assert_eq!(response.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn the_token_guards_its_own_address_too() {
    let mut setup = Setup::default();
    setup.server.api_keys = vec![shimmy_server::Secret::new("sk-right").unwrap()];
    let server = setup.start().await;
    let url = format!("http://{}/api/tags", server.ollama);
    let response = server.client.get(&url).send().await.unwrap();
    assert_eq!(response.status(), 401);
    let error: Value = response.json().await.unwrap();
    assert!(error["error"].is_string(), "{error}");
    let right = server.client.get(&url).bearer_auth("sk-right");
    assert_eq!(right.send().await.unwrap().status(), 200);
}

/// `curl -d` calls any body a form, and Ollama's documentation never says otherwise. A page's form
/// has an origin.
#[tokio::test]
async fn what_curl_sends_without_a_content_type_is_read_at_its_own_address() {
    let server = Setup::default().start().await;
    let ask = async |address, header: Option<(&str, &str)>| {
        let body = json!({ "model": "stub", "prompt": "hi", "stream": false });
        let url = format!("http://{address}/api/generate");
        let request = server.client.post(url).body(body.to_string());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask(server.ollama, None).await, 200);
    assert_eq!(ask(server.address, None).await, 415);
    let own = format!("http://{}", server.ollama);
    assert_eq!(ask(server.ollama, Some(("origin", &own))).await, 415);
    assert_eq!(
        ask(server.ollama, Some(("origin", "http://evil.example"))).await,
        403
    );
    assert_eq!(
        ask(server.ollama, Some(("sec-fetch-site", "cross-site"))).await,
        415
    );
}
