//! Ollama's dialect: so far only what `/api/generate` needs.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, USER_AGENT};

pub(crate) mod generate;

/// Whether a client on a shared path speaks this dialect.
pub(crate) fn is_client(headers: &HeaderMap) -> bool {
    let has = |name, test: fn(&str) -> bool| {
        headers
            .get_all(name)
            .iter()
            .any(|value| value.to_str().is_ok_and(test))
    };
    has(ACCEPT, |value| {
        value.to_ascii_lowercase().contains("application/x-ndjson")
    }) || has(USER_AGENT, |value| {
        value.to_ascii_lowercase().starts_with("ollama")
    })
}
