//! The life of a WebSocket: the upgrade, sizes, signs of life, the end.
//!
//! A dialect sees [`Socket::receive`] and [`Socket::send`] and none of the protocol's own frames.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::config::ServerConfig;
use crate::error::{ApiError, ErrorKind};
use crate::state::AppState;

/// Takes the connection over and lets `serve` have it until either side closes it.
pub(crate) fn upgrade<S, F>(
    state: Arc<AppState>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    serve: S,
) -> Result<Response, ApiError>
where
    S: FnOnce(Socket, Arc<AppState>) -> F + Send + 'static,
    F: Future<Output = Result<Infallible, Closed>> + Send,
{
    let upgrade = upgrade.map_err(|rejection| {
        ApiError::new(
            ErrorKind::BadRequest,
            format!("a WebSocket is needed: {rejection}"),
        )
    })?;
    // The upgraded connection is no longer the accept loop's: it needs a place of its own, and
    // draining has to know of it.
    let place = Arc::clone(&state.websockets)
        .try_acquire_owned()
        .map_err(|_| ApiError::new(ErrorKind::Busy, "as many WebSockets are open as may be"))?;
    let task = state.tasks.token();
    Ok(
        limited(upgrade, &state.config).on_upgrade(|socket| async move {
            let (_place, _task) = (place, task);
            let socket = Socket::new(socket, &state.config);
            // Whoever closed, the connection ends by dropping it, and with it what still runs.
            let Err(Closed) = serve(socket, state).await;
        }),
    )
}

/// The upgrade with the server's limits on it. A frame or a message over them ends the connection
/// with code 1009.
fn limited(upgrade: WebSocketUpgrade, config: &ServerConfig) -> WebSocketUpgrade {
    upgrade
        .max_frame_size(config.max_body)
        .max_message_size(config.max_body)
        // Frames go out as they are made; what cannot be written waits here, up to this much.
        .max_write_buffer_size(config.connection_buffer.max(256 << 10))
}

/// A connected client.
pub(crate) struct Socket {
    socket: WebSocket,
    ping: Interval,
    idle_timeout: Duration,
    heard: Instant,
}

/// The connection is over, for whatever reason; nothing can be said any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

impl Socket {
    /// Takes over an upgraded connection.
    fn new(socket: WebSocket, config: &ServerConfig) -> Self {
        let mut ping = interval_at(Instant::now() + config.keep_alive(), config.keep_alive());
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let idle_timeout = config.websocket_idle_timeout;
        Self {
            socket,
            ping,
            idle_timeout,
            heard: Instant::now(),
        }
    }

    /// The next text or binary message. Cancel-safe. Answers pings, sends its own, and gives up
    /// on a client from which nothing is heard.
    pub(crate) async fn receive(&mut self) -> Result<Bytes, Closed> {
        loop {
            let message = tokio::select! {
                message = self.socket.recv() => message,
                _ = self.ping.tick() => {
                    if self.heard.elapsed() >= self.idle_timeout {
                        return Err(self.close(close_code::POLICY, "nothing heard for too long").await);
                    }
                    self.write(Message::Ping(Bytes::new())).await?;
                    continue;
                }
            };
            self.heard = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => return Ok(text.into()),
                Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Err(Closed),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a websocket client broke the protocol");
                    // The only protocol error that a well-meaning client can make.
                    return Err(self.close(close_code::SIZE, "the message is too big").await);
                }
            }
        }
    }

    /// Sends a text message; waits while the client does not take it.
    pub(crate) async fn send(&mut self, text: String) -> Result<(), Closed> {
        self.write(Message::Text(text.into())).await
    }

    /// Says why and ends the connection.
    pub(crate) async fn close(&mut self, code: u16, reason: &'static str) -> Closed {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        // A client that is gone needs no reason.
        let _ = self.write(Message::Close(Some(frame))).await;
        Closed
    }

    async fn write(&mut self, message: Message) -> Result<(), Closed> {
        self.socket.send(message).await.map_err(|_| Closed)
    }
}
