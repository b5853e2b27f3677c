//! Fields that are left out and whose kinds are checked all the same: what is none of the vendor's
//! values is a mistake of its client, which should hear of it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::ApiError;
use crate::limits::JsonBody;

/// Words about an answer that its client finds again, if it is kept.
pub(crate) type Metadata = BTreeMap<String, String>;

/// How much an answer may say.
pub(crate) const VERBOSITIES: [&str; 3] = ["low", "medium", "high"];

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only their kinds matter")]
struct Habits {
    metadata: Option<Metadata>,
    service_tier: Option<String>,
    store: Option<bool>,
    safety_identifier: Option<String>,
    prompt_cache_key: Option<String>,
    verbosity: Option<String>,
}

/// Refuses a body in which one of them is of another kind.
pub(crate) fn check(body: &JsonBody) -> Result<(), ApiError> {
    let Habits { verbosity, .. } = body.read()?;
    one_of("verbosity", verbosity.as_deref(), &VERBOSITIES)
}

/// Refuses a word that is none of `words`.
pub(crate) fn one_of(field: &str, word: Option<&str>, words: &[&str]) -> Result<(), ApiError> {
    match word {
        Some(word) if !words.contains(&word) => {
            let reason = format!("must be one of {}, got {word:?}", words.join(", "));
            Err(ApiError::field(field, reason))
        }
        _ => Ok(()),
    }
}
