//! `HEAD` and `POST /api/blobs/{digest}`: files on their way to becoming models.
//!
//! They are larger than any body that is read into memory: they go to the store as they come.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, future};
use http_body_util::BodyExt;

use super::error::ErrorBody;
use crate::error::{ApiError, ErrorKind};
use crate::failures::Storing;
use crate::limits::{RestOfPath, check_content_type, check_encoding};
use crate::state::AppState;
use crate::store::{Digest, StoreError};

/// Whether a file is there
#[utoipa::path(
    head, path = "/api/blobs/{digest}", tag = "Ollama", operation_id = "ollamaHasBlob",
    params(("digest" = String, Path, description = "`sha256:` and 64 digits in lower case.")),
    responses((status = 200, description = "It is there, whole."), Storing<ErrorBody>),
)]
pub(crate) async fn exists(
    State(state): State<Arc<AppState>>,
    RestOfPath(digest): RestOfPath,
) -> Result<StatusCode, ApiError> {
    let digest = read(&digest)?;
    if state.store.has_blob(&digest).await? {
        Ok(StatusCode::OK)
    } else {
        Err(StoreError::NoBlob { digest }.into())
    }
}

/// Send a file
///
/// It is kept only if its content is that of the digest.
#[utoipa::path(
    post, path = "/api/blobs/{digest}", tag = "Ollama", operation_id = "ollamaPutBlob",
    params(("digest" = String, Path, description = "`sha256:` and 64 digits in lower case.")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "It was there already."),
        (status = 201, description = "It is there now."),
        Storing<ErrorBody>,
    ),
)]
pub(crate) async fn put(
    State(state): State<Arc<AppState>>,
    RestOfPath(digest): RestOfPath,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let digest = read(&digest)?;
    check_bytes(request.headers())?;
    let is_here = state.store.has_blob(&digest).await?;
    if is_here && request.headers().contains_key(EXPECT) {
        return Ok(StatusCode::OK);
    }
    let content = content(request.into_body(), state.config.body_read_timeout);
    let taken = async {
        if is_here {
            // Whoever closes on a client that still sends takes the answer away from it, too.
            content.for_each(|_| future::ready(())).await;
            return Ok(StatusCode::OK);
        }
        let put = state.store.put_blob(&digest, content).await;
        put.map(|()| StatusCode::CREATED)
    };
    tokio::select! {
        biased;
        () = state.aborting.cancelled() => Err(ApiError::shutting_down()),
        () = state.too_late_for_bodies() => Err(ApiError::shutting_down()),
        status = taken => Ok(status?),
    }
}

fn read(digest: &str) -> Result<Digest, ApiError> {
    digest
        .parse()
        .map_err(|invalid| ApiError::field("digest", invalid))
}

/// What a form or `text/plain` can carry, any web page may send. (Ollama's Python client says JSON
/// of everything that it sends.)
fn check_bytes(headers: &HeaderMap) -> Result<(), ApiError> {
    check_encoding(headers)?;
    match headers.get(CONTENT_TYPE) {
        Some(kind) if kind == "application/octet-stream" => Ok(()),
        _ => check_content_type(headers).map_err(|_| {
            ApiError::new(
                ErrorKind::UnsupportedMediaType,
                "a blob is sent as `application/octet-stream`",
            )
        }),
    }
}

/// The body as it comes. It may take long, but not be silent for long.
fn content(body: Body, silence: Duration) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let chunks = futures_util::stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        let cut_short = |reason: String| Err(StoreError::CutShort { reason });
        let chunk = match tokio::time::timeout(silence, body.frame()).await {
            Ok(None) => return None,
            // Trailers are no content.
            Ok(Some(Ok(frame))) => {
                let chunk = frame.into_data().unwrap_or_default();
                return Some((Ok(chunk), Some(body)));
            }
            Ok(Some(Err(error))) => cut_short(error.to_string()),
            Err(_) => cut_short("the client fell silent".to_owned()),
        };
        Some((chunk, None))
    });
    chunks.boxed()
}
