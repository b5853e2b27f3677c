//! Shimmy's own dialect: `/api/generate`, `/ws/generate`, models, health, metrics and diagnostics.

mod control;
pub(crate) mod diag;
pub(crate) mod error;
pub(crate) mod generate;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod models;
mod stream;
pub(crate) mod types;
pub(crate) mod ws;
