//! `GET /ws/generate`: one request after the other over one connection, steered as they run.
//!
//! Client: the JSON body of `/api/generate`, then control frames. Server: tokens, then
//! `{"done":true,…}`. An error is a frame, not the end of the connection.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocketUpgrade, close_code};
use axum::response::Response;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use shimmy_engine::SamplingPatch;

use super::types::{Done, GenerateBody, Started, StreamFormat};
use crate::answer::{self, Answers, Progress};
use crate::error::{ApiError, ErrorKind};
use crate::limits::JsonBody;
use crate::state::AppState;
use crate::ws::{Closed, Socket, limited};

/// Control frames that are kept while a model loads.
const EARLY_CONTROLS: usize = 16;

/// The handler.
pub(crate) async fn generate(
    State(state): State<Arc<AppState>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
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
            let Err(Closed) = Connection { socket, state }.serve().await;
        }),
    )
}

/// What a client says while an answer runs.
#[derive(Debug, Deserialize)]
struct Control {
    stop: Option<bool>,
    prompt: Option<serde::de::IgnoredAny>,
    messages: Option<serde::de::IgnoredAny>,
}

struct Connection {
    socket: Socket,
    state: Arc<AppState>,
}

impl Connection {
    /// Answers requests until the connection is closed.
    async fn serve(mut self) -> Result<std::convert::Infallible, Closed> {
        loop {
            let draining = self.state.draining.clone();
            let bytes = tokio::select! {
                bytes = self.socket.receive() => bytes?,
                () = draining.cancelled() => {
                    return Err(self.socket.close(close_code::AWAY, "the server is shutting down").await);
                }
            };
            let outcome = match self.read(bytes) {
                // "stop" that crossed the last word of the answer it was meant for.
                Ok(None) => Ok(()),
                Ok(Some(body)) => self.answer(body).await?,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.send_error(&error).await?;
            }
        }
    }

    fn read(&self, bytes: Bytes) -> Result<Option<GenerateBody>, ApiError> {
        let body = JsonBody::check(bytes, &self.state.config)?;
        let control: Control = body.read()?;
        if control.stop == Some(true) && control.prompt.is_none() && control.messages.is_none() {
            return Ok(None);
        }
        GenerateBody::read(&body).map(Some)
    }

    /// One answer. The outer error ends the connection, the inner one only the answer.
    async fn answer(&mut self, body: GenerateBody) -> Result<Result<(), ApiError>, Closed> {
        let state = Arc::clone(&self.state);
        let mut start: BoxFuture<'_, _> = Box::pin(answer::start(&state, body.ask));
        // What is said before the answer has begun applies as soon as it has.
        let mut early = Vec::new();
        let mut answers = loop {
            tokio::select! {
                started = &mut start => match started {
                    Ok(answers) => break answers,
                    Err(error) => return Ok(Err(error)),
                },
                bytes = self.socket.receive() => {
                    early.push(bytes?);
                    if early.len() > EARLY_CONTROLS {
                        let reason = "too many frames before the answer";
                        return Err(self.socket.close(close_code::POLICY, reason).await);
                    }
                }
            }
        };
        for bytes in early {
            self.control(&answers, bytes).await?;
        }
        loop {
            tokio::select! {
                progress = answers.next() => match progress {
                    Some(Progress::Text { text, .. }) => self.send_text(body.format, text).await?,
                    Some(Progress::Finished { finish, .. }) => {
                        let done = Done::new(&Started::of(&answers), &finish);
                        self.socket.send(json!(done).to_string()).await?;
                        return Ok(Ok(()));
                    }
                    Some(Progress::Failed(error)) => return Ok(Err(error)),
                    None => return Ok(Ok(())),
                },
                bytes = self.socket.receive() => self.control(&answers, bytes?).await?,
            }
        }
    }

    /// Applies a control frame; what is wrong with it is said and changes nothing.
    async fn control(&mut self, answers: &Answers, bytes: Bytes) -> Result<(), Closed> {
        match steer(answers, bytes, &self.state) {
            Ok(()) => Ok(()),
            Err(error) => self.send_error(&error).await,
        }
    }

    async fn send_text(&mut self, format: StreamFormat, text: String) -> Result<(), Closed> {
        let frame = match format {
            StreamFormat::Raw => text,
            StreamFormat::Json => json!({ "text": text }).to_string(),
        };
        self.socket.send(frame).await
    }

    /// The short words that clients of this route know, with the details beside them.
    async fn send_error(&mut self, error: &ApiError) -> Result<(), Closed> {
        let text = match error.kind {
            ErrorKind::ModelNotFound => "model not found".to_owned(),
            ErrorKind::LoadFailed => "load failed".to_owned(),
            kind if kind.status().is_client_error() && kind != ErrorKind::QueueFull => {
                format!("bad request: {}", error.message)
            }
            _ => error.message.clone(),
        };
        let mut frame = super::error::body(error);
        frame["error"] = json!(text);
        frame["message"] = json!(error.message);
        frame["status"] = json!(error.kind.status().as_u16());
        self.socket.send(frame.to_string()).await
    }
}

fn steer(answers: &Answers, bytes: Bytes, state: &AppState) -> Result<(), ApiError> {
    let body = JsonBody::check(bytes, &state.config)?;
    let control: Control = body.read()?;
    if control.prompt.is_some() || control.messages.is_some() {
        let message = "an answer is running; the next request may come after its `done`";
        return Err(ApiError::new(ErrorKind::BadRequest, message));
    }
    let patch: SamplingPatch = body.read()?;
    if patch != SamplingPatch::default() {
        answers.update(&answer::checked_patch(&answers.model, patch)?);
    }
    if control.stop == Some(true) {
        answers.stop();
    }
    Ok(())
}
