//! `GET /ws/generate`: one request after the other over one connection, steered as they run.
//!
//! Client: the JSON body of `/api/generate`, then control frames. Server: tokens, then
//! `{"done":true,…}`. An error is a frame, not the end of the connection.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::close_code;
use axum::response::Response;
use futures_util::future::BoxFuture;
use serde_json::json;
use shimmy_chat::Delta;

use super::control::Control;
use super::error::ErrorBody;
use super::types::{Done, GenerateBody, Started, StreamFormat};
use crate::answer::{self, Answers, Progress};
use crate::bodies::Whole;
use crate::caller::Caller;
use crate::error::{ApiError, ErrorKind};
use crate::failures::Guarded;
use crate::limits::JsonBody;
use crate::state::AppState;
use crate::ws::{self, Closed, Socket, Wanted};

/// Control frames that are kept while a model loads.
const EARLY_CONTROLS: usize = 16;

/// Bytes of these frames in all.
const EARLY_BYTES: usize = 64 << 10;

/// Ask over a WebSocket
///
/// The client sends the JSON body of `POST /api/generate`; the server sends tokens as text messages
/// (with `stream_format: "json"` as `{"text"}`) and then `{"done":true,…}`. After it the connection
/// takes the next request. While an answer runs, `{"stop":true}` ends it and sampling fields such
/// as `{"temperature":0.2}` apply from the next token. An error is a message too: `{"error",…}`.
#[utoipa::path(
    get, path = "/ws/generate", tag = "Generate", operation_id = "generateOverWebSocket",
    responses(
        (status = 101, description = "The connection is a WebSocket now."),
        (status = 400, description = "A WebSocket's handshake is needed.", body = ErrorBody),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn generate(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    wanted: Wanted,
) -> Result<Response, ApiError> {
    ws::upgrade(state, wanted, move |socket, state| {
        Connection::new(socket, state, caller).serve()
    })
}

struct Connection {
    socket: Socket,
    state: Arc<AppState>,
    caller: Caller,
    /// Whether a request has come: only then can a control be late.
    asked: bool,
}

impl Connection {
    fn new(socket: Socket, state: Arc<AppState>, caller: Caller) -> Self {
        Self {
            socket,
            state,
            caller,
            asked: false,
        }
    }

    /// Answers requests until the connection is closed.
    async fn serve(mut self) -> Result<std::convert::Infallible, Closed> {
        loop {
            let draining = self.state.draining.clone();
            let message = tokio::select! {
                message = self.socket.receive() => message?,
                () = draining.cancelled() => {
                    return Err(self.socket.close(close_code::AWAY, "the server is shutting down").await);
                }
            };
            let outcome = match self.read(message) {
                // A control that crossed the last word of the answer it was meant for.
                Ok(None) => Ok(()),
                Ok(Some(body)) => self.answer(body).await?,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.send_error(&error).await?;
            }
        }
    }

    fn read(&mut self, message: Whole) -> Result<Option<GenerateBody>, ApiError> {
        let body = JsonBody::check(message, self.caller, &self.state.config)?;
        if Control::read(&body)?.is_late(self.asked) {
            return Ok(None);
        }
        self.asked = true;
        GenerateBody::read(&body).map(Some)
    }

    /// One answer. The outer error ends the connection, the inner one only the answer.
    async fn answer(&mut self, body: GenerateBody) -> Result<Result<(), ApiError>, Closed> {
        let state = Arc::clone(&self.state);
        let mut start: BoxFuture<'_, _> = Box::pin(answer::start(&state, body.ask));
        // What is said before the answer has begun applies as soon as it has.
        let mut early: Vec<Whole> = Vec::new();
        let mut answers = loop {
            tokio::select! {
                started = &mut start => match started {
                    Ok(answers) => break answers,
                    Err(error) => return Ok(Err(error)),
                },
                message = self.socket.receive() => {
                    early.push(message?);
                    let bytes: usize = early.iter().map(|message| message.bytes.len()).sum();
                    if early.len() > EARLY_CONTROLS || bytes > EARLY_BYTES {
                        let reason = "too much said before the answer";
                        return Err(self.socket.close(close_code::POLICY, reason).await);
                    }
                }
            }
        };
        for message in early {
            self.control(&answers, message).await?;
        }
        loop {
            tokio::select! {
                progress = answers.next() => match progress {
                    Some(Progress::Delta { delta, .. }) => {
                        self.send_delta(body.format, delta).await?;
                    }
                    Some(Progress::Finished { ending, .. }) => {
                        let done = Done::new(&Started::of(&answers), &ending.finish);
                        self.socket.send(json!(done).to_string()).await?;
                        return Ok(Ok(()));
                    }
                    Some(Progress::Failed(error)) => return Ok(Err(error)),
                    None => return Ok(Ok(())),
                },
                message = self.socket.receive() => self.control(&answers, message?).await?,
            }
        }
    }

    /// Applies a control frame; what is wrong with it is said and changes nothing.
    async fn control(&mut self, answers: &Answers, message: Whole) -> Result<(), Closed> {
        match self.steer(answers, message) {
            Ok(()) => Ok(()),
            Err(error) => self.send_error(&error).await,
        }
    }

    fn steer(&self, answers: &Answers, message: Whole) -> Result<(), ApiError> {
        let body = JsonBody::check(message, self.caller, &self.state.config)?;
        Control::read(&body)?.apply(&body, answers)
    }

    async fn send_delta(&mut self, format: StreamFormat, delta: Delta) -> Result<(), Closed> {
        let frame = match (format, delta) {
            (StreamFormat::Raw, Delta::Content(text)) => text,
            (StreamFormat::Json, Delta::Content(text)) => json!({ "text": text }).to_string(),
            (StreamFormat::Json, Delta::Reasoning(text)) => json!({ "thinking": text }).to_string(),
            // Bare text has no room for thoughts, and this dialect offers no tools.
            _ => return Ok(()),
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
