//! The one error of the HTTP layer, and the one place that gives it a status.
//!
//! A handler returns an [`ApiError`] and does not know how its dialect spells errors: the body is
//! written by [`render`], the outermost layer, which picks the dialect by the path. So a failure
//! has the right shape wherever it happens: in a check, a parser, a handler or a fallback.
//! The text of an error is public and bounded; what is not goes to the log where it is made.

mod causes;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::public::capped;
use crate::{anthropic, llamacpp, native, ollama, openai, report};

/// Tells the official SDKs, which repeat every status from 500 up by themselves, not to.
static SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Anthropic's name for one request.
static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Seconds after which a client whose request found a full queue may come again.
const RETRY_AFTER_SECONDS: &str = "1";

/// Characters of a message, and of a field's name, at most: they quote what the client sent.
const MESSAGE_CHARS: usize = 500;
const PARAM_CHARS: usize = 200;

/// What went wrong, as far as a status and a code tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// A field is wrong or asks for what cannot be done.
    BadRequest,
    /// Prompt and answer do not fit the context.
    ContextLength,
    /// The token is wrong or absent.
    Unauthorized,
    /// `Host` or `Origin` is foreign.
    Forbidden,
    /// No such route or resource.
    NotFound,
    /// No such model.
    ModelNotFound,
    /// The answer to go on from is not kept.
    PreviousResponseNotFound,
    /// The connection is as old as it may get; a new one is welcome.
    ConnectionLimit,
    /// The route has other methods.
    MethodNotAllowed,
    /// The body did not come in time.
    RequestTimeout,
    /// The body is too big.
    TooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// Nobody here can do that.
    NotImplemented,
    /// As many requests wait as may.
    QueueFull,
    /// The model's memory is taken by others, or its turn did not come; later it may be free.
    Busy,
    /// The server is shutting down or the engine has stopped.
    Unavailable,
    /// The backend cannot load the model. It would fail again.
    LoadFailed,
    /// The backend cannot generate. It would fail again.
    GenerationFailed,
    /// A fault of ours.
    Internal,
}

impl ErrorKind {
    /// The status: this is the only match from errors to statuses.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            ErrorKind::BadRequest
            | ErrorKind::ContextLength
            | ErrorKind::PreviousResponseNotFound
            | ErrorKind::ConnectionLimit => StatusCode::BAD_REQUEST,
            ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::NotFound | ErrorKind::ModelNotFound => StatusCode::NOT_FOUND,
            ErrorKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ErrorKind::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorKind::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Busy | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::LoadFailed | ErrorKind::GenerationFailed => StatusCode::BAD_GATEWAY,
            ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request may succeed later.
    fn is_transient(self) -> bool {
        matches!(
            self,
            ErrorKind::QueueFull | ErrorKind::Busy | ErrorKind::Unavailable
        )
    }
}

/// A failed request, in words that its sender may read.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    /// The field that is wrong, by its name on the wire.
    pub(crate) param: Option<String>,
    /// Facts beside the message, for the dialects that have room for them.
    pub(crate) details: Vec<(&'static str, Value)>,
}

impl ApiError {
    /// An error of this kind; `message` is public.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: capped(message.into(), MESSAGE_CHARS),
            param: None,
            details: Vec::new(),
        }
    }

    /// A complaint about one field; `reason` continues the sentence that starts with its name.
    pub(crate) fn field(field: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        let field = field.into();
        let mut error = Self::new(ErrorKind::BadRequest, format!("`{field}` {reason}"));
        error.param = Some(capped(field, PARAM_CHARS));
        error
    }

    /// The same complaint where a dialect has names of its own for the fields: pairs of ours and
    /// theirs.
    pub(crate) fn renamed(mut self, names: &[(&str, &str)]) -> Self {
        let param = self.param.as_deref();
        if let Some((ours, theirs)) = names.iter().find(|(ours, _)| param == Some(*ours)) {
            self.message = self
                .message
                .replace(&format!("`{ours}`"), &format!("`{theirs}`"));
            self.param = Some((*theirs).to_owned());
        }
        self
    }

    /// The message, with the names that were meant perhaps: for dialects whose errors have no
    /// other place for them.
    pub(crate) fn message_with_suggestions(&self) -> String {
        let names = self.detail("suggestions").and_then(Value::as_array);
        let names: Vec<&str> = names
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if names.is_empty() {
            return self.message.clone();
        }
        format!("{}; did you mean {}?", self.message, names.join(", "))
    }

    /// A fact beside the message.
    pub(crate) fn detail(&self, name: &str) -> Option<&Value> {
        let found = self.details.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value)
    }

    /// The server is going away.
    pub(crate) fn shutting_down() -> Self {
        Self::new(ErrorKind::Unavailable, "the server is shutting down")
    }

    fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.push((name, value.into()));
        self
    }
}

impl IntoResponse for ApiError {
    /// Status and headers; the body is left to [`render`].
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        let headers = response.headers_mut();
        match self.kind {
            ErrorKind::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            kind if kind.is_transient() => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
            }
            kind if kind.status().is_server_error() => {
                headers.insert(SHOULD_RETRY.clone(), HeaderValue::from_static("false"));
            }
            _ => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// What tells in which dialect a request's failure is spelt.
#[derive(Debug)]
pub(crate) struct Asked {
    path: String,
    /// Whether its client speaks Ollama's dialect where a path does not say which.
    ollama: bool,
    /// Whether it is Anthropic's, whose clients also ask for what lies at OpenAI's paths.
    anthropic: bool,
}

impl Asked {
    /// Of a request that is about to be answered.
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            path: request.uri().path().to_owned(),
            ollama: ollama::speaks(request),
            anthropic: anthropic::speaks(request),
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// Writes the body of a failed response in the dialect of its request.
pub(crate) fn render(asked: &Asked, mut response: Response) -> Response {
    let path = asked.path();
    // This dialect names every answer in a header; its clients show the name with an error.
    let request_id = asked.anthropic.then(|| report::unique_id("req_"));
    if let Some(Ok(id)) = request_id.as_deref().map(HeaderValue::from_str) {
        response.headers_mut().insert(REQUEST_ID.clone(), id);
    }
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    if error.kind.status().is_server_error() {
        tracing::warn!(path = ?path, status = error.kind.status().as_u16(), error = ?error.message, "request failed");
    }
    let body = if let Some(id) = &request_id {
        let mut body = anthropic::error::body(&error);
        body["request_id"] = Value::from(id.as_str());
        body
    } else if openai::owns(path) {
        openai::error::body(&error)
    } else if asked.ollama {
        ollama::error::body(&error)
    } else if llamacpp::owns(path) {
        llamacpp::error::body(&error)
    } else {
        native::error::body(&error)
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.map(|_| Body::from(body.to_string()))
}
