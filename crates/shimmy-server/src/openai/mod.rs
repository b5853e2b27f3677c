//! OpenAI's dialect: chat completions and the model list.

pub(crate) mod chat;
pub(crate) mod error;
pub(crate) mod models;
mod stream;
mod types;
