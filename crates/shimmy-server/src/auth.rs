//! Who may ask: `Host`, then `Origin`, then the token, before any handler sees a request.
//!
//! Default-deny: the layer wraps every route and the fallbacks, and only [`OPEN`] paths, which
//! tell nothing but that the server lives, and the files of the page that documents the API go
//! without a token. It must not know what routes do.
//!
//! Of several credentials one decides: `Authorization` where it is present, else `x-api-key`. A
//! wrong `Authorization` is not rescued by a right `x-api-key`, so that what a proxy adds in the
//! first cannot be overruled by what a client writes in the second.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, HOST, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::caller::Caller;
use crate::config::{Secret, ServerConfig};
use crate::docs;
use crate::error::{ApiError, ErrorKind};
use crate::state::AppState;

/// The paths that need no token. Exact: no prefix, no other spelling.
const OPEN: [&str; 3] = ["/health", "/health/live", "/health/ready"];

/// What the layer knows.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) state: Arc<AppState>,
    /// Whether the server listens on a loopback address only.
    pub(crate) loopback: bool,
}

/// The layer: checks, passes on, and adds the CORS headers of an origin that was let in.
pub(crate) async fn guard(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let config = &guard.state.config;
    let origin = match check_origins(&request, config, guard.loopback) {
        Ok(origin) => origin,
        Err(error) => return error.into_response(),
    };
    let response = match &origin {
        // A browser's preflight never carries the token: it asks whether it may.
        Some(_) if is_preflight(&request) => preflight(request.headers()),
        _ => match admit(&request, &guard.state) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
            Err(error) => error.into_response(),
        },
    };
    match origin {
        Some(origin) => with_cors(response, origin),
        None => response,
    }
}

/// `Host` and `Origin`; the origin to name in the answer, if there is one.
fn check_origins(
    request: &Request,
    config: &ServerConfig,
    loopback: bool,
) -> Result<Option<HeaderValue>, ApiError> {
    let host = check_host(request, config, loopback)?;
    let mut origins = request.headers().get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(None);
    };
    let text = origin.to_str().unwrap_or_default();
    let allowed = config.cors_origins.iter().any(|allowed| {
        // `*` means every page, not the sandboxed ones that call themselves `null`.
        allowed.eq_ignore_ascii_case(text) || (allowed == "*" && text != "null")
    });
    if origins.next().is_none() && (allowed || is_own_origin(text, host)) {
        return Ok(Some(origin.clone()));
    }
    // Any method: a page that may not read an answer has no business causing one, and a
    // WebSocket's handshake is a GET.
    Err(ApiError::new(
        ErrorKind::Forbidden,
        "requests from this origin are not allowed (the server's --cors-origin names those that are)",
    ))
}

/// The host and port a request is for, once it is known to be ours (CVE-2024-28224).
fn check_host<'a>(
    request: &'a Request,
    config: &ServerConfig,
    loopback: bool,
) -> Result<Option<&'a str>, ApiError> {
    let bad = |message: &str| ApiError::new(ErrorKind::BadRequest, message);
    let mut hosts = request.headers().get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        return match request.version() {
            // HTTP/1.0 has no such field; no browser speaks it, so nothing can be rebound.
            Version::HTTP_09 | Version::HTTP_10 => Ok(None),
            _ => Err(bad("the request has no `Host` header")),
        };
    };
    if hosts.next().is_some() {
        return Err(bad("the request has more than one `Host` header"));
    }
    let host = host
        .to_str()
        .map_err(|_| bad("the `Host` header is malformed"))?;
    if request
        .uri()
        .authority()
        .is_some_and(|authority| authority.as_str() != host)
    {
        return Err(bad("the request's target and its `Host` header differ"));
    }
    let (name, _) = split_port(host).ok_or_else(|| bad("the `Host` header is malformed"))?;
    let allowed = is_loopback(name)
        || config.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
        // Anyone may reach a public address by any name, and there the token is obligatory.
        || (!loopback && config.allowed_hosts.is_empty());
    if allowed {
        return Ok(Some(host));
    }
    Err(ApiError::new(
        ErrorKind::Forbidden,
        "this host name is not served (the server's --allowed-host names those that are)",
    ))
}

/// A host and its port, if it has one; `None` for what is neither.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (name, port) = authority.split_at(end);
    if name.is_empty() || name.contains(['@', '/', '?', '#', '\\']) {
        return None;
    }
    match port.strip_prefix(':') {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((name, Some(port.parse().ok()?)))
        }
        Some(_) => None,
        None => port.is_empty().then_some((name, None)),
    }
}

