//! The exact requests of programs that were written for Ollama.

use serde_json::{Value, json};

use crate::ollama::{lines, post, post_json};
use crate::support::{Setup, TestServer};

async fn get_json(server: &TestServer, path: &str) -> Value {
    let url = format!("http://{}{path}", server.ollama);
    let response = server.client.get(url).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.unwrap()
}

/// Through Ollama's JavaScript client.
#[tokio::test]
async fn anythingllm() {
    let server = Setup::default().start().await;
    let tags = get_json(&server, "/api/tags").await;
    let names: Vec<&str> = tags["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["stub", "owner/tiny:q4"]);

    let (_, shown) = post_json(&server, "/api/show", &json!({ "model": "stub" })).await;
    let info = shown["model_info"].as_object().unwrap();
    let window = info
        .keys()
        .find(|key| key.ends_with(".context_length"))
        .unwrap();
    assert_eq!(info[window], 4096);
    let capabilities = shown["capabilities"].as_array().unwrap();
    assert!(capabilities.contains(&json!("completion")));
    assert!(capabilities.contains(&json!("tools")));

    let body = json!({
        "model": "stub", "stream": true,
        "messages": [
            { "role": "system", "content": "Given the following conversation, reply." },
            { "role": "user", "content": "hello" },
        ],
        "keep_alive": 300,
        "options": { "temperature": 0.7, "use_mlock": true, "num_ctx": 4096 },
    });
    let stream = lines(
        &post(&server, "/api/chat", &body)
            .await
            .text()
            .await
            .unwrap(),
    );
    let text: String = stream
        .iter()
        .map(|line| line["message"]["content"].as_str().unwrap())
        .collect();
    assert_eq!(text, "hello");
    let last = stream.last().unwrap();
    for number in ["prompt_eval_count", "eval_count", "eval_duration"] {
        assert!(last[number].is_u64(), "{number}: {last}");
    }
}

#[tokio::test]
async fn open_webui() {
    let server = Setup::default().start().await;
    assert!(get_json(&server, "/api/version").await["version"].is_string());
    let tags = get_json(&server, "/api/tags").await;
    for model in tags["models"].as_array().unwrap() {
        for field in ["name", "model", "modified_at", "size", "digest", "details"] {
            assert!(!model[field].is_null(), "{field}: {model}");
        }
        assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    }
    let running = get_json(&server, "/api/ps").await;
    assert_eq!(running["models"][0]["model"], "stub");
    assert!(running["models"][0]["expires_at"].is_string());

    let body = json!({
        "model": "stub", "stream": true, "options": {}, "format": null, "keep_alive": null,
        "messages": [{ "role": "user", "content": "hello" }],
        "template": null, "tools": null, "think": null,
    });
    let stream = lines(
        &post(&server, "/api/chat", &body)
            .await
            .text()
            .await
            .unwrap(),
    );
    assert_eq!(stream.last().unwrap()["done_reason"], "stop");

    // The title of the conversation.
    let body = json!({
        "model": "stub", "stream": false, "options": { "num_predict": 1000, "temperature": 0.1 },
        "messages": [{ "role": "user", "content": "A title, please." }],
    });
    let (status, answer) = post_json(&server, "/api/chat", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["message"]["role"], "assistant");

    // Unloading from its list of models.
    let body = json!({ "model": "stub", "prompt": "", "keep_alive": 0, "stream": false });
    let (_, answer) = post_json(&server, "/api/generate", &body).await;
    assert_eq!(answer["done_reason"], "unload");
}

#[tokio::test]
async fn continue_dev() {
    let server = Setup::default().start().await;
    let (_, shown) = post_json(&server, "/api/show", &json!({ "name": "stub" })).await;
    // It reads lines of a name and a value, and looks for marks in the template.
    let parameters = shown["parameters"].as_str().unwrap();
    let context = parameters.lines().find(|line| line.starts_with("num_ctx"));
    let context = context.unwrap().split_whitespace().last().unwrap();
    assert_eq!(context, "4096");
    assert!(shown["template"].is_string());

    let body = json!({
        "model": "stub", "stream": true, "raw": false, "keep_alive": 1800,
        "messages": [{ "role": "user", "content": "hello" }],
        "options": { "num_predict": 2048, "num_ctx": 4096, "temperature": 0.5, "stop": ["<|end|>"],
            "mirostat": null, "num_thread": null },
    });
    let stream = lines(
        &post(&server, "/api/chat", &body)
            .await
            .text()
            .await
            .unwrap(),
    );
    assert!(
        stream
            .iter()
            .all(|line| line["message"]["role"] == "assistant")
    );

    let body = json!({ "model": "stub", "input": ["a chunk", "another chunk"] });
    let (status, answer) = post_json(&server, "/api/embed", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["embeddings"].as_array().unwrap().len(), 2);
    for nothing in [json!(""), json!([])] {
        let body = json!({ "model": "stub", "input": nothing });
        let (status, answer) = post_json(&server, "/api/embed", &body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["embeddings"], json!([]));
    }
}

#[tokio::test]
async fn langchain_ollama() {
    let server = Setup::default().start().await;
    let body = json!({
        "model": "stub", "stream": true, "tools": [], "format": "", "think": null,
        "messages": [{ "role": "user", "content": "hello", "images": [] }],
        "options": { "temperature": 0.0, "num_predict": 64, "seed": 7 }, "keep_alive": null,
    });
    let stream = lines(
        &post(&server, "/api/chat", &body)
            .await
            .text()
            .await
            .unwrap(),
    );
    let last = stream.last().unwrap();
    assert_eq!(last["done"], true);
    assert_eq!(last["done_reason"], "stop");
    let body = json!({ "model": "stub", "input": ["one", "two"],
        "options": { "num_ctx": 2048 }, "keep_alive": null });
    let (status, answer) = post_json(&server, "/api/embed", &body).await;
    assert_eq!(status, 200, "{answer}");
}

/// `codex --oss` asks these before anything else, then speaks OpenAI's Responses.
#[tokio::test]
async fn codex_oss() {
    let server = Setup::default().start().await;
    assert!(get_json(&server, "/api/version").await["version"].is_string());
    let tags = get_json(&server, "/api/tags").await;
    assert_eq!(tags["models"][0]["name"], "stub");
    // A model that it does not see, it pulls; one that is there costs nothing.
    let response = post(
        &server,
        "/api/pull",
        &json!({ "model": "stub", "stream": true }),
    )
    .await;
    assert!(response.text().await.unwrap().contains("success"));
    let body = json!({ "model": "stub", "input": "hello", "stream": false });
    let (status, answer) = post_json(&server, "/v1/responses", &body).await;
    assert_eq!(status, 200, "{answer}");
}

/// Editors that list a local server's models: they ask for the version, the list, and what each
/// can do, then speak OpenAI's chat.
#[tokio::test]
async fn an_editors_model_picker() {
    let server = Setup::default().start().await;
    let version = get_json(&server, "/api/version").await;
    let numbers = version["version"].as_str().unwrap().split('.');
    let numbers: Vec<u32> = numbers.map(|number| number.parse().unwrap()).collect();
    assert!(numbers >= vec![0, 6, 4], "{numbers:?}");
    let tags = get_json(&server, "/api/tags").await;
    for model in tags["models"].as_array().unwrap() {
        let (status, shown) =
            post_json(&server, "/api/show", &json!({ "model": model["model"] })).await;
        assert_eq!(status, 200, "{shown}");
        let architecture = shown["model_info"]["general.architecture"]
            .as_str()
            .unwrap();
        let window = &shown["model_info"][format!("{architecture}.context_length")];
        assert!(window.is_u64(), "{shown}");
        assert!(
            shown["capabilities"]
                .as_array()
                .unwrap()
                .contains(&json!("tools"))
        );
    }
    let body = json!({ "model": "stub", "stream": false,
        "messages": [{ "role": "user", "content": "hello" }] });
    let (status, answer) = post_json(&server, "/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
}
