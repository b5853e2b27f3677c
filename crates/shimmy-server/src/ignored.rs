//! Fields that are accepted and left out, and how the client learns of it.
//!
//! What clients send by habit and a local model can do without. It must not hold anything that
//! would change the meaning of an answer: that is a 400.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde::de::IgnoredAny;

use crate::error::ApiError;
use crate::limits::JsonBody;

/// Names the fields of the request that were left out.
static IGNORED: HeaderName = HeaderName::from_static("x-shimmy-ignored");

/// Which of these fields a body has with a value other than `null`.
pub(crate) fn among(
    body: &JsonBody,
    fields: &[&'static str],
) -> Result<Vec<&'static str>, ApiError> {
    let present: BTreeMap<String, Option<IgnoredAny>> = body.read()?;
    let sent = |field: &&&'static str| present.get(**field).is_some_and(Option::is_some);
    Ok(fields.iter().filter(sent).copied().collect())
}

/// Tells the client, and the log.
pub(crate) fn name(response: &mut Response, fields: &[&'static str]) {
    if fields.is_empty() {
        return;
    }
    let names = fields.join(", ");
    tracing::info!(fields = %names, "left out what a local model can do without");
    if let Ok(names) = HeaderValue::from_str(&names) {
        response.headers_mut().insert(IGNORED.clone(), names);
    }
}