fn is_loopback(name: &str) -> bool {
    if let Some(address) = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        return address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback());
    }
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether a page of this origin came from the very server it now calls.
fn is_own_origin(origin: &str, host: Option<&str>) -> bool {
    let (authority, default_port) = match origin.split_once("://") {
        Some(("http", authority)) => (authority, 80),
        Some(("https", authority)) => (authority, 443),
        _ => return false,
    };
    let (Some((ours, our_port)), Some((theirs, their_port))) =
        (host.and_then(split_port), split_port(authority))
    else {
        return false;
    };
    let same_port = our_port.unwrap_or(default_port) == their_port.unwrap_or(default_port);
    let same_name = ours.eq_ignore_ascii_case(theirs) || (is_loopback(ours) && is_loopback(theirs));
    same_port && same_name
}

/// The token, and whether there is still time for new work.
fn admit(request: &Request, state: &AppState) -> Result<Caller, ApiError> {
    let path = request.uri().path();
    if OPEN.contains(&path) || docs::is_open(path) {
        return Ok(Caller::ANYONE);
    }
    let caller = check_token(request.headers(), &state.config.api_keys)?;
    if state.is_draining() {
        return Err(ApiError::shutting_down());
    }
    Ok(caller)
}

/// Who asks, where there are keys to tell by.
fn check_token(headers: &HeaderMap, secrets: &[Secret]) -> Result<Caller, ApiError> {
    if secrets.is_empty() {
        return Ok(Caller::ANYONE);
    }
    let mut authorization = headers.get_all(AUTHORIZATION).iter();
    let mut api_key = headers.get_all("x-api-key").iter();
    let (sent, more) = match authorization.next() {
        Some(value) => (bearer(value), authorization.next().is_some()),
        None => (
            api_key.next().map(HeaderValue::as_bytes),
            api_key.next().is_some(),
        ),
    };
    match sent {
        Some(token) => owner(token, secrets)
            .filter(|_| !more)
            .ok_or_else(|| ApiError::new(ErrorKind::Unauthorized, "the API key is wrong")),
        None => Err(ApiError::new(
            ErrorKind::Unauthorized,
            "an API key is needed: send `Authorization: Bearer …` or `x-api-key`",
        )),
    }
}

/// Whose token it is. All are compared, so that the time does not tell which one was close.
fn owner(token: &[u8], secrets: &[Secret]) -> Option<Caller> {
    secrets.iter().fold(None, |owner, secret| {
        let matched = secret.matches(token).then(|| secret.caller());
        matched.or(owner)
    })
}

/// The token of `Bearer token`; the scheme's case does not matter.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    // The origin is trusted by name; which headers its client library adds does not matter.
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn with_cors(mut response: Response, origin: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let exposed =
        HeaderValue::from_static("request-id, retry-after, x-shimmy-ignored, x-should-retry");
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    headers.append(VARY, HeaderValue::from_static("origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised_by_address_and_not_by_resemblance() {
        for name in ["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.2", "[::1]"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in [
            "127.0.0.1.evil.com",
            "localhost.evil.com",
            "2130706433",
            "0.0.0.0",
            "[::2]",
        ] {
            assert!(!is_loopback(name), "{name}");
        }
    }

    #[test]
    fn authorities_are_split_strictly() {
        assert_eq!(split_port("localhost:80"), Some(("localhost", Some(80))));
        assert_eq!(split_port("[::1]:80"), Some(("[::1]", Some(80))));
        assert_eq!(split_port("[::1]"), Some(("[::1]", None)));
        for bad in [
            "", ":80", "a:", "a:b", "a:99999", "[::1", "[::1]x", "a@b", "a/b", "a:1:2",
        ] {
            assert_eq!(split_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_origin_is_own_by_name_and_port() {
        let own = |origin| is_own_origin(origin, Some("127.0.0.1:11435"));
        assert!(own("http://127.0.0.1:11435"));
        assert!(own("http://localhost:11435"));
        assert!(!own("http://localhost:3000"));
        assert!(!own("http://127.0.0.1"));
        assert!(!own("null"));
        assert!(!own("file://127.0.0.1:11435"));
        assert!(!own("http://127.0.0.1:11435@evil.example"));
        assert!(is_own_origin(
            "https://shimmy.example",
            Some("shimmy.example")
        ));
        assert!(!is_own_origin("https://shimmy.example", None));
    }
}
