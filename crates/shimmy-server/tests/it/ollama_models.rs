//! What Ollama's clients list, show and probe, and vectors.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::ollama::post_json;
use crate::support::{Setup, filters};

#[tokio::test]
async fn tags_list_what_can_be_loaded() {
    let server = Setup::default().start().await;
    let text = server.get("/api/tags").await.text().await.unwrap();
    assert_snapshot!("ollama_tags", text);
}

#[tokio::test]
async fn ps_lists_what_is_in_memory() {
    let server = Setup::default().start().await;
    let text = server.get("/api/ps").await.text().await.unwrap();
    let mut filters = filters();
    // For ever, in Ollama's words: its longest time from now on.
    filters.add_filter(
        r#""expires_at":"23\d\d-[^"]+Z""#,
        r#""expires_at":"[never]""#,
    );
    filters.bind(|| assert_snapshot!("ollama_ps", text));
}

#[tokio::test]
async fn show_tells_what_the_file_says() {
    let server = Setup::default().start().await;
    let response = server.post("/api/show", &json!({ "model": "stub" })).await;
    assert!(response.headers().get("x-shimmy-ignored").is_none());
    let text = response.text().await.unwrap();
    assert_snapshot!("ollama_show", text);
    for body in [
        json!({ "name": "stub", "verbose": true }),
        json!({ "model": "", "name": "stub" }),
        json!({}),
    ] {
        let (status, shown) = server.post_json("/api/show", &body).await;
        assert_eq!(status, 200, "{shown}");
        assert_eq!(shown["details"]["family"], "stub");
    }
    let (status, error) = server
        .post_json("/api/show", &json!({ "model": "broken" }))
        .await;
    assert_eq!(
        (status, error),
        (502, json!({ "error": "load failed: cut short" }))
    );
}

#[tokio::test]
async fn versions_are_told_apart() {
    let server = Setup::default().start().await;
    let (_, version) = server.get_json("/api/version").await;
    // What Codex asks for at least.
    let numbers: Vec<u32> = version["version"]
        .as_str()
        .unwrap()
        .split('.')
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(numbers >= vec![0, 13, 4], "{numbers:?}");
    assert_eq!(version["shimmy"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_root_says_who_is_there() {
    let server = Setup::default().start().await;
    let ollamas = format!("http://{}/", server.ollama);
    let response = server.client.get(&ollamas).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "Ollama is running");
    let head = server.client.head(&ollamas).send().await.unwrap();
    assert_eq!(head.status(), 200);
    let named = server
        .client
        .get(server.url("/"))
        .header("user-agent", "ollama-js/0.6.0");
    let named = named.send().await.unwrap();
    assert_eq!(named.text().await.unwrap(), "Ollama is running");
    let other = server.get("/").await;
    assert_eq!(other.text().await.unwrap(), "Shimmy is running");
}

#[tokio::test]
async fn vectors_are_scaled_by_the_newer_route_only() {
    let server = Setup::default().start().await;
    let body = json!({ "model": "stub", "input": ["aaa", "ab"] });
    let (status, answer) = server.post_json("/api/embed", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["prompt_eval_count"], 5);
    let vectors: Vec<Vec<f64>> = serde_json::from_value(answer["embeddings"].clone()).unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in &vectors {
        let squares: f64 = vector.iter().map(|x| x * x).sum();
        assert!((squares - 1.0).abs() < 1e-6, "{squares}");
    }
    let body = json!({ "model": "stub", "prompt": "aaa" });
    let (_, answer) = server.post_json("/api/embeddings", &body).await;
    let raw: Vec<f64> = serde_json::from_value(answer["embedding"].clone()).unwrap();
    let length: f64 = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
    for (raw, scaled) in raw.iter().zip(&vectors[0]) {
        assert!((raw / length - scaled).abs() < 1e-6);
    }
}

#[tokio::test]
async fn nothing_to_embed_loads_the_model() {
    let server = Setup::default().start().await;
    for input in [json!(null), json!([])] {
        let body = json!({ "model": "stub", "input": input });
        let (status, answer) = server.post_json("/api/embed", &body).await;
        assert_eq!(
            (status, &answer["embeddings"]),
            (200, &json!([])),
            "{answer}"
        );
    }
    let (_, answer) = server
        .post_json("/api/embeddings", &json!({ "prompt": "" }))
        .await;
    assert_eq!(answer, json!({ "embedding": [] }));
}

#[tokio::test]
async fn a_text_that_is_too_long_is_cut_unless_its_client_minds() {
    let server = Setup::default().start().await;
    let long = "x".repeat(600);
    let ask = async |truncate: Value| {
        let body = json!({ "model": "stub", "input": [long, "b"], "truncate": truncate });
        post_json(&server, "/api/embed", &body).await
    };
    let (status, error) = ask(json!(false)).await;
    assert_eq!(status, 400, "{error}");
    assert!(error["error"].as_str().unwrap().contains("600"), "{error}");
    for truncate in [json!(null), json!(true)] {
        let (status, answer) = ask(truncate).await;
        assert_eq!(
            (status, &answer["prompt_eval_count"]),
            (200, &json!(65)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn wrong_texts_and_dimensions_are_refused() {
    let server = Setup::default().start().await;
    for (body, named) in [
        (json!({ "input": 5 }), "`input`"),
        (json!({ "input": "a", "dimensions": 0 }), "`dimensions`"),
        (
            json!({ "input": "a", "dimensions": 1_000_000 }),
            "`dimensions`",
        ),
        (json!({ "input": ["", "a"] }), "`input`"),
        (json!({ "input": "a", "keep_alive": [] }), "`keep_alive`"),
    ] {
        let (status, error) = post_json(&server, "/api/embed", &body).await;
        assert_eq!(status, 400, "{error}");
        assert!(error["error"].as_str().unwrap().contains(named), "{error}");
    }
    let body = json!({ "input": "a", "options": { "temperature": 0 } });
    let response = server.post("/api/embed", &body).await;
    assert_eq!(response.headers()["x-shimmy-ignored"], "options");
}
