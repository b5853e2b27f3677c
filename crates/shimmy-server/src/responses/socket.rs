//! `GET /v1/responses`: the same events over a WebSocket, one answer after the other.
//!
//! Client: `{"type":"response.create", …}` with the fields of a POST. What comes while an answer
//! runs waits for its end. The last answer can be gone on from even where it is not kept.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::close_code;
use axum::response::Response;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::kept::Kept;
use super::memory::Memory;
use super::request::{Plan, Request, THINKING, rename};
use super::writer::Writer;
use crate::answer::{self, Answers, Progress};
use crate::bodies::Whole;
use crate::caller::Caller;
use crate::error::{ApiError, ErrorKind};
use crate::failures::Guarded;
use crate::limits::JsonBody;
use crate::openai;
use crate::openai::error::ErrorBody;
use crate::state::AppState;
use crate::ws::{self, Closed, Socket, Wanted};

/// Messages that may wait for the end of an answer.
const WAITING: usize = 16;

/// Answer over a WebSocket
#[utoipa::path(
    get, path = "/v1/responses", tag = "OpenAI", operation_id = "openaiResponsesSocket",
    description = "A WebSocket: the client sends `response.create` messages, the server the events \
                   of the answers.",
    responses(
        (status = 101, description = "The connection is a WebSocket now."),
        Guarded<ErrorBody>,
        (status = 400, description = "A WebSocket is needed.", body = ErrorBody),
    ),
)]
pub(crate) async fn connect(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    wanted: Wanted,
) -> Result<Response, ApiError> {
    ws::upgrade(state, wanted, move |socket, state| {
        let connection = Connection {
            socket,
            state,
            caller,
            opened: Instant::now(),
            waiting: VecDeque::new(),
            last: None,
        };
        connection.serve()
    })
}

struct Connection {
    socket: Socket,
    state: Arc<AppState>,
    caller: Caller,
    opened: Instant,
    waiting: VecDeque<Whole>,
    last: Option<Arc<Kept>>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

impl Connection {
    /// Answers requests until the connection is closed.
    async fn serve(mut self) -> Result<Infallible, Closed> {
        loop {
            let draining = self.state.draining.clone();
            let message = match self.waiting.pop_front() {
                Some(message) => message,
                None => tokio::select! {
                    message = self.socket.receive() => message?,
                    () = draining.cancelled() => {
                        let reason = "the server is shutting down";
                        return Err(self.socket.close(close_code::AWAY, reason).await);
                    }
                },
            };
            let outcome = match self.read(message) {
                Ok(None) => Ok(()),
                Ok(Some(request)) => self.answer(request).await?,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.send_error(&error).await?;
                if error.kind == ErrorKind::ConnectionLimit {
                    let reason = "the connection is too old";
                    return Err(self.socket.close(close_code::NORMAL, reason).await);
                }
            }
        }
    }

    /// The request in a message, if it is one.
    fn read(&self, message: Whole) -> Result<Option<Request>, ApiError> {
        let body = JsonBody::check(message, self.caller, &self.state.config)?;
        let Kind { kind } = body.read()?;
        match kind.as_str() {
            "response.create" => {}
            // Codex has taken note of an answer's end; nothing here waits for that.
            "response.processed" => return Ok(None),
            kind => {
                let reason = format!("is {kind:?}, but only \"response.create\" is known");
                return Err(ApiError::field("type", reason));
            }
        }
        let max_age = self.state.config.websocket_max_age;
        if self.opened.elapsed() >= max_age {
            let message = format!(
                "the connection has reached its age of {} minutes: connect anew to go on",
                max_age.as_secs() / 60
            );
            return Err(ApiError::new(ErrorKind::ConnectionLimit, message));
        }
        let memory = Memory {
            kept: &self.state.responses,
            caller: self.caller,
            last: self.last.as_ref(),
        };
        Request::read(&body, memory).map(Some)
    }

    /// One answer. The outer error ends the connection, the inner one only the answer.
    async fn answer(&mut self, request: Request) -> Result<Result<(), ApiError>, Closed> {
        let Request {
            ask,
            plan,
            mut ignored,
            ..
        } = request;
        let state = Arc::clone(&self.state);
        let mut start: BoxFuture<'_, _> = Box::pin(answer::start(&state, ask));
        let answers = loop {
            tokio::select! {
                started = &mut start => match started {
                    Ok(answers) => break answers,
                    Err(error) => return Ok(Err(rename(error))),
                },
                message = self.socket.receive() => self.wait(message?).await?,
            }
        };
        drop(start);
        ignored.note_unheard(&answers.unheard, THINKING);
        ignored.log();
        self.stream(answers, plan).await?;
        Ok(Ok(()))
    }

    async fn stream(&mut self, mut answers: Answers, plan: Plan) -> Result<(), Closed> {
        let mut writer = Writer::new(&answers.model, plan);
        let mut events: Vec<String> = Vec::new();
        writer.open(&mut events);
        loop {
            for event in events.drain(..) {
                self.socket.send(event).await?;
            }
            let next = tokio::time::timeout(self.state.config.keep_alive(), answers.next());
            tokio::select! {
                progress = next => match progress {
                    Ok(Some(Progress::Delta { delta, logprobs, .. })) => {
                        writer.delta(&delta, &logprobs, &mut events);
                    }
                    Ok(Some(Progress::Finished { ending, .. })) => {
                        let responses = &self.state.responses;
                        self.last = Some(writer.finished(&ending, responses, &mut events));
                    }
                    Ok(Some(Progress::Failed(error))) => {
                        tracing::warn!(error = ?error.message, "a stream failed");
                        // The one word for it here: after it the next request may come.
                        writer.failed(&error, &mut events);
                    }
                    Ok(None) => return Ok(()),
                    Err(_) => writer.idle(&mut events),
                },
                message = self.socket.receive() => self.wait(message?).await?,
            }
        }
    }

    /// Lets a message wait for its turn.
    async fn wait(&mut self, message: Whole) -> Result<(), Closed> {
        let waiting: usize = self.waiting.iter().map(|waits| waits.bytes.len()).sum();
        if self.waiting.len() == WAITING
            || waiting + message.bytes.len() > self.state.config.max_body
        {
            let reason = "too much said before the answer's end";
            return Err(self.socket.close(close_code::POLICY, reason).await);
        }
        self.waiting.push_back(message);
        Ok(())
    }

    async fn send_error(&mut self, error: &ApiError) -> Result<(), Closed> {
        let mut frame = openai::error::body(error);
        frame["type"] = json!("error");
        frame["status"] = json!(error.kind.status().as_u16());
        self.socket.send(frame.to_string()).await
    }
}
