//! The server's contract, in-process, on a port of the system's choice, with the stub engine.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod abuse;
mod access;
mod adapters;
mod agents;
mod bounds;
mod calls;
mod chat;
mod choices;
mod claude_code;
mod codex;
mod completions;
mod consumers;
mod control;
mod cut_calls;
mod docs;
mod embeddings;
mod errors;
mod generate;
mod http;
mod lifecycle;
mod llamacpp;
mod loader;
mod logprobs;
mod messages;
mod messages_errors;
mod metrics;
mod native;
mod ollama;
mod ollama_consumers;
mod ollama_errors;
mod ollama_models;
mod ollama_store;
mod openapi;
mod preset;
mod repeats;
mod responses;
mod responses_errors;
mod responses_socket;
mod schema;
mod store;
mod stream;
mod support;
mod tool_use;
mod websocket;
