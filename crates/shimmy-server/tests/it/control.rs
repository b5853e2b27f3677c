//! `/ws/generate`: what a client says beside its requests, and when.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{HANG, Setup, chat, with};
use crate::websocket::{answer, connect, send};

#[tokio::test]
async fn a_stop_text_is_no_control() {
    let server = Setup::saying("one two").start().await;
    let mut client = connect(&server).await;
    for stop in [json!(" two"), json!([" two", "x"])] {
        send(&mut client, &json!({ "prompt": "x", "stop": stop })).await;
        let (text, done) = answer(&mut client).await;
        assert_eq!((&*text, &done["finish_reason"]), ("one", &json!("stop")));
    }
}

#[tokio::test]
async fn a_control_that_comes_after_the_answer_changes_and_says_nothing() {
    let server = Setup::default().start().await;
    let mut client = connect(&server).await;
    // Before any request it can only be one that lacks its prompt.
    send(&mut client, &json!({ "temperature": 0.5 })).await;
    let (_, refused) = answer(&mut client).await;
    assert_eq!(refused["param"], "prompt", "{refused}");
    send(&mut client, &json!({ "prompt": "first" })).await;
    assert_eq!(answer(&mut client).await.0, "first");
    for late in [
        json!({ "temperature": 0.5, "top_k": -1 }),
        json!({ "temperature": "hot" }),
        json!({ "seed": 7 }),
        json!({ "stop": true }),
    ] {
        send(&mut client, &late).await;
    }
    send(&mut client, &json!({ "prompt": "second" })).await;
    let (text, done) = answer(&mut client).await;
    assert_eq!((&*text, &done["done"]), ("second", &json!(true)), "{done}");
}

#[tokio::test]
async fn controls_are_spelt_as_in_a_request() {
    let (setup, gate) = Setup::gated();
    let server = setup.start().await;
    let mut client = connect(&server).await;
    send(&mut client, &with(chat("x"), json!({ "max_tokens": 200 }))).await;
    gate.step_until(|| server.engine().running == 1).await;
    // Taken, so the next frame is about the one after them.
    send(&mut client, &json!({ "top_k": -1, "temperature": null })).await;
    send(&mut client, &json!({ "stop": false, "seed": null })).await;
    for (field, value) in [
        ("seed", json!(7)),
        ("repeat_last_n", json!(64)),
        ("logit_bias", json!({ "97": 5 })),
        ("stop", json!("x")),
        ("max_tokens", json!(3)),
    ] {
        send(&mut client, &json!({ "temperature": 0.1, field: value })).await;
        let (_, refused) = gate.step_while(answer(&mut client)).await;
        let error = refused["error"].as_str().unwrap();
        let expected = format!("bad request: `{field}` cannot be changed while an answer runs");
        assert_eq!(error, expected);
    }
    let (_, done) = gate.step_while(answer(&mut client)).await;
    assert_eq!(done["finish_reason"], "length");
}

#[tokio::test]
async fn what_is_said_while_a_model_loads_is_bounded() {
    let server = Setup::default().start().await;
    let mut client = connect(&server).await;
    send(&mut client, &json!({ "prompt": "x", "model": "never" })).await;
    let long = json!({ "temperature": 1, "padding": "x".repeat(20 << 10) });
    for _ in 0..3 {
        send(&mut client, &long).await;
    }
    // Three are kept.
    client.send(Message::Ping(vec![7].into())).await.unwrap();
    let next = tokio::time::timeout(HANG, client.next()).await.unwrap();
    assert!(matches!(next, Some(Ok(Message::Pong(_)))), "{next:?}");
    send(&mut client, &long).await;
    let closed = tokio::time::timeout(HANG, client.next()).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = closed else {
        panic!("{closed:?}")
    };
    assert_eq!(u16::from(frame.code), 1008);
}

#[tokio::test]
async fn an_error_does_not_repeat_a_long_text() {
    let server = Setup::default().start().await;
    let body = json!({ "prompt": "x", "lora": [{ "id": "é".repeat(100_000) }] });
    let mut client = connect(&server).await;
    send(&mut client, &body).await;
    let (_, frame) = answer(&mut client).await;
    assert_eq!(frame["param"], "lora");
    assert!(frame.to_string().len() < 3000, "{frame}");
    let chat = with(chat("x"), body);
    for path in ["/api/generate", "/v1/chat/completions"] {
        let (status, error) = server.post_json(path, &chat).await;
        assert_eq!(status, 400);
        let text = error.to_string();
        assert!(text.contains("lora") && text.contains('…'), "{text}");
        assert!(text.len() < 1500, "{text}");
    }
}

#[tokio::test]
async fn a_keep_alive_of_zero_is_not_taken_at_its_word() {
    let (mut setup, gate) = Setup::gated();
    setup.server.keep_alive = Duration::ZERO;
    let server = setup.start().await;
    let began = Instant::now();
    let body = with(chat("x"), json!({ "stream": true, "max_tokens": 3 }));
    let mut response = server.post("/v1/chat/completions", &body).await;
    let mut seen = String::new();
    while seen.matches(": ping").count() < 5 {
        let chunk = tokio::time::timeout(HANG, response.chunk()).await.unwrap();
        seen.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    assert!(began.elapsed() >= Duration::from_millis(50), "it floods");
    drop(gate);
    let mut client = connect(&server).await;
    send(&mut client, &with(chat("y"), json!({ "max_tokens": 3 }))).await;
    assert_eq!(answer(&mut client).await.1["finish_reason"], "length");
}
