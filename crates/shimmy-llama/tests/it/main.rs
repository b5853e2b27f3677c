//! The real llama.cpp on tiny models: one file for each part of the crate.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod adapters;
mod cache_types;
mod decoding;
mod encoder;
mod growth;
mod histories;
mod loading;
mod support;
mod tokenizer;
