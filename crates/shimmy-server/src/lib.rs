//! HTTP, server-sent events and WebSockets for the engine's answers.
//!
//! The only crate that knows HTTP and wire JSON. Dialects are thin codecs: each turns its requests
//! into one internal call (`answer::start`) and the events of the answer into its own frames. It
//! must not know where models come from ([`Loader`] does) or what computes them.

mod accept;
mod answer;
mod auth;
mod config;
mod error;
mod fields;
mod limits;
mod messages;
mod native;
mod ollama;
mod openai;
mod pace;
mod public;
mod report;
mod routes;
mod sse;
mod state;
mod tools;
mod ws;

pub use accept::{BindError, Server};
pub use config::{InvalidSecret, Secret, ServerConfig};
pub use state::{
    AdapterInfo, AppState, EngineReport, KeepAlive, LoadError, LoadedModel, Loader, ModelInfo,
    ModelStatus, Resident,
};
