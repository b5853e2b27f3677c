//! Probabilities of tokens, in every dialect that has them.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Setup, chat, events, filters, with};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_chat_tells_them_of_every_token() {
    let server = Setup::saying("é!").start().await;
    let body = with(chat("x"), json!({ "logprobs": true, "top_logprobs": 2 }));
    let (status, answer) = server.post_json(CHAT, &body).await;
    assert_eq!(status, 200, "{answer}");
    let logprobs = &answer["choices"][0]["logprobs"];
    let shown = logprobs.to_string();
    filters().bind(|| assert_snapshot!("chat_logprobs", shown));
    for token in logprobs["content"].as_array().unwrap() {
        // The stub is certain, and its word is the likeliest one.
        let logprob = token["logprob"].as_f64().unwrap();
        assert!(logprob > -1e-6 && logprob <= 0.0, "{token}");
        assert_eq!(token["top_logprobs"][0]["logprob"], token["logprob"]);
        assert!((token["top_logprobs"][1]["logprob"].as_f64().unwrap() + 30.0).abs() < 1e-3);
    }
}

#[tokio::test]
async fn a_chat_stream_tells_them_beside_the_text() {
    let server = Setup::saying("é!").start().await;
    let body = with(chat("x"), json!({ "logprobs": true }));
    let (_, whole) = server.post_json(CHAT, &body).await;
    let stream = server
        .stream(CHAT, &with(body, json!({ "stream": true })))
        .await;
    let mut streamed = Vec::new();
    for frame in events(&stream).iter().filter(|frame| *frame != "[DONE]") {
        let chunk: Value = serde_json::from_str(frame).unwrap();
        let choice = &chunk["choices"][0];
        let told = choice["logprobs"]["content"].as_array().cloned();
        // Both bytes of the character come with it, not before it.
        if choice["delta"]["content"] == "é" {
            assert_eq!(told.as_ref().unwrap().len(), 2);
        }
        streamed.extend(told.unwrap_or_default());
    }
    let expected = whole["choices"][0]["logprobs"]["content"].as_array();
    assert_eq!(Some(&streamed), expected);
}

#[tokio::test]
async fn without_being_asked_there_are_none() {
    let server = Setup::default().start().await;
    let body = with(chat("x"), json!({ "logprobs": false, "top_logprobs": 0 }));
    let (status, answer) = server.post_json(CHAT, &body).await;
    assert_eq!(status, 200);
    assert_eq!(answer["choices"][0].get("logprobs"), Some(&Value::Null));
    let body = with(chat("x"), json!({ "top_logprobs": 1 }));
    let (status, error) = server.post_json(CHAT, &body).await;
    assert_eq!(
        (status, &error["error"]["param"]),
        (400, &json!("top_logprobs"))
    );
}

#[tokio::test]
async fn a_completion_tells_them_in_four_lists() {
    let server = Setup::saying("aé").start().await;
    let body = json!({ "prompt": "x", "logprobs": 1 });
    let (_, answer) = server.post_json("/v1/completions", &body).await;
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["a", "\u{fffd}", "\u{fffd}"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2]));
    assert_eq!(logprobs["token_logprobs"].as_array().unwrap().len(), 3);
    let top = logprobs["top_logprobs"][0].as_object().unwrap();
    assert_eq!(top.keys().collect::<Vec<_>>(), ["a"]);

    let more = json!({ "logprobs": 0, "stream": true });
    let stream = server.stream("/v1/completions", &with(body, more)).await;
    let mut offsets = Vec::new();
    for frame in events(&stream).iter().filter(|frame| *frame != "[DONE]") {
        let chunk: Value = serde_json::from_str(frame).unwrap();
        let logprobs = &chunk["choices"][0]["logprobs"];
        let told = logprobs["text_offset"].as_array().cloned();
        offsets.extend(told.unwrap_or_default());
        assert_eq!(logprobs["top_logprobs"], Value::Null);
    }
    assert_eq!(offsets, [0, 1, 2]);
}

#[tokio::test]
async fn llama_servers_completion_tells_them_with_ids() {
    let server = Setup::saying("ab").start().await;
    let body = json!({ "prompt": "x", "n_probs": 1, "return_tokens": true });
    let (_, answer) = server.post_json("/completion", &body).await;
    assert_eq!(answer["tokens"], json!([97, 98]));
    let shown = answer["completion_probabilities"].to_string();
    filters().bind(|| assert_snapshot!("completion_probabilities", shown));

    let stream = server
        .stream("/completion", &with(body, json!({ "stream": true })))
        .await;
    let frames: Vec<Value> = events(&stream)
        .iter()
        .map(|frame| serde_json::from_str(frame).unwrap())
        .collect();
    assert_eq!(frames[0]["tokens"], json!([97]));
    assert_eq!(
        frames[1]["completion_probabilities"][0],
        answer["completion_probabilities"][1]
    );
    let last = frames.last().unwrap();
    assert_eq!(last["tokens"], json!([]));
    assert!(last.get("completion_probabilities").is_none());
}
