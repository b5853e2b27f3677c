//! llama-server's own routes, by its field names: for the editors, front ends and scripts that
//! were written for it.
//!
//! Where its answers tell of things that are not here (slots that requests are bound to, files'
//! paths), the field is left out or says what is true instead.

pub(crate) mod adapters;
mod answer;
pub(crate) mod completion;
pub(crate) mod embedding;
pub(crate) mod error;
pub(crate) mod props;
mod request;
pub(crate) mod rerank;
mod settings;
mod stream;
pub(crate) mod template;
pub(crate) mod tokens;

/// Whether this dialect spells the errors of a path.
pub(crate) fn owns(path: &str) -> bool {
    const ROUTES: [&str; 13] = [
        "/apply-template",
        "/completion",
        "/completions",
        "/detokenize",
        "/embedding",
        "/embeddings",
        "/infill",
        "/lora-adapters",
        "/props",
        "/rerank",
        "/reranking",
        "/slots",
        "/tokenize",
    ];
    ROUTES.contains(&path)
}
