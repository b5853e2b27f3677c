//! The real binary: on the real engine with tiny models that the tests write themselves, and, in a
//! build without it, on the deterministic engine.

#[cfg(feature = "llama")]
mod adapters;
#[cfg(feature = "llama")]
mod bad_input;
#[cfg(feature = "llama")]
mod commands;
#[cfg(feature = "llama")]
mod environment;
#[cfg(feature = "llama")]
mod generate;
#[cfg(feature = "llama")]
mod http;
#[cfg(any(feature = "llama", feature = "stub"))]
mod library;
#[cfg(feature = "llama")]
mod loading;
#[cfg(all(feature = "stub", not(feature = "llama")))]
mod ollama;
#[cfg(any(feature = "llama", feature = "stub"))]
mod places;
#[cfg(feature = "llama")]
mod residence;
#[cfg(feature = "llama")]
mod shutdown;
#[cfg(all(feature = "stub", not(feature = "llama")))]
mod stub;
#[cfg(any(feature = "llama", feature = "stub"))]
mod support;
#[cfg(feature = "llama")]
mod websocket;
