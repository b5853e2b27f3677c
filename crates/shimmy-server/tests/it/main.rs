//! The server's contract, in-process, on a port of the system's choice, with the stub engine.

/// Host, Origin and token.
mod access;
/// `/v1/chat/completions` and `/v1/models`.
mod chat;
/// The exact requests of clients that people run.
mod consumers;
/// Every refusal, in every dialect.
mod errors;
/// `/api/generate`.
mod generate;
/// Malformed HTTP and the limits on connections and bodies.
mod http;
/// Disconnects, full queues, shutdown.
mod lifecycle;
/// Health, diagnostics and `/api/models`.
mod native;
/// The server under test and its clients.
mod support;
/// `/ws/generate`.
mod websocket;
