//! Ollama's dialect: lines of JSON that stream unless told not to, errors of one text, models by
//! the names and shapes that its clients list and show.
//!
//! Where its answers tell of things that are not here (Go templates, layers of a manifest), the
//! field is left out or says what is true instead.

mod answer;
pub(crate) mod blobs;
pub(crate) mod chat;
mod digest;
pub(crate) mod embed;
pub(crate) mod error;
pub(crate) mod generate;
mod messages;
pub(crate) mod models;
mod options;
mod request;
pub(crate) mod root;
pub(crate) mod show;
pub(crate) mod store;

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request};
use axum::http::header::{ACCEPT, CONTENT_TYPE, ORIGIN, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

/// The mark of requests that came in at Ollama's own address: there every client speaks this
/// dialect.
#[derive(Debug, Clone, Copy)]
struct OwnAddress;

/// Around every route at Ollama's own address: marks the request.
///
/// Ollama's documentation has `curl -d '{…}'` everywhere, which calls any body a form. No page can
/// have sent one that has no `Origin`, so there it is taken for what it is.
pub(crate) async fn own_address(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(OwnAddress);
    let headers = request.headers_mut();
    let is_form = |kind: &HeaderValue| kind == "application/x-www-form-urlencoded";
    let is_of_a_page = headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site");
    if !is_of_a_page && headers.get(CONTENT_TYPE).is_some_and(is_form) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    next.run(request).await
}

/// Whether the client of a request speaks this dialect, for the paths that several dialects share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaks(pub(crate) bool);

impl<S: Sync> FromRequestParts<S> for Speaks {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(is_client(&parts.headers, &parts.extensions)))
    }
}

/// Whether the errors of a request are spelt in this dialect, where no other one owns its path.
pub(crate) fn speaks(request: &Request) -> bool {
    owns(request.uri().path()) || is_client(request.headers(), request.extensions())
}

fn is_client(headers: &HeaderMap, extensions: &Extensions) -> bool {
    let has = |name, test: fn(&str) -> bool| {
        headers
            .get_all(name)
            .iter()
            .any(|value| value.to_str().is_ok_and(test))
    };
    extensions.get::<OwnAddress>().is_some()
        || has(ACCEPT, |value| {
            value.to_ascii_lowercase().contains("application/x-ndjson")
        })
        || has(USER_AGENT, |value| {
            value.to_ascii_lowercase().starts_with("ollama")
        })
}

/// Whether a path is this dialect's alone.
fn owns(path: &str) -> bool {
    const ROUTES: [&str; 10] = [
        "/api/chat",
        "/api/copy",
        "/api/create",
        "/api/delete",
        "/api/embed",
        "/api/embeddings",
        "/api/ps",
        "/api/pull",
        "/api/show",
        "/api/tags",
    ];
    ROUTES.contains(&path) || path == "/api/version" || path.starts_with("/api/blobs/")
}
