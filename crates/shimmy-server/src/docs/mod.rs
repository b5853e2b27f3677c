//! `GET /docs`: Swagger UI over `/openapi.json`, without a network.
//!
//! The files are those of the vendored Swagger UI that the page needs, kept compressed as the build
//! script finds them, and two of our own. They tell nothing of this server, so they need no token;
//! the description that the page loads does, and the page asks for it.

mod encoding;

use axum::extract::Path;
use axum::http::HeaderMap;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};

use crate::blocking;
use crate::error::{ApiError, ErrorKind};

/// Only this server's own files and answers; nothing inline, and nothing that frames the page.
/// Swagger UI's style sheet brings its icons as `data:`, and its texts pass through its own filter
/// to become markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const PAGE: File = File {
    name: "",
    content_type: "text/html; charset=utf-8",
    content: Content::Plain(include_bytes!("page.html")),
};

/// What the page names.
const FILES: [File; 4] = [
    File {
        name: "favicon-32x32.png",
        content_type: "image/png",
        content: Content::Plain(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/favicon-32x32.png"
        ))),
    },
    File {
        name: "start.js",
        content_type: "text/javascript; charset=utf-8",
        content: Content::Plain(include_bytes!("start.js")),
    },
    File {
        name: "swagger-ui-bundle.js",
        content_type: "text/javascript; charset=utf-8",
        content: Content::Gzip(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/swagger-ui-bundle.js"
        ))),
    },
    File {
        name: "swagger-ui.css",
        content_type: "text/css; charset=utf-8",
        content: Content::Gzip(include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css"))),
    },
];

#[derive(Debug, Clone, Copy)]
struct File {
    name: &'static str,
    content_type: &'static str,
    content: Content,
}

#[derive(Debug, Clone, Copy)]
enum Content {
    Plain(&'static [u8]),
    Gzip(&'static [u8]),
}

/// Whether a path is the page or one of its files: those need no token.
pub(crate) fn is_open(path: &str) -> bool {
    match path.strip_prefix("/docs") {
        Some("") => true,
        Some(rest) => rest.strip_prefix('/').and_then(File::named).is_some(),
        None => false,
    }
}

/// This description as a page
///
/// Every route with its fields and examples, and a way to try it, by Swagger UI. Works without a
/// network.
#[utoipa::path(
    get, path = "/docs", tag = "Observe", operation_id = "docs", security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
pub(crate) async fn page(headers: HeaderMap) -> Result<Response, ApiError> {
    PAGE.send(&headers).await
}

/// The page's files
#[utoipa::path(
    get, path = "/docs/{file}", tag = "Observe", operation_id = "docsFile", security(()),
    params(("file" = String, Path, description = "A name that the page has.", example = "start.js")),
    responses(
        (status = 200, description = "The file.", content(
            (String = "text/css"),
            (String = "text/javascript"),
            (Vec<u8> = "image/png"),
        )),
        (status = 404, description = "There is no such file.", body = crate::native::error::ErrorBody),
    ),
)]
pub(crate) async fn asset(
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    match File::named(&name) {
        Some(file) => file.send(&headers).await,
        None => Err(ApiError::new(ErrorKind::NotFound, "no such file")),
    }
}

impl File {
    fn named(name: &str) -> Option<Self> {
        FILES.into_iter().find(|file| file.name == name)
    }

    /// The file as these headers want it.
    async fn send(self, asked: &HeaderMap) -> Result<Response, ApiError> {
        let headers = [
            (CONTENT_TYPE, self.content_type),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            // The next version of the server has the next version of the page.
            (CACHE_CONTROL, "no-cache"),
            (VARY, "accept-encoding"),
        ];
        Ok(match self.content {
            Content::Plain(bytes) => (headers, bytes).into_response(),
            Content::Gzip(bytes) if encoding::accepts_gzip(asked) => {
                (headers, [(CONTENT_ENCODING, "gzip")], bytes).into_response()
            }
            Content::Gzip(bytes) => {
                let plain = blocking::run(true, || encoding::gunzip(bytes)).await?;
                (headers, plain).into_response()
            }
        })
    }
}
