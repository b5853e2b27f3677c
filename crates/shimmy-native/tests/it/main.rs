//! The native engine on tiny models: one file for each part of what the engine relies on.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod adapters;
mod decoding;
mod encoders;
mod experts;
mod loading;
mod same_bits;
mod states;
mod support;
mod vectors;
