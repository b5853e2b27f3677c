//! `/ws/generate`.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{HANG, Setup, TestServer, chat, with};

pub(crate) type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn connect(server: &TestServer) -> Client {
    connect_async(format!("ws://{}/ws/generate", server.address))
        .await
        .unwrap()
        .0
}

pub(crate) async fn send(client: &mut Client, body: &Value) {
    client.send(Message::text(body.to_string())).await.unwrap();
}

/// The next text frame; pings and pongs are the library's business.
async fn frame(client: &mut Client) -> String {
    loop {
        match tokio::time::timeout(HANG, client.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The text of an answer and its last frame.
pub(crate) async fn answer(client: &mut Client) -> (String, Value) {
    let mut text = String::new();
    loop {
        let frame = frame(client).await;
        match serde_json::from_str::<Value>(&frame) {
            Ok(value) if value["done"] == true || value.get("error").is_some() => {
                return (text, value);
            }
            _ => text.push_str(&frame),
        }
    }
}

#[tokio::test]
async fn tokens_then_done_then_the_next_request() {
    let server = Setup::default().start().await;
    let mut client = connect(&server).await;
    for prompt in ["first", "second é"] {
        send(&mut client, &json!({ "prompt": prompt })).await;
        let (text, done) = answer(&mut client).await;
        assert_eq!(text, prompt);
        assert_eq!(done["finish_reason"], "stop");
        let completion = done["usage"]["completion_tokens"].as_u64().unwrap();
        assert_eq!(completion as usize, prompt.len() + 1);
    }
}

#[tokio::test]
async fn a_binary_frame_is_a_request_too() {
    let server = Setup::default().start().await;
    let mut client = connect(&server).await;
    let body = json!({ "prompt": "bytes" }).to_string();
    client
        .send(Message::binary(body.into_bytes()))
        .await
        .unwrap();
    assert_eq!(answer(&mut client).await.0, "bytes");
}

#[tokio::test]
async fn json_frames_hold_the_text() {
    let server = Setup::saying("{\"done\":true}").start().await;
    let mut client = connect(&server).await;
    send(
        &mut client,
        &json!({ "prompt": "x", "stream_format": "json" }),
    )
    .await;
    let mut text = String::new();
    let done = loop {
        let value: Value = serde_json::from_str(&frame(&mut client).await).unwrap();
        match value.get("text") {
            Some(more) => text.push_str(more.as_str().unwrap()),
            None => break value,
        }
    };
    assert_eq!(
        (text.as_str(), &done["done"]),
        ("{\"done\":true}", &json!(true))
    );
}

#[tokio::test]
async fn stop_ends_the_answer_and_not_the_connection() {
    let (setup, gate) = Setup::gated();
    let server = setup.start().await;
    let mut client = connect(&server).await;
    send(&mut client, &chat("x")).await;
    gate.step_until(|| server.engine().running == 1).await;
    send(&mut client, &json!({ "stop": true })).await;
    let (_, done) = gate.step_while(answer(&mut client)).await;
    assert_eq!(done["finish_reason"], "cancelled");
    // One that comes too late changes nothing.
    send(&mut client, &json!({ "stop": true })).await;
    send(&mut client, &with(chat("y"), json!({ "max_tokens": 3 }))).await;
    let (text, done) = gate.step_while(answer(&mut client)).await;
    assert_eq!((text.len(), &done["finish_reason"]), (3, &json!("length")));
}

#[tokio::test]
async fn sampling_changes_while_it_runs() {
    let (setup, gate) = Setup::gated();
    let server = setup.start().await;
    let mut client = connect(&server).await;
    send(&mut client, &with(chat("x"), json!({ "max_tokens": 200 }))).await;
    gate.step_until(|| server.engine().running == 1).await;
    send(&mut client, &json!({ "temperature": 0.5, "top_k": 3 })).await;
    send(&mut client, &json!({ "temperature": -4 })).await;
    let (_, refused) = gate.step_while(answer(&mut client)).await;
    let error = refused["error"].as_str().unwrap();
    assert!(error.starts_with("bad request: `temperature`"), "{error}");
    send(&mut client, &json!({ "prompt": "impatient" })).await;
    let (_, refused) = gate.step_while(answer(&mut client)).await;
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("an answer is running"),
        "{refused}"
    );
    let (_, done) = gate.step_while(answer(&mut client)).await;
    assert_eq!(done["finish_reason"], "length");
}

#[tokio::test]
async fn errors_are_frames() {
    let server = Setup::default().start().await;
    let mut client = connect(&server).await;
    for (body, error, status) in [
        (
            json!({ "prompt": "x", "model": "nobody" }),
            "model not found",
            404,
        ),
        (
            json!({ "prompt": "x", "model": "broken" }),
            "load failed",
            502,
        ),
        (
            json!({ "prompt": "x", "max_tokens": -1 }),
            "bad request: `max_tokens`",
            400,
        ),
        (json!({}), "bad request: `prompt`", 400),
        (json!("x"), "bad request", 400),
    ] {
        send(&mut client, &body).await;
        let (_, frame) = answer(&mut client).await;
        assert!(
            frame["error"].as_str().unwrap().starts_with(error),
            "{frame}"
        );
        assert_eq!(frame["status"], status);
    }
    client.send(Message::text("not json")).await.unwrap();
    let (_, frame) = answer(&mut client).await;
    assert!(
        frame["error"].as_str().unwrap().starts_with("bad request"),
        "{frame}"
    );
    send(&mut client, &json!({ "prompt": "still here" })).await;
    assert_eq!(answer(&mut client).await.0, "still here");
}

#[tokio::test]
async fn an_engine_failure_is_a_frame() {
    let mut setup = Setup::saying("never finished");
    setup.stub.fail_from_step = Some(4);
    let server = setup.start().await;
    let mut client = connect(&server).await;
    send(&mut client, &chat("x")).await;
    let (_, frame) = answer(&mut client).await;
    assert!(
        frame["error"].as_str().unwrap().contains("told to fail"),
        "{frame}"
    );
}

#[tokio::test]
async fn a_disconnect_cancels_at_once() {
    let (setup, gate) = Setup::gated();
    let server = setup.start().await;
    let mut client = connect(&server).await;
    send(&mut client, &chat("x")).await;
    gate.step_until(|| server.engine().running == 1).await;
    drop(client);
    let steps = gate.step_until(|| server.engine().occupied == 0).await;
    assert!(steps < 30_000, "the answer ran to its end");
}

#[tokio::test]
async fn a_message_over_the_cap_closes_with_1009() {
    let mut setup = Setup::default();
    setup.server.max_body = 1000;
    let server = setup.start().await;
    let mut client = connect(&server).await;
    client.send(Message::text("x".repeat(5000))).await.unwrap();
    let closed = tokio::time::timeout(HANG, client.next()).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = closed else {
        panic!("{closed:?}")
    };
    assert_eq!(u16::from(frame.code), 1009);
}

#[tokio::test]
async fn websockets_over_the_limit_are_refused_until_one_is_closed() {
    let mut setup = Setup::default();
    setup.server.max_websockets = 1;
    let server = setup.start().await;
    let mut first = connect(&server).await;
    let url = format!("ws://{}/ws/generate", server.address);
    let refused = connect_async(&url).await.unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
    first.close(None).await.unwrap();
    let freed = async { while connect_async(&url).await.is_err() {} };
    tokio::time::timeout(HANG, freed).await.unwrap();
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_then_closed() {
    let mut setup = Setup::default();
    setup.server.keep_alive = Duration::from_millis(10);
    setup.server.websocket_idle_timeout = Duration::from_millis(30);
    let server = setup.start().await;
    // Raw, because a WebSocket library answers pings by itself.
    let handshake = "GET /ws/generate HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = server.raw(handshake.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("nothing heard for too long"), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_is_told_of_the_shutdown() {
    let mut server = Setup::default().start().await;
    let mut client = connect(&server).await;
    send(&mut client, &json!({ "prompt": "x" })).await;
    answer(&mut client).await;
    server.shut_down();
    let closed = tokio::time::timeout(HANG, client.next()).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = closed else {
        panic!("{closed:?}")
    };
    assert_eq!(u16::from(frame.code), 1001);
    server.ended().await;
}

#[tokio::test]
async fn messages_have_their_room_among_the_bodies_of_all() {
    let mut setup = Setup::default();
    setup.server.max_bodies = 1 << 20;
    let server = setup.start().await;
    // The first part of a message, with a ping behind it.
    let part = |bytes: u32| {
        let head = [&[0x01, 0xFF][..], &u64::from(bytes).to_be_bytes(), &[0; 4]].concat();
        [
            head,
            vec![b' '; bytes as usize],
            vec![0x89, 0x80, 0, 0, 0, 0],
        ]
        .concat()
    };
    let large = json!({ "model": "x".repeat(500_000), "prompt": "hi" });
    let mut half = raw(&server).await;
    half.write_all(&part(900_000)).await.unwrap();
    // All of it has been read.
    half.read_exact(&mut [0; 2]).await.unwrap();
    let mut client = connect(&server).await;
    send(&mut client, &large).await;
    let close = loop {
        match client.next().await.unwrap().unwrap() {
            Message::Close(close) => break close.unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 1013, "{close}");
    let (status, error) = server.post_json("/api/generate", &large).await;
    assert_eq!(status, 503, "{error}");

    drop(half);
    let again = async {
        while server.post_json("/api/generate", &large).await.0 == 503 {}
        let mut client = connect(&server).await;
        // What has been answered takes no room.
        for _ in 0..5 {
            send(&mut client, &large).await;
            let frame = frame(&mut client).await;
            assert!(frame.contains("longer than 512 bytes"), "{frame}");
        }
    };
    tokio::time::timeout(HANG, again).await.unwrap();
}

#[tokio::test]
async fn frames_are_not_read_as_heads_of_requests() {
    let server = Setup::default().start().await;
    let mut stream = raw(&server).await;
    // A ping of two line feeds, masked with zeros.
    let ping = [0x89, 0x82, 0, 0, 0, 0, b'\n', b'\n'];
    stream.write_all(&ping).await.unwrap();
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [0x8A, 2, b'\n', b'\n']);
}

#[tokio::test]
async fn signs_of_life_take_no_room() {
    let mut setup = Setup::default();
    setup.server.max_bodies = 1000;
    let server = setup.start().await;
    let mut stream = raw(&server).await;
    let ping = [&[0x89, 0xFD, 0, 0, 0, 0][..], &[b'.'; 125]].concat();
    let mut pongs = vec![0; 100 * 127];
    for _ in 0..20 {
        stream.write_all(&ping.repeat(100)).await.unwrap();
        let read = stream.read_exact(&mut pongs);
        let read = tokio::time::timeout(HANG, read).await.unwrap();
        assert!(read.is_ok(), "{read:?}");
    }
}

/// A WebSocket whose frames are written by hand.
async fn raw(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let upgrade = "GET /ws/generate HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}
