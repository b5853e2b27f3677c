//! A backend of the engine in Rust: reads GGUF files of the common architectures and computes them
//! on the CPU. Owns arithmetic, cache and tokenizers of its own; must not know llama.cpp, requests,
//! chat messages or HTTP.
//!
//! `unsafe` is in three places: `kernels` (vector instructions), `pool` (work shared between
//! threads), and `model/file.rs` and `model/packed.rs` (mapped files).

mod adapter;
mod cache;
mod error;
mod half;
mod kernels;
mod model;
mod plan;
mod pool;
mod quant;
mod runner;
mod step;
mod threads;
mod tokenizer;
mod vectors;

pub use adapter::AdapterError;
pub use error::{Fault, OpenError, Unsupported};
pub use kernels::{CacheType, processor};
pub use model::{
    Model, Options, PackedFolder, Support, kept_weights, open, open_with_progress, supports,
};
pub use runner::{NativeRunner, RunnerOptions};
pub use tokenizer::NativeTokenizer;
