//! Who asks, as far as API keys tell callers apart.
//!
//! It owns what one caller must not learn of another: only requests of the same caller go on from
//! the same kept answers, and, unless the server is told otherwise, share computed prefixes, whose
//! counts and timings would tell what somebody else has asked.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// One caller: everyone with the same API key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Caller(u64);

impl Caller {
    /// Whoever asks a server that has no keys, all of them one.
    pub(crate) const ANYONE: Self = Self(0);

    /// The caller with this key: the same after a restart and however the keys are ordered, so
    /// that prefixes that were kept on disk stay theirs.
    pub(crate) fn with_key(key: &[u8]) -> Self {
        // Nobody's number is the one of a server without keys.
        Self(xxhash_rust::xxh3::xxh3_64(key).max(1))
    }

    /// The number by which the engine tells callers apart.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    /// What the guard has found out.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}
