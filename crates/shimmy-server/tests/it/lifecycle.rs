//! Disconnects, full queues, shutdown.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use shimmy_engine::EngineConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Gate, HANG, Setup, TestServer, chat, with};

const CHAT: &str = "/v1/chat/completions";

/// Sends a request over a connection of its own, which the test can drop.
async fn connect(server: &TestServer, path: &str, body: &Value) -> TcpStream {
    connect_as(server, path, body, "application/json").await
}

/// As [`connect`], for a client that wants its answer in another form.
async fn connect_as(server: &TestServer, path: &str, body: &Value, accept: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: {accept}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Steps until the engine is empty, and asserts that this was no answer's natural end.
async fn freed(server: &TestServer, gate: &Gate) {
    let steps = gate.step_until(|| server.engine().occupied == 0).await;
    assert!(steps < 30_000, "the answer ran to its end");
    gate.step_until(|| server.engine().running == 0).await;
}

#[tokio::test]
async fn a_disconnect_frees_the_slot_on_every_route() {
    for (path, fields) in [
        (CHAT, json!({})),
        (CHAT, json!({ "stream": true })),
        (CHAT, json!({ "stream": true, "n": 3 })),
        ("/api/generate", json!({})),
        ("/api/generate", json!({ "stream": true })),
    ] {
        let (setup, gate) = Setup::gated();
        let server = setup.start().await;
        let stream = connect(&server, path, &with(chat("x"), fields)).await;
        gate.step_until(|| server.engine().running > 0).await;
        drop(stream);
        freed(&server, &gate).await;
    }
}

#[tokio::test]
async fn a_disconnect_frees_the_slot_of_lines_too() {
    for stream in [true, false] {
        let (setup, gate) = Setup::gated();
        let server = setup.start().await;
        let body = json!({ "model": "stub", "prompt": "x", "stream": stream });
        let stream = connect_as(&server, "/api/generate", &body, "application/x-ndjson").await;
        gate.step_until(|| server.engine().running > 0).await;
        drop(stream);
        freed(&server, &gate).await;
    }
}

#[tokio::test]
async fn a_disconnect_in_the_queue_frees_the_place() {
    let (mut setup, gate) = Setup::gated();
    setup.stub.sequences = 1;
    let server = setup.start().await;
    let first = connect(&server, CHAT, &chat("x")).await;
    gate.step_until(|| server.engine().running == 1).await;
    let second = connect(&server, CHAT, &chat("y")).await;
    gate.step_until(|| server.engine().occupied == 2).await;
    drop(second);
    gate.step_until(|| server.engine().occupied == 1).await;
    drop(first);
    freed(&server, &gate).await;
}

#[tokio::test]
async fn headers_come_before_anything_is_computed() {
    let (setup, _gate) = Setup::gated();
    let server = setup.start().await;
    // The gate stays shut: no step has been taken when the answer begins.
    let response = tokio::time::timeout(
        HANG,
        server.post(CHAT, &with(chat("x"), json!({ "stream": true }))),
    )
    .await
    .unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.bytes_stream();
    let first = body.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"data: {"), "{first:?}");
}

#[tokio::test]
async fn an_idle_stream_is_kept_alive() {
    for (path, sign) in [(CHAT, ": ping\n\n"), ("/api/generate", ": ping\n\n")] {
        let (mut setup, _gate) = Setup::gated();
        setup.server.keep_alive = Duration::from_millis(10);
        let server = setup.start().await;
        let response = server
            .post(path, &with(chat("x"), json!({ "stream": true })))
            .await;
        let mut body = response.bytes_stream();
        let mut seen = String::new();
        while seen.matches(sign).count() < 2 {
            let chunk = tokio::time::timeout(HANG, body.next()).await.unwrap();
            seen.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_full_queue_is_429_at_once() {
    let (mut setup, gate) = Setup::gated();
    setup.stub.sequences = 1;
    setup.engine = EngineConfig {
        queue: 1,
        ..EngineConfig::default()
    };
    let server = setup.start().await;
    let _running = connect(&server, CHAT, &chat("x")).await;
    let _waiting = connect(&server, CHAT, &chat("y")).await;
    gate.step_until(|| server.engine().occupied == 2).await;
    for (path, body) in [
        (CHAT, chat("z")),
        (CHAT, with(chat("z"), json!({ "stream": true }))),
        ("/api/generate", chat("z")),
    ] {
        let response = server.post(path, &body).await;
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
        let error: Value = response.json().await.unwrap();
        assert!(error.to_string().contains("queue is full"), "{error}");
    }
}

#[tokio::test]
async fn a_running_answer_survives_the_shutdown() {
    let (setup, gate) = Setup::gated();
    let mut server = setup.start().await;
    let body = with(chat("x"), json!({ "max_tokens": 40 }));
    let request = server.client.post(server.url(CHAT)).json(&body).send();
    let mut request = std::pin::pin!(request);
    tokio::select! {
        _ = &mut request => panic!("answered before it was allowed to"),
        _ = gate.step_until(|| server.engine().running == 1) => {}
    }
    server.shut_down();
    // A new connection still learns that this server takes no more work.
    let ready = server.raw(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut ready = tokio::time::timeout(HANG, ready).await.unwrap();
    while ready.contains("200 OK") {
        ready = server
            .raw(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await;
    }
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let refused = connect(&server, CHAT, &chat("late")).await;
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut { refused }, &mut answer)
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");

    let answer: Value = gate
        .step_while(request)
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    server.ended().await;
}

#[tokio::test]
async fn a_forced_shutdown_ends_streams_with_an_error() {
    let (setup, gate) = Setup::gated();
    let mut server = setup.start().await;
    let stream = server
        .post(CHAT, &with(chat("x"), json!({ "stream": true })))
        .await;
    let whole = server
        .client
        .post(server.url("/api/generate"))
        .json(&chat("y"));
    let whole = tokio::spawn(whole.send());
    gate.step_until(|| server.engine().running == 2).await;
    server.shut_down();
    server.force();
    let text = stream.text().await.unwrap();
    assert!(text.contains("the server is shutting down"), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
    assert_eq!(whole.await.unwrap().unwrap().status(), 503);
    server.ended().await;
    freed(&server, &gate).await;
}

#[tokio::test]
async fn a_body_that_never_comes_in_full_does_not_hold_up_the_end() {
    let mut setup = Setup::default();
    // Longer than anybody here waits, as are the limits of the body itself.
    setup.server.drain_timeout = 10 * HANG;
    setup.server.body_read_timeout = 10 * HANG;
    let mut server = setup.start().await;
    let mut halves = Vec::new();
    for path in [CHAT, "/v1/embeddings"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // Said when the handler asks for the body.
        let mut goes_on = [0; 25];
        stream.read_exact(&mut goes_on).await.unwrap();
        assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"{ \"model\":").await.unwrap();
        halves.push(stream);
    }
    server.shut_down();
    server.ended().await;
    for mut stream in halves {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("shutting down"), "{answer}");
    }
}

#[tokio::test]
async fn an_idle_server_stops_at_once() {
    let mut server = Setup::default().start().await;
    // A pooled connection that stays open must not hold it up.
    assert_eq!(server.get("/health").await.status(), 200);
    let _silent = TcpStream::connect(server.address).await.unwrap();
    server.shut_down();
    server.ended().await;
}
