//! The real binary on the real engine, with tiny models that the tests write themselves.

#![cfg(feature = "llama")]

mod bad_input;
mod commands;
mod generate;
mod http;
mod shutdown;
mod support;
