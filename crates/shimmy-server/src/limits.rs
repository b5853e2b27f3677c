//! What a body may be: JSON by its content type, of bounded size, depth and number of keys, in
//! bounded time, and within the room that all bodies share.
//!
//! It must not know any dialect. A dialect reads the checked body into its own types, into
//! several where that is convenient: each takes the fields it knows and leaves the others alone.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::bodies::{Held, NoRoom, Whole};
use crate::caller::Caller;
use crate::config::ServerConfig;
use crate::error::{ApiError, ErrorKind};
use crate::state::AppState;

/// Longest complaint of the parser that is passed on: it quotes what it met.
const COMPLAINT_CHARS: usize = 300;

/// A request's body that has passed the checks, ready to be read.
#[derive(Debug, Clone)]
pub(crate) struct JsonBody {
    bytes: Bytes,
    caller: Caller,
    /// Its room among all bodies.
    _held: Arc<Held>,
}

impl FromRequest<Arc<AppState>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(
        request: Request,
        state: &Arc<AppState>,
    ) -> Result<Self, Self::Rejection> {
        check_content_type(request.headers())?;
        let caller = request.extensions().get().copied().unwrap_or_default();
        let body = tokio::select! {
            biased;
            read = read_body(request.into_body(), state) => read?,
            () = state.too_late_for_bodies() => return Err(ApiError::shutting_down()),
        };
        Self::check(body, caller, &state.config)
    }
}

impl JsonBody {
    /// Checks the shape of what has been read, which may be a WebSocket's message.
    pub(crate) fn check(
        body: Whole,
        caller: Caller,
        config: &ServerConfig,
    ) -> Result<Self, ApiError> {
        let Whole { bytes, held } = body;
        let shape = Shape::of(&bytes);
        let refused = |message| Err(ApiError::new(ErrorKind::BadRequest, message));
        if shape.depth > config.max_json_depth {
            let limit = config.max_json_depth;
            return refused(format!("the JSON nests deeper than {limit} levels"));
        }
        if shape.keys > config.max_json_keys {
            let limit = config.max_json_keys;
            return refused(format!("the JSON has more than {limit} keys"));
        }
        Ok(Self {
            bytes,
            caller,
            _held: Arc::new(held),
        })
    }

    /// Bytes of the whole body.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Who sent it.
    pub(crate) fn caller(&self) -> Caller {
        self.caller
    }

    /// Reads the fields of `T`; others are ignored. A complaint names the field.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        match Json::<T>::from_bytes(&self.bytes) {
            Ok(Json(value)) => Ok(value),
            Err(rejection) => {
                // The source is the parser's own words, "path: complaint"; the rejection only
                // puts a preamble before them.
                let words = std::error::Error::source(&rejection)
                    .map_or_else(|| rejection.body_text(), ToString::to_string);
                Err(complaint(&words))
            }
        }
    }
}

/// The rest of a path, percent-decoded.
#[derive(Debug)]
pub(crate) struct RestOfPath(pub(crate) String);

impl FromRequestParts<Arc<AppState>> for RestOfPath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<AppState>,
    ) -> Result<Self, Self::Rejection> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(rest)) => Ok(Self(rest)),
            Err(_) => Err(ApiError::new(
                ErrorKind::BadRequest,
                "the path is not UTF-8",
            )),
        }
    }
}

/// JSON or nothing, as it is. Also for routes that read no body: a form can be sent by any web page.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    check_encoding(headers)?;
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let essence = essence.to_ascii_lowercase();
    // What a form or `text/plain` can carry, any web page may send without asking first.
    if essence == "application/json" || essence.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorKind::UnsupportedMediaType,
        "the body must be JSON: send `Content-Type: application/json`",
    ))
}

/// Bodies are not unpacked: what a packed one grows to cannot be told before.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let encodings = headers.get_all(CONTENT_ENCODING).into_iter();
    let packed = encodings.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut packed = packed.filter(|value| {
        let mut names = value.split(',').map(str::trim);
        names.any(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
    });
    let Some(encoding) = packed.next() else {
        return Ok(());
    };
    Err(ApiError::new(
        ErrorKind::UnsupportedMediaType,
        format!(
            "the body's `Content-Encoding` is {encoding:?}: send the body as it is, not compressed"
        ),
    ))
}

async fn read_body(body: Body, state: &AppState) -> Result<Whole, ApiError> {
    let limit = state.config.max_body;
    let too_large = || {
        let message = format!("the body is larger than {limit} bytes");
        ApiError::new(ErrorKind::TooLarge, message)
    };
    // The declared length settles it before a byte is read.
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(too_large());
    }
    let no_room = |error: NoRoom| ApiError::new(ErrorKind::Busy, error.to_string());
    let mut held = state.bodies.begin(announced).map_err(no_room)?;
    let read = async {
        let mut body = Limited::new(body, limit);
        // One piece that grows: large ones are mappings of their own, and go back when they are freed.
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
                true => too_large(),
                false => ApiError::new(
                    ErrorKind::BadRequest,
                    format!("the body cannot be read: {error}"),
                ),
            })?;
            // Trailers are nothing that anybody here reads.
            if let Ok(data) = frame.into_data() {
                held.grow(data.len()).map_err(no_room)?;
                bytes.extend_from_slice(&data);
            }
        }
        Ok::<_, ApiError>(Bytes::from(bytes))
    };
    match tokio::time::timeout(state.config.body_read_timeout, read).await {
        Ok(bytes) => Ok(Whole {
            bytes: bytes?,
            held,
        }),
        Err(_) => Err(ApiError::new(
            ErrorKind::RequestTimeout,
            "the body did not come in time",
        )),
    }
}

