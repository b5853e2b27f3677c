//! Malformed HTTP and the limits on connections and bodies.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{HANG, Setup, TestServer, chat, with};

#[tokio::test]
async fn a_body_over_the_cap_is_413_with_and_without_a_length() {
    let mut setup = Setup::default();
    setup.server.max_body = 1000;
    let server = setup.start().await;
    let big = json!({ "prompt": "x".repeat(2000) });
    assert_eq!(server.post("/api/generate", &big).await.status(), 413);
    assert_eq!(
        server.post("/v1/chat/completions", &big).await.status(),
        413
    );
    // Declared and never sent: the answer must not wait for it.
    let declared =
        "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n";
    assert!(
        server
            .raw(declared.as_bytes())
            .await
            .starts_with("HTTP/1.1 413")
    );
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let chunked = format!(
        "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
    );
    assert!(
        server
            .raw(chunked.as_bytes())
            .await
            .starts_with("HTTP/1.1 413")
    );
}

#[tokio::test]
async fn bodies_share_a_room_beyond_which_large_ones_are_503_and_small_ones_pass() {
    let mut setup = Setup::default();
    setup.server.max_bodies = 1 << 20;
    let server = setup.start().await;
    let head = "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    let send_half = async || {
        let mut half = TcpStream::connect(server.address).await.unwrap();
        half.write_all(head.as_bytes()).await.unwrap();
        half.write_all(&vec![b' '; 900_000]).await.unwrap();
        half
    };
    let large = json!({ "model": "x".repeat(500_000), "max_tokens": 1, "messages": [] });
    let ask = async || server.post_json("/v1/messages", &large).await;
    let mut half = send_half().await;
    let refused = async {
        loop {
            if let (503, error) = ask().await {
                return error;
            }
            // The large one may have had the room when the half wanted it.
            if half.try_read(&mut [0]).is_ok() {
                half = send_half().await;
            }
        }
    };
    // As soon as the half has been read.
    let refused = tokio::time::timeout(HANG, refused).await;
    let error = refused.expect("it is refused");
    assert_eq!(error["type"], "error", "{error}");
    assert_eq!(error["error"]["type"], "overloaded_error", "{error}");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("1048576 bytes"), "{message}");
    let small = json!({ "prompt": "hello" });
    assert_eq!(server.post("/api/generate", &small).await.status(), 200);
    drop(half);
    let passes = async { while ask().await.0 == 503 {} };
    let passes = tokio::time::timeout(HANG, passes).await;
    passes.expect("its room is free again");
}

#[tokio::test]
async fn a_header_over_the_caps_is_431() {
    let server = Setup::default().start().await;
    let big = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X: y\r\n".repeat(10_000)
    );
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "x".repeat(100_000)
    );
    for (request, codes) in [
        (big, &["431"][..]),
        (many, &["431"]),
        (long, &["414", "431"]),
    ] {
        let answer = server.raw(request.as_bytes()).await;
        // A close with unread bytes may reset the connection before the answer is read.
        let fits = codes
            .iter()
            .any(|code| answer.starts_with(&format!("HTTP/1.1 {code}")));
        assert!(fits || answer.is_empty(), "{answer:.60}");
    }
    assert_eq!(server.get("/health").await.status(), 200);
}

#[tokio::test]
async fn malformed_http_is_400_and_closes() {
    let server = Setup::default().start().await;
    let post = "POST /api/generate HTTP/1.1\r\nHost: localhost\r\n";
    for request in [
        "nonsense\r\n\r\n".to_owned(),
        "GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n".to_owned(),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nZZ\r\nx\r\n"),
        format!("{post}Transfer-Encoding: gzip\r\n\r\n"),
        format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
        format!("{post}Content-Length: -1\r\n\r\nx"),
    ] {
        let answer = server.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
    }
}

#[tokio::test]
async fn a_header_ends_at_twice_the_buffer_at_the_latest() {
    let server = Setup::default().start().await;
    let buffer = shimmy_server::ServerConfig::default().connection_buffer;
    let long = "x".repeat(2 * buffer);
    let request = format!("GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n");
    let answer = server.raw(request.as_bytes()).await;
    // See above: the answer may be lost.
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer:.60}"
    );
}

