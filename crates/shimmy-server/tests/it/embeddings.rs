//! `/v1/embeddings`, `/v1/rerank` and their aliases on a model that makes vectors and does not rank.

use serde_json::json;

use crate::support::Setup;

#[tokio::test]
async fn vectors_have_the_length_one_whoever_asks() {
    let server = Setup::default().start().await;
    let body = json!({ "input": ["aaa", "ab"] });
    let (status, answer) = server.post_json("/v1/embeddings", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    for item in answer["data"].as_array().unwrap() {
        let vector = item["embedding"].as_array().unwrap().iter();
        let squares: f64 = vector.map(|x| x.as_f64().unwrap().powi(2)).sum();
        assert!((squares - 1.0).abs() < 1e-6, "{squares}");
    }
    let body = json!({ "input": "x".repeat(600) });
    let (status, error) = server.post_json("/v1/embeddings", &body).await;
    assert_eq!(status, 400, "{error}");
    assert_eq!(error["error"]["code"], "context_length_exceeded");
}

#[tokio::test]
async fn a_model_that_does_not_rank_never_makes_a_ranking_up() {
    let server = Setup::default().start().await;
    for path in ["/v1/rerank", "/v1/reranking", "/rerank", "/reranking"] {
        let body = json!({ "model": "stub", "query": "q", "documents": ["a", { "text": "b" }] });
        let (status, error) = server.post_json(path, &body).await;
        assert_eq!(status, 400, "{path}: {error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains("stub does not rank"), "{message}");
    }
}

#[tokio::test]
async fn wrong_inputs_name_their_places() {
    let server = Setup::default().start().await;
    for (path, field, body) in [
        ("/v1/embeddings", "input", json!({ "input": [999] })),
        ("/v1/embeddings", "input[1]", json!({ "input": ["a", 1.5] })),
        (
            "/v1/embeddings",
            "encoding_format",
            json!({ "input": "a", "encoding_format": "hex" }),
        ),
        (
            "/v1/embeddings",
            "model",
            json!({ "input": "a", "model": "nobody" }),
        ),
        ("/v1/rerank", "query", json!({ "documents": ["a"] })),
        (
            "/v1/rerank",
            "documents[1]",
            json!({ "query": "q", "documents": ["a", 5] }),
        ),
    ] {
        let (status, error) = server.post_json(path, &body).await;
        assert!(status == 400 || field == "model", "{error}");
        assert_eq!(error["error"]["param"], field, "{error}");
    }
}

#[tokio::test]
async fn a_model_that_only_makes_vectors_says_so_when_it_is_asked_to_talk() {
    let mut setup = Setup::default();
    setup.stub.generates = false;
    let server = setup.start().await;
    let (status, _) = server
        .post_json("/v1/embeddings", &json!({ "input": "a" }))
        .await;
    assert_eq!(status, 200);
    let body = json!({ "messages": [{ "role": "user", "content": "Hi" }] });
    let (status, error) = server.post_json("/v1/chat/completions", &body).await;
    assert_eq!((status, &error["error"]["param"]), (400, &json!("model")));
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("only makes embeddings"), "{message}");
}
