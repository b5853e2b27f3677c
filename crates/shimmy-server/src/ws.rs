//! The life of a WebSocket: the upgrade, sizes, signs of life, the end.
//!
//! A dialect sees [`Socket::receive`] and [`Socket::send`] and none of the protocol's own frames.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::request::Parts;
use axum::response::Response;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::bodies::{Unread, Whole};
use crate::config::ServerConfig;
use crate::error::{ApiError, ErrorKind};
use crate::state::AppState;

/// Bytes of a client's ping or pong before its word.
const CONTROL_HEAD: usize = 6;

/// A request for a WebSocket, or for something else at the address of one.
#[derive(Debug)]
pub(crate) struct Wanted {
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    unread: Arc<Unread>,
}

impl FromRequestParts<Arc<AppState>> for Wanted {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<AppState>,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self {
            unread: parts.extensions.get().cloned().unwrap_or_default(),
            upgrade: WebSocketUpgrade::from_request_parts(parts, state).await,
        })
    }
}

/// Takes the connection over and lets `serve` have it until either side closes it.
pub(crate) fn upgrade<S, F>(
    state: Arc<AppState>,
    wanted: Wanted,
    serve: S,
) -> Result<Response, ApiError>
where
    S: FnOnce(Socket, Arc<AppState>) -> F + Send + 'static,
    F: Future<Output = Result<Infallible, Closed>> + Send,
{
    let Wanted { upgrade, unread } = wanted;
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
    unread.begin(&state.bodies);
    Ok(
        limited(upgrade, &state.config).on_upgrade(|socket| async move {
            let (_place, _task) = (place, task);
            let socket = Socket::new(socket, unread, &state.config);
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
    unread: Arc<Unread>,
    ping: Interval,
    idle_timeout: Duration,
    heard: Instant,
}

/// Whether it was given up for want of room.
fn is_no_room(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::QuotaExceeded) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The connection is over, for whatever reason; nothing can be said any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

impl Socket {
    /// Takes over an upgraded connection.
    fn new(socket: WebSocket, unread: Arc<Unread>, config: &ServerConfig) -> Self {
        let mut ping = interval_at(Instant::now() + config.keep_alive(), config.keep_alive());
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let idle_timeout = config.websocket_idle_timeout;
        Self {
            socket,
            unread,
            ping,
            idle_timeout,
            heard: Instant::now(),
        }
    }

    /// The next text or binary message. Cancel-safe. Answers pings, sends its own, and gives up
    /// on a client from which nothing is heard.
    pub(crate) async fn receive(&mut self) -> Result<Whole, Closed> {
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
                Some(Ok(Message::Text(text))) => return self.whole(text.into()),
                Some(Ok(Message::Binary(bytes))) => return self.whole(bytes),
                // They may come between two parts of a message.
                Some(Ok(Message::Ping(word) | Message::Pong(word))) => {
                    self.unread.shrink(CONTROL_HEAD + word.len());
                }
                Some(Ok(Message::Close(_))) | None => return Err(Closed),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a websocket cannot be read");
                    if is_no_room(&error) {
                        let reason = "the messages of others take the room of all";
                        return Err(self.close(close_code::AGAIN, reason).await);
                    }
                    // The only protocol error that a well-meaning client can make.
                    return Err(self.close(close_code::SIZE, "the message is too big").await);
                }
            }
        }
    }

    /// A message with its room.
    fn whole(&self, bytes: Bytes) -> Result<Whole, Closed> {
        let held = self.unread.take().ok_or(Closed)?;
        Ok(Whole { bytes, held })
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