#[tokio::test]
async fn a_head_that_could_be_read_in_two_ways_is_400_and_nothing_behind_it_is_read() {
    let server = Setup::default().start().await;
    let live = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let post = "POST /api/generate HTTP/1.1\r\nHost: localhost\r\n";
    let framed = |fields: &str| format!("{post}{fields}\r\n0\r\n\r\n");
    for request in [
        framed("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        framed("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        framed("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        framed("Transfer-Encoding: chunked, chunked\r\n"),
        framed("Content-Length: 5\r\nContent-Length: 5\r\n"),
        framed("Transfer-Encoding: chunked\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n2\n{{}}\n0\n\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n2;a\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nSum: 1\n\r\n"),
        "GET /health/live HTTP/1.1\nHost: localhost\n\n".to_owned(),
        "GET /health/live HTTP/1.1\r\nHost: localhost\n\r\n".to_owned(),
        "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\n".to_owned(),
    ] {
        let answer = server.raw(format!("{request}{live}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{request:?}");
        let after = server
            .raw(format!("{live}{request}{live}").as_bytes())
            .await;
        assert!(after.starts_with("HTTP/1.1 200"), "{request:?}: {after}");
        assert_eq!(after.matches("HTTP/1.1").count(), 2, "{request:?}");
        assert!(after.contains("HTTP/1.1 400"), "{request:?}: {after}");
    }
}

#[tokio::test]
async fn a_head_that_comes_in_pieces_is_refused_without_waiting_for_its_end() {
    let server = Setup::default().start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /health/live HT").await.unwrap();
    // What was sent has been read when somebody who came later has been answered.
    assert_eq!(server.get("/health").await.status(), 200);
    stream.write_all(b"TP/1.1\nHost: localh").await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(HANG, read).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn a_slow_header_is_cut_off() {
    let mut setup = Setup::default();
    setup.server.header_read_timeout = Duration::from_millis(50);
    let server = setup.start().await;
    let answer = server.raw(b"GET /health HTTP/1.1\r\nHost: loc").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn a_connection_that_stays_idle_is_closed_without_a_word() {
    // A word would be taken for the answer to the next request of a client that keeps connections.
    let mut setup = Setup::default();
    setup.server.idle_timeout = Duration::from_millis(50);
    let server = setup.start().await;
    let request = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for idle in ["", "GET /health/li"] {
        let answer = server.raw(format!("{request}{idle}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_had_an_answer_may_be_idle_for_longer_than_a_header_takes() {
    let mut setup = Setup::default();
    setup.server.header_read_timeout = Duration::from_millis(50);
    let server = setup.start().await;
    let request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..2 {
        kept.write_all(request).await.unwrap();
        let mut start = [0; 12];
        kept.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        // The rest of the answer, which comes in one piece.
        assert!(kept.read(&mut [0; 4096]).await.unwrap() > 0);
        // One that came later and says nothing has been closed: so much time has passed.
        assert_eq!(server.raw(b"GET").await, "");
    }
}

#[tokio::test]
async fn a_slow_body_is_408() {
    let mut setup = Setup::default();
    setup.server.body_read_timeout = Duration::from_millis(50);
    let server = setup.start().await;
    let request = "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
    assert!(
        server
            .raw(request.as_bytes())
            .await
            .starts_with("HTTP/1.1 408")
    );
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let mut setup = Setup::default();
    setup.server.max_connections = 1;
    let server = setup.start().await;
    let first = TcpStream::connect(server.address).await.unwrap();
    let second =
        server.raw(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut second = std::pin::pin!(second);
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200"));
}

const LIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Connects, asks, and reads the answer; the connection stays.
async fn idle(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    ask(&mut stream).await.unwrap();
    stream
}

/// Asks once more; none where the server has closed.
async fn ask(stream: &mut TcpStream) -> Option<()> {
    let _ = stream.write_all(LIVE).await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let read = stream.read_buf(&mut answer);
        match tokio::time::timeout(HANG, read).await.expect("no answer") {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    Some(())
}

#[tokio::test]
async fn the_connection_that_was_idle_longest_gives_way_to_a_new_one() {
    let mut setup = Setup::default();
    setup.server.max_connections = 2;
    let server = setup.start().await;
    let (mut first, mut second) = (idle(&server).await, idle(&server).await);
    ask(&mut first).await.unwrap();
    let mut third = idle(&server).await;
    assert!(ask(&mut second).await.is_none(), "it has been idle longer");
    ask(&mut third).await.unwrap();
    ask(&mut first).await.unwrap();
}

#[tokio::test]
async fn a_connection_at_work_gives_way_to_nobody_until_it_is_idle() {
    let (mut setup, gate) = Setup::gated();
    setup.server.max_connections = 1;
    let server = setup.start().await;
    let body = with(chat("Hi"), json!({ "max_tokens": 8 }));
    let request = server.client.post(server.url("/v1/chat/completions"));
    let works = tokio::spawn(request.json(&body).send());
    gate.step_until(|| server.engine().running == 1).await;
    let mut comes = std::pin::pin!(idle(&server));
    assert!(futures_util::poll!(comes.as_mut()).is_pending());
    let both = async {
        let (answer, _) = tokio::join!(works, comes);
        answer.unwrap().unwrap().text().await.unwrap()
    };
    assert!(gate.step_while(both).await.contains("choices"));
}
