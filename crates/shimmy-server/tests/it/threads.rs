//! Long inputs become tokens on threads of their own, not on those that serve streams.

use std::sync::mpsc;
use std::thread;

use serde_json::json;
use shimmy_engine::stub::{Reply, StubConfig};

use crate::support::Setup;

#[tokio::test]
async fn no_route_tokenises_a_long_text_on_a_thread_that_serves_streams() {
    let (told, tokenized) = mpsc::channel();
    let stub = StubConfig {
        tokenized: Some(told),
        // Most have no room for the text, which is found out by its tokens.
        reply: Reply::Fixed("x".to_owned()),
        ..StubConfig::default()
    };
    let setup = Setup {
        stub,
        ..Setup::default()
    };
    let server = setup.start().await;
    // The test's thread is the only one of its runtime.
    let serving = thread::current().id();
    let long = "long ".repeat(6_000);
    let chat = json!([{ "role": "user", "content": long }]);
    let short = "short ".repeat(8);
    let many: Vec<&str> = vec![&short; 500];
    for (path, body) in [
        ("/v1/embeddings", json!({ "input": long })),
        ("/v1/embeddings", json!({ "input": many })),
        ("/embedding", json!({ "content": long })),
        ("/api/embed", json!({ "input": many })),
        ("/api/embed", json!({ "input": long, "truncate": true })),
        ("/api/embeddings", json!({ "prompt": long })),
        ("/tokenize", json!({ "content": long })),
        (
            "/v1/completions",
            json!({ "prompt": long, "max_tokens": 1 }),
        ),
        ("/completion", json!({ "prompt": long, "n_predict": 1 })),
        (
            "/infill",
            json!({ "input_prefix": long, "input_suffix": "" }),
        ),
        (
            "/v1/chat/completions",
            json!({ "messages": chat, "max_tokens": 1 }),
        ),
        ("/v1/responses", json!({ "input": long })),
        ("/v1/responses/input_tokens", json!({ "input": long })),
        (
            "/v1/messages",
            json!({ "model": "stub", "messages": chat, "max_tokens": 1 }),
        ),
        (
            "/v1/messages/count_tokens",
            json!({ "model": "stub", "messages": chat }),
        ),
        (
            "/api/chat",
            json!({ "model": "stub", "messages": chat, "options": { "num_predict": 1 } }),
        ),
        ("/api/generate", json!({ "prompt": long, "max_tokens": 1 })),
        ("/apply-template", json!({ "messages": chat })),
    ] {
        let (status, answer) = server.post_json(path, &body).await;
        let answer: String = answer.to_string().chars().take(300).collect();
        assert!(status == 200 || status == 400, "{path} {status}: {answer}");
        let mut bytes = 0;
        for text in tokenized.try_iter() {
            assert_ne!(text.thread, serving, "{path}: {} bytes", text.bytes);
            bytes += text.bytes;
        }
        let reads = !matches!(path, "/infill" | "/apply-template");
        assert!(bytes > 20_000 || !reads, "{path} {bytes}: {answer}");
    }
}

#[tokio::test]
async fn one_text_that_is_far_too_long_is_found_out_before_the_others_are_tokens() {
    let (told, tokenized) = mpsc::channel();
    let stub = StubConfig {
        tokenized: Some(told),
        ..StubConfig::default()
    };
    let setup = Setup {
        stub,
        ..Setup::default()
    };
    let server = setup.start().await;
    let mut texts = vec!["short ".repeat(10); 1000];
    texts.push("long ".repeat(1_000_000));
    let body = json!({ "input": texts });
    let (status, error) = server.post_json("/v1/embeddings", &body).await;
    assert_eq!(status, 400, "{error}");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("at least"), "{message}");
    let bytes: usize = tokenized.try_iter().map(|text| text.bytes).sum();
    assert!(bytes < 100_000, "{bytes} bytes became tokens");
}
