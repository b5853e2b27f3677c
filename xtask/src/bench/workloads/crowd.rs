//! One client among many that say nothing: connections kept open between requests, and WebSockets.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Figure, Spec, Target, lower, milliseconds};
use crate::bench::client::Ask;
use crate::bench::server::Server;
use crate::bench::side::NotSupported;
use crate::bench::stage::Stage;
use crate::bench::stats::percentile;

const KEPT_OPEN: usize = 1000;
const WEBSOCKETS: usize = 200;
/// Few enough that a server which keeps idle connections for a minute has closed none before the end.
const QUESTIONS: u64 = 40;
const ANSWER_TOKENS: u32 = 1;

pub(super) const SPEC: Spec = Spec {
    name: "crowd",
    about: "40 short questions one after the other, alone and then beside 1,000 idle connections \
            that had one answer each and 200 idle WebSockets. Warm-up: the same questions in other \
            words.",
    figures: &[
        Figure {
            target: Some(Target::AtMost(1.2)),
            ..lower("first token, p99, of that alone", "×")
        },
        Figure {
            target: Some(Target::AtMost(64.0)),
            ..lower("memory of an idle connection", "KiB")
        },
    ],
};

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<f64>> {
    let server = stage.ready().await?;
    slowest_first(stage, &server, 0).await?;
    let alone = slowest_first(stage, &server, 1).await?;
    let before = server.usage()?.anonymous_bytes;
    let address = server.client.address;
    let mut crowd = Vec::with_capacity(KEPT_OPEN + WEBSOCKETS);
    for _ in 0..WEBSOCKETS {
        crowd.push(websocket(address).await?);
    }
    for _ in 0..KEPT_OPEN {
        crowd.push(kept_open(address).await?);
    }
    let grown = server.usage()?.anonymous_bytes.saturating_sub(before);
    let beside = slowest_first(stage, &server, 2).await?;
    let closed = crowd
        .iter()
        .filter(|connection| is_closed(connection))
        .count();
    let all = crowd.len();
    drop(crowd);
    stage.finish(server).await?;
    if closed > 0 {
        let reason = format!("it closed {closed} of {all} idle connections before the end");
        return Err(NotSupported(reason).into());
    }
    let each = grown as f64 / (KEPT_OPEN + WEBSOCKETS) as f64;
    Ok(vec![beside / alone, each / 1024.0])
}

/// The 99th percentile of the times to the first token, in milliseconds.
async fn slowest_first(stage: &mut Stage<'_>, server: &Server, part: u64) -> Result<f64> {
    let mut times = Vec::new();
    for question in 0..QUESTIONS {
        let text = stage.words(part * QUESTIONS + question).text(4);
        let answer = stage.chat(server, &Ask::user(text, ANSWER_TOKENS)).await?;
        times.push(milliseconds(answer.time_to_first()?));
    }
    percentile(&times, 99.0).context("no answers")
}

/// Whether the server has closed a connection over which nothing more is expected.
fn is_closed(connection: &TcpStream) -> bool {
    let read = connection.try_read(&mut [0]);
    !read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// A connection that has had an answer and may have another.
async fn kept_open(address: SocketAddr) -> Result<TcpStream> {
    let (stream, head) = opened(address, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    ensure!(head.contains(" 200 "), "an idle connection got {head:?}");
    Ok(stream)
}

async fn websocket(address: SocketAddr) -> Result<TcpStream> {
    // RFC 6455, section 1.2; the key is the one of its example, for nothing is said over it.
    let request = "GET /ws/generate HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let (stream, head) = opened(address, request).await?;
    if !head.contains(" 101 ") {
        return Err(NotSupported("it speaks no WebSockets".to_owned()).into());
    }
    Ok(stream)
}

/// A connection with its first request sent, and the beginning of what came back. The answers here
/// are short enough to come in one piece.
async fn opened(address: SocketAddr, request: &str) -> Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut head = vec![0; 4096];
    let length = stream.read(&mut head).await?;
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    Ok((stream, head))
}