/// What reading a body will cost beyond its bytes. Needs no valid JSON: nothing can be deeper than
/// its brackets, or have more keys than colons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shape {
    /// How deep arrays and objects nest.
    depth: usize,
    /// Keys of all objects.
    keys: usize,
}

impl Shape {
    fn of(json: &[u8]) -> Self {
        let mut shape = Self::default();
        let mut depth = 0_usize;
        let mut bytes = json.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'[' | b'{' => {
                    depth += 1;
                    shape.depth = shape.depth.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b':' => shape.keys += 1,
                b'"' => skip_string(&mut bytes),
                _ => {}
            }
        }
        shape
    }
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

/// What the parser calls our types, as their names begin, and what these are in JSON.
const TYPES: [(&str, &str); 8] = [
    ("struct ", "an object"),
    ("internally tagged enum ", "an object"),
    ("adjacently tagged enum ", "an object"),
    ("enum ", "a word"),
    ("u", "a whole number of 0 or more"),
    ("i", "a whole number"),
    ("f", "a number"),
    ("a map", "an object"),
];

/// The parser's words without the names of our types, which mean nothing to a client.
fn in_json(words: &str) -> String {
    const EXPECTED: &str = "expected ";
    let Some((before, rest)) = words.rsplit_once(EXPECTED) else {
        return words.to_owned();
    };
    let (expected, place) = match rest.find(" at line ") {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let is_one = |name: &str| match expected.strip_prefix(name) {
        Some(bits) if name.len() == 1 => ["8", "16", "32", "64", "size"].contains(&bits),
        rest => rest.is_some(),
    };
    let found = TYPES.iter().find(|(name, _)| is_one(name));
    let expected = found.map_or(expected, |(_, json)| *json);
    format!("{before}{EXPECTED}{expected}{place}")
}

/// The parser's "path: complaint at line 1 column 2" as an error that names the field.
pub(crate) fn complaint(words: &str) -> ApiError {
    let words: String = in_json(words).chars().take(COMPLAINT_CHARS).collect();
    // At the root there is no path, and the complaint itself may hold a colon.
    let (path, reason) = match words.split_once(": ") {
        Some((".", reason)) => (None, reason),
        Some((path, reason)) if !path.contains(' ') => (Some(path), reason),
        _ => (None, words.as_str()),
    };
    // A field that is absent or there twice is named in the complaint about what should hold it.
    let named = reason
        .strip_prefix("missing field `")
        .or_else(|| reason.strip_prefix("duplicate field `"))
        .and_then(|rest| rest.split_once('`'));
    let field = match (path, named) {
        (Some(path), Some((field, _))) => format!("{path}.{field}"),
        (Some(path), None) => path.to_owned(),
        (None, Some((field, _))) => field.to_owned(),
        (None, None) => {
            let message = format!("the body is not the JSON that is expected: {reason}");
            return ApiError::new(ErrorKind::BadRequest, message);
        }
    };
    let reason = reason
        .rsplit_once(" at line ")
        .map_or(reason, |(reason, _)| reason);
    if reason.starts_with("missing") {
        return ApiError::field(field, "is required");
    }
    ApiError::field(field, format_args!("is wrong: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        let depth = |json: &[u8]| Shape::of(json).depth;
        assert_eq!(depth(b"1"), 0);
        assert_eq!(depth(br#"{"a":[1,{"b":[]}]}"#), 4);
        assert_eq!(depth(br#"["[[[[\"[[[\\",[]]"#), 2);
        assert_eq!(depth(&[b'['; 3000]), 3000);
        assert_eq!(depth(b"]]]]["), 1);
        assert_eq!(depth(br#""\"#), 0);
    }

    #[test]
    fn keys_are_counted_at_every_depth_and_not_in_strings() {
        let keys = |json: &[u8]| Shape::of(json).keys;
        assert_eq!(keys(b"[1, 2]"), 0);
        assert_eq!(keys(br#"{"a":{"b":[{"c":1},{"c":":::"}]}}"#), 4);
        assert_eq!(keys(br#"{"a\":b":1}"#), 1);
    }

    #[test]
    fn complaints_name_no_types_of_ours() {
        for (words, plain) in [
            (
                "a: invalid type: x, expected struct WireMessage",
                "expected an object",
            ),
            (
                "a: invalid length 0, expected struct Stop with 1 element at line 1 column 2",
                "expected an object",
            ),
            (
                "a: invalid type: x, expected internally tagged enum Format",
                "expected an object",
            ),
            (
                "a: invalid type: x, expected u32",
                "expected a whole number of 0 or more",
            ),
            (
                "a: invalid type: x, expected i64 at line 1 column 2",
                "expected a whole number",
            ),
            ("a: invalid type: x, expected f32", "expected a number"),
            (
                "a: invalid type: x, expected a boolean",
                "expected a boolean",
            ),
            (
                "a: expected a string or a list",
                "expected a string or a list",
            ),
        ] {
            let message = complaint(words).message;
            assert!(message.ends_with(plain), "{words}: {message}");
        }
    }

    #[test]
    fn complaints_name_the_field() {
        let field = |words| complaint(words).param;
        assert_eq!(
            field("top_p: invalid type: x at line 1 column 2").as_deref(),
            Some("top_p")
        );
        assert_eq!(field("a[0].b: invalid type: x").as_deref(), Some("a[0].b"));
        assert_eq!(
            field("a[0]: missing field `role` at line 1").as_deref(),
            Some("a[0].role")
        );
        assert_eq!(
            field(".: missing field `messages`").as_deref(),
            Some("messages")
        );
        assert_eq!(
            field("missing field `messages` at line 1").as_deref(),
            Some("messages")
        );
        assert_eq!(field("expected value at line 1 column 1"), None);
    }
}
