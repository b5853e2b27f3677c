//! What stands behind the question mark of a path, with complaints that name the field.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, ErrorKind};
use crate::state::AppState;

/// The fields of a query; others are ignored.
#[derive(Debug)]
pub(crate) struct QueryFields<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<AppState>> for QueryFields<T> {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &Arc<AppState>,
    ) -> Result<Self, Self::Rejection> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(fields)) => Ok(Self(fields)),
            Err(rejection) => {
                // The source is the parser's own words, "field: complaint".
                let words = std::error::Error::source(&rejection)
                    .map_or_else(|| rejection.body_text(), ToString::to_string);
                Err(match words.split_once(": ") {
                    Some((field, reason)) if !field.contains(' ') => {
                        ApiError::field(field, format_args!("is wrong: {reason}"))
                    }
                    _ => ApiError::new(
                        ErrorKind::BadRequest,
                        format!("the query is not what is expected: {words}"),
                    ),
                })
            }
        }
    }
}
