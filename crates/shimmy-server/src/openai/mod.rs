//! OpenAI's dialect: chats, completions, embeddings, the model list, and the ranking of documents
//! that others added to it.

pub(crate) mod adapters;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod embeddings;
mod envelope;
pub(crate) mod error;
pub(crate) mod habits;
pub(crate) mod logprobs;
pub(crate) mod models;
pub(crate) mod rerank;
mod response_format;
mod shapes;
mod stream;
mod tool_use;
mod types;
mod usage;

/// Whether this dialect spells the errors of a path that is no other's.
pub(crate) fn owns(path: &str) -> bool {
    // The latter as llama-server has them.
    path == "/v1" || path.starts_with("/v1/") || ["/chat/completions", "/models"].contains(&path)
}
