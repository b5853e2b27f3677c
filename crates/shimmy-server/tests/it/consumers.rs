//! The exact requests of clients that people run.

use serde_json::{Value, json};

use crate::support::{Setup, events};

#[tokio::test]
async fn rustchain_chat() {
    let server = Setup::default().start().await;
    let body = json!({
        "model": "default",
        "messages": [
            { "role": "system", "content": "You plan.", "name": null, "tool_calls": null,
              "tool_call_id": null },
            { "role": "user", "content": "go", "name": null, "tool_calls": null,
              "tool_call_id": null },
        ],
        "max_tokens": 64, "temperature": 0.7, "stream": false, "tools": null,
    });
    let (status, answer) = server.post_json("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "go");
    assert_eq!(answer["model"], "stub");
    let usage = &answer["usage"];
    let [prompt, completion, total] = ["prompt_tokens", "completion_tokens", "total_tokens"]
        .map(|name| usage[name].as_u64().unwrap());
    assert_eq!(prompt + completion, total);
}

#[tokio::test]
async fn rustchain_generate() {
    let server = Setup::default().start().await;
    let body = json!({ "model": "stub", "prompt": "go", "max_tokens": 64, "temperature": 0.7,
        "stream": false });
    let (status, answer) = server.post_json("/api/generate", &body).await;
    assert_eq!(status, 200);
    assert_eq!(answer["text"], "go");
    assert_eq!(answer["model"], "stub");
    assert_eq!(answer["finish_reason"], "stop");
    assert_eq!(answer["tokens_used"], answer["usage"]["total_tokens"]);
}

#[tokio::test]
async fn rustchain_models() {
    let server = Setup::default().start().await;
    let (_, list) = server.get_json("/v1/models").await;
    let ids: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["stub", "owner/tiny:q4"]);
}

#[tokio::test]
async fn punch_discovery_with_a_very_long_prompt() {
    let mut setup = Setup::saying("analysed");
    setup.stub.cells = 1 << 17;
    setup.stub.batch = 1 << 15;
    let server = setup.start().await;
    let analysis: Vec<Value> = (0..1500)
        .map(|n| json!({ "file": format!("src/module_{n}.rs"), "functions": n, "todo": "\"\\" }))
        .collect();
    let prompt = serde_json::to_string_pretty(&analysis).unwrap();
    assert!(prompt.len() > 100_000);
    let body = json!({ "model": "default", "prompt": prompt });
    let (status, answer) = server.post_json("/api/generate", &body).await;
    assert_eq!(
        (status, &answer["response"]),
        (200, &json!("analysed")),
        "{answer}"
    );
}

#[tokio::test]
async fn open_webui_from_the_browser() {
    const ORIGIN: &str = "http://localhost:3000";
    let mut setup = Setup::default();
    setup.server.cors_origins = vec![ORIGIN.to_owned()];
    let server = setup.start().await;
    let path = server.url("/v1/chat/completions");
    let preflight = server
        .client
        .request(reqwest::Method::OPTIONS, &path)
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        )
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    let headers = preflight.headers();
    assert_eq!(headers["access-control-allow-origin"], ORIGIN);
    assert_eq!(
        headers["access-control-allow-headers"],
        "authorization,content-type"
    );
    assert!(
        headers["access-control-allow-methods"]
            .to_str()
            .unwrap()
            .contains("POST")
    );

    let models = server
        .client
        .get(server.url("/v1/models"))
        .header("origin", ORIGIN);
    let models = models.send().await.unwrap();
    assert_eq!(models.headers()["access-control-allow-origin"], ORIGIN);

    let body = json!({
        "stream": true, "model": "stub", "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "hello" } ] }],
        "stream_options": { "include_usage": true },
    });
    let request = server
        .client
        .post(&path)
        .header("origin", ORIGIN)
        .json(&body);
    let stream = request.send().await.unwrap().text().await.unwrap();
    assert!(stream.contains(r#""content":"h""#), "{stream}");
    assert!(stream.ends_with("data: [DONE]\n\n"));
}

/// From its own server: the list, a conversation with its memory of earlier ones, the title of the
/// conversation, and vectors for its documents.
#[tokio::test]
async fn open_webui_from_its_server() {
    let server = Setup::default().start().await;
    let models = server.client.get(server.url("/v1/models"));
    let models = models.bearer_auth("sk-any").send().await.unwrap();
    let models: Value = models.json().await.unwrap();
    assert_eq!(models["data"][0]["object"], "model");
    let body = json!({
        "stream": false, "model": "stub", "max_completion_tokens": 1000,
        "messages": [{ "role": "user", "content": "### Task:\nA title, please." }],
        "user": { "name": "ada", "id": "1", "email": "ada@localhost", "role": "admin" },
    });
    let (status, answer) = server.post_json("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["choices"][0]["message"]["content"].is_string());
    let body = json!({ "input": ["a chunk of a document"], "model": "stub" });
    let (status, answer) = server.post_json("/v1/embeddings", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["data"][0]["embedding"].is_array());
}

/// Its generic provider, through the official client for JavaScript.
#[tokio::test]
async fn anythingllm_as_a_generic_provider() {
    let server = Setup::default().start().await;
    let body = json!({
        "model": "stub", "stream": true, "temperature": 0.7, "max_tokens": 1024,
        "messages": [
            { "role": "system", "content": "Given the following conversation, reply." },
            { "role": "user", "content": "hello" },
        ],
    });
    let request = server.client.post(server.url("/v1/chat/completions"));
    let request = request
        .header("user-agent", "OpenAI/JS 4.95.1")
        .header("x-stainless-lang", "js")
        .header("authorization", "Bearer null");
    let stream = request.json(&body).send().await.unwrap();
    let stream = stream.text().await.unwrap();
    let mut events = events(&stream);
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let chunks = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap());
    let chunks: Vec<Value> = chunks.collect();
    // It ends its answer at the first choice with a reason.
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "hello");
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!(last["finish_reason"], "stop");
    // Of an agent's turn it wants the whole at once.
    let body = json!({
        "model": "stub", "stream": false, "temperature": 0,
        "messages": [{ "role": "user", "content": "hello" }],
    });
    let (status, answer) = server.post_json("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "hello");
    for field in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert!(answer["usage"][field].is_u64(), "{answer}");
    }
}

#[tokio::test]
async fn a_plain_options_request_is_answered() {
    let server = Setup::default().start().await;
    let path = server.url("/v1/chat/completions");
    let response = server
        .client
        .request(reqwest::Method::OPTIONS, path)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["allow"], "POST");
}
