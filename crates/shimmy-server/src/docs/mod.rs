//! `GET /docs`: a page that shows `/openapi.json` and tries its routes, without a network.
//!
//! Three small files of our own rather than Swagger UI, whose two would be 440 kB of the binary,
//! compressed, and need inline styles. The page and its files tell nothing of this server, so they
//! need no token; the description that the page loads does, and the page asks for it.

use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorKind};

/// Only this server's own files and answers; nothing inline, nothing that frames the page, and no
/// text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The paths under which all of this is found: those that need no token.
pub(crate) const PATHS: [&str; 3] = ["/docs", "/docs/page.css", "/docs/page.js"];

/// This description as a page
///
/// Every route with its fields and examples, and a way to try it. Works without a network.
#[utoipa::path(
    get, path = "/docs", tag = "Observe", operation_id = "docs", security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
pub(crate) async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("page.html"))
}

/// The page's files
#[utoipa::path(
    get, path = "/docs/{file}", tag = "Observe", operation_id = "docsFile", security(()),
    params(("file" = String, Path, description = "`page.css` or `page.js`.")),
    responses(
        (status = 200, description = "The file.", content(
            (String = "text/css"),
            (String = "text/javascript"),
        )),
        (status = 404, description = "There is no such file.", body = crate::native::error::ErrorBody),
    ),
)]
pub(crate) async fn asset(Path(name): Path<String>) -> Result<Response, ApiError> {
    match name.as_str() {
        "page.css" => Ok(file("text/css; charset=utf-8", include_str!("page.css"))),
        "page.js" => Ok(file(
            "text/javascript; charset=utf-8",
            include_str!("page.js"),
        )),
        _ => Err(ApiError::new(ErrorKind::NotFound, "no such file")),
    }
}

fn file(content_type: &'static str, content: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // The next version of the server has the next version of the page.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}
