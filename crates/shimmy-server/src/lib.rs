//! HTTP, server-sent events and WebSockets for the engine's answers.
//!
//! The only crate that knows HTTP and wire JSON. Dialects are thin codecs: each turns its requests
//! into one internal call (`answer::start`) and the events of the answer into its own frames. It
//! must not know where models come from ([`Loader`] does) or what computes them.

mod accept;
mod adapters;
mod answer;
mod anthropic;
mod auth;
mod blocking;
mod bodies;
mod caller;
mod config;
mod continuing;
mod count;
mod docs;
mod error;
mod failures;
mod fields;
mod framing;
mod gap;
mod ignored;
mod keep_alive;
mod lead;
mod limits;
mod llamacpp;
mod loader;
mod messages;
mod metrics;
mod model;
mod model_info;
mod native;
mod ollama;
mod openai;
mod openapi;
mod pace;
mod parts;
mod places;
mod prompts;
mod public;
mod query;
mod report;
mod responses;
mod routes;
mod samplers;
mod sse;
mod state;
mod store;
mod table;
mod thoughts;
mod tools;
mod vectors;
mod ws;

pub use accept::{BindError, Server};
pub use adapters::{
    AdapterFailure, AdapterInfo, AdapterListing, AdapterUse, Adapters, LeavingAdapter, NewAdapter,
};
pub use config::{CacheScope, InvalidSecret, Secret, ServerConfig};
pub use loader::{KeepAlive, LoadError, Loader, Resident};
pub use metrics::ModelEvents;
pub use model::{Hold, LoadedModel, Preset};
pub use model_info::{
    Capability, EngineReport, ModelDetails, ModelInfo, ModelState, ModelStatus, Residence,
};
pub use openapi::document;
pub use state::AppState;
pub use store::{Digest, InvalidDigest, NewModel, Store, StoreError, StoreEvents, StoreProgress};
