//! What a request asks for and a local model can do without: left out, and always named.
//!
//! It must not know which those are; each dialect says so.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde::de::IgnoredAny;
use shimmy_chat::Unheard;

use crate::error::ApiError;
use crate::limits::JsonBody;

/// Names what was left out.
static IGNORED: HeaderName = HeaderName::from_static("x-shimmy-ignored");

/// Bytes of the names together, at most: some of them are the client's own words.
const NAMES_BYTES: usize = 512;

/// The names of what was left out, each once, in the order in which it was met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ignored(Vec<String>);

impl Ignored {
    /// Those of the `names` that a body has and says something in.
    pub(crate) fn fields(body: &JsonBody, names: &[&str]) -> Result<Self, ApiError> {
        let present: BTreeMap<String, Option<IgnoredAny>> = body.read()?;
        let sent = |name: &&&str| present.get(**name).is_some_and(Option::is_some);
        Ok(Self(
            names
                .iter()
                .filter(sent)
                .map(|name| (*name).to_owned())
                .collect(),
        ))
    }

    /// Adds a name.
    pub(crate) fn note(&mut self, name: impl Into<String>) {
        let mut name = name.into();
        // What cannot stand in a header is no name of anything that is known.
        name.retain(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        let bytes: usize = self.0.iter().map(|name| name.len() + 2).sum();
        if bytes + name.len() <= NAMES_BYTES && !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// Adds what was asked about thinking and the model could not be told, by the names of the
    /// fields that ask whether to think and how much.
    pub(crate) fn note_unheard(&mut self, unheard: &[Unheard], (thinking, effort): (&str, &str)) {
        for what in unheard {
            self.note(match what {
                Unheard::Thinking => thinking,
                Unheard::Effort => effort,
            });
        }
    }

    /// Tells the log.
    pub(crate) fn log(&self) {
        if !self.0.is_empty() {
            let names = self.0.join(", ");
            tracing::info!(fields = %names, "left out what a local model can do without");
        }
    }

    /// Tells the log and the client.
    pub(crate) fn tell(&self, response: &mut Response) {
        self.log();
        if self.0.is_empty() {
            return;
        }
        if let Ok(names) = HeaderValue::from_str(&self.0.join(", ")) {
            response.headers_mut().insert(IGNORED.clone(), names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_calls_things_neither_breaks_nor_fills_the_header() {
        let mut ignored = Ignored::default();
        ignored.note("tools.web_search\r\nset-cookie: x");
        ignored.note("tools.web_searchset-cookiex");
        (0..10_000).for_each(|n| ignored.note(format!("tools.unknown_{n}")));
        let mut response = Response::new(axum::body::Body::empty());
        ignored.tell(&mut response);
        let names = response.headers()["x-shimmy-ignored"].to_str().unwrap();
        assert!(names.starts_with("tools.web_searchset-cookiex, tools.unknown_0, "));
        assert!(names.len() <= NAMES_BYTES + 2);
    }
}
