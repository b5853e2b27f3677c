//! llama.cpp behind safe, owned types: the only crate with `unsafe`, and the only one that knows
//! llama.cpp. It implements the engine's [`Runner`](shimmy_engine::Runner) and
//! [`Tokenizer`](shimmy_engine::Tokenizer); it must not know requests, prompts or HTTP.
//!
//! ```text
//! LlamaRunner ─► Context ─► Arc<Model>        one thread owns a runner and its context
//!      └───────► Arc<Adapter> ─► Arc<Model>   adapters and models are shared
//! LlamaTokenizer ──────────► Arc<Model>       shared
//! ```
//!
//! Each owner frees its pointer on drop and holds an `Arc` of what must outlive it, so the order in
//! which a caller drops things does not matter.
//!
//! # Errors of C++
//!
//! A C++ exception that reaches Rust, and a failed `GGML_ASSERT`, end the process. Loading a
//! model, creating a context and loading an adapter catch exceptions inside llama.cpp and return
//! null. The other calls are kept away from both by checks in Rust before the call:
//!
//! | call | what would end the process | the check |
//! | --- | --- | --- |
//! | `llama_decode` | more rows than `n_batch`, or than `n_ubatch` without causal attention; more outputs than `n_outputs_max` | `batch::Bounds` |
//! | `llama_init_from_model` | `n_outputs_max < n_seq_max` | `ContextOptions::resolve` |
//! | `llama_memory_seq_*` | a sequence out of range; a copy onto a sequence that holds the cell; a part of a compressed cache | `Context::{copy, remove}` |
//! | `llama_get_logits_ith` | a row without output (where llama.cpp is built with assertions) | `Context::logits` |
//! | `llama_tokenize` | a model without a vocabulary; invalid UTF-8 | `LlamaTokenizer::new`, `&str` |
//! | `llama_token_to_piece`, `llama_vocab_get_*` | a token out of range | `LlamaTokenizer` |
//!
//! What remains is memory that runs out inside `llama_decode` and `llama_tokenize`, which Rust
//! itself treats as the end of the process too, and files made to trip llama.cpp's own assertions
//! while it loads them, which the bounded reader of `shimmy-models` turns away first.

#![expect(
    unsafe_code,
    reason = "llama.cpp is a C library; each block says why it is sound"
)]

mod batch;
mod context;
mod devices;
mod error;
mod logging;
mod lora;
mod model;
mod reader;
mod runner;
mod tokenizer;

use std::sync::OnceLock;

use llama_cpp_sys_2 as sys;

pub use context::{AbortFlag, CacheType, Context, ContextOptions, FlashAttention, Pool};
pub use devices::{
    Device, DeviceKind, cpu_features, devices, gpu_offload_supported, llama_version, physical_cores,
};
pub use error::{DecodeError, InvalidBatch, LlamaError};
pub use lora::Adapter;
pub use model::{LoadOptions, Model, Placement, VocabularyKind};
pub use runner::{LlamaRunner, RunnerOptions};
pub use tokenizer::LlamaTokenizer;

/// Sets up llama.cpp's global state, once; it is never torn down, since threads may still use it
/// while the process ends.
fn initialise() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        logging::install();
        // SAFETY: takes no arguments, and `OnceLock` keeps threads from running it at once.
        unsafe { sys::llama_backend_init() };
    });
}
