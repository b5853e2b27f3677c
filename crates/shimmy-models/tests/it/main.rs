//! Tests on real folders. One binary for the whole crate; each module says what it covers.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in test functions only, not in their helpers"
)]

/// Which files of a folder are found, and which are refused.
mod discovery;
/// Single files that a user names.
mod open;
/// Models that are made of others.
mod packages;
/// Downloads, from good hubs and bad ones.
mod pull;
/// What a search remembers for the next one.
mod remembering;
/// The stores of other programs.
mod stores;
/// Folders as programs leave them.
mod support;
