//! The real binary: on a real engine with tiny models that the tests write themselves, and, in a
//! build without one, on the deterministic engine.

#[cfg(any(feature = "llama", feature = "native"))]
mod adapters;
#[cfg(any(feature = "llama", feature = "native"))]
mod bad_input;
#[cfg(any(feature = "llama", feature = "native"))]
mod commands;
#[cfg(all(feature = "stub", not(any(feature = "llama", feature = "native"))))]
mod descriptors;
#[cfg(all(feature = "stub", not(any(feature = "llama", feature = "native"))))]
mod doctor;
#[cfg(feature = "native")]
mod engines;
#[cfg(any(feature = "llama", feature = "native"))]
mod environment;
#[cfg(any(feature = "llama", feature = "native"))]
mod generate;
#[cfg(any(feature = "llama", feature = "native"))]
mod http;
#[cfg(any(feature = "llama", feature = "stub"))]
mod library;
#[cfg(any(feature = "llama", feature = "native"))]
mod loading;
#[cfg(all(feature = "stub", not(any(feature = "llama", feature = "native"))))]
mod log;
#[cfg(all(
    unix,
    feature = "stub",
    not(any(feature = "llama", feature = "native"))
))]
mod no_room;
#[cfg(all(feature = "stub", not(any(feature = "llama", feature = "native"))))]
mod ollama;
#[cfg(any(feature = "llama", feature = "stub"))]
mod places;
#[cfg(any(feature = "llama", feature = "native", feature = "stub"))]
mod reference;
#[cfg(any(feature = "llama", feature = "native"))]
mod residence;
#[cfg(all(feature = "stub", not(any(feature = "llama", feature = "native"))))]
mod service;
#[cfg(all(feature = "stub", not(any(feature = "llama", feature = "native"))))]
mod settings;
#[cfg(any(feature = "llama", feature = "native"))]
mod shutdown;
#[cfg(all(feature = "stub", not(any(feature = "llama", feature = "native"))))]
mod snapshots;
#[cfg(any(feature = "llama", feature = "native"))]
mod store;
#[cfg(all(feature = "stub", not(any(feature = "llama", feature = "native"))))]
mod stub;
#[cfg(any(feature = "llama", feature = "native", feature = "stub"))]
mod support;
#[cfg(all(feature = "stub", not(any(feature = "llama", feature = "native"))))]
mod terminal;
#[cfg(any(feature = "llama", feature = "native"))]
mod websocket;
