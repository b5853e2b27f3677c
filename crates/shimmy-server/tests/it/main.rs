//! The server's contract, in-process, on a port of the system's choice, with the stub engine.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod access;
mod agents;
mod chat;
mod consumers;
mod control;
mod errors;
mod generate;
mod http;
mod lifecycle;
mod loader;
mod native;
mod stream;
mod support;
mod websocket;
