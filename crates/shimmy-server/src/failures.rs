//! How routes can fail, for the description of the API: which statuses, why, in whose words.
//!
//! A handler names one of these sets with its dialect's error body. The statuses and their causes
//! come from [`ErrorKind`], so that the description cannot promise what the server does not do.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::error::ErrorKind;

/// What the guards before every route but the open ones can say, in the words of `B`.
pub(crate) struct Guarded<B>(PhantomData<B>);

/// A route about one model, in memory or not.
pub(crate) struct Finding<B>(PhantomData<B>);

/// A route that loads or unloads a model.
pub(crate) struct Loading<B>(PhantomData<B>);

/// A route that changes what models there are.
pub(crate) struct Storing<B>(PhantomData<B>);

/// A route that reads a body and answers by a model.
pub(crate) struct Answering<B>(PhantomData<B>);

const GUARDED: &[ErrorKind] = &[
    ErrorKind::Unauthorized,
    ErrorKind::Forbidden,
    ErrorKind::Unavailable,
    ErrorKind::Internal,
];

const FINDING: &[ErrorKind] = &[ErrorKind::BadRequest, ErrorKind::ModelNotFound];

const LOADING: &[ErrorKind] = &[
    ErrorKind::UnsupportedMediaType,
    ErrorKind::LoadFailed,
    ErrorKind::Busy,
];

/// What of these the other sets have too, and what they have not.
const STORING: &[ErrorKind] = &[
    ErrorKind::BadRequest,
    ErrorKind::ModelNotFound,
    ErrorKind::UnsupportedMediaType,
    ErrorKind::RequestTimeout,
    ErrorKind::TooLarge,
];

const STORING_ONLY: &[ErrorKind] = &[ErrorKind::NotImplemented];

const ANSWERING: &[ErrorKind] = &[
    ErrorKind::RequestTimeout,
    ErrorKind::TooLarge,
    ErrorKind::ContextLength,
    ErrorKind::QueueFull,
    ErrorKind::GenerationFailed,
];

macro_rules! failures {
    ($($set:ident: $($kinds:ident)+;)+) => {$(
        impl<B: ToSchema> IntoResponses for $set<B> {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$($kinds),+].into_iter().flatten().map(|kind| reference::<B>(*kind)).collect()
            }
        }
    )+};
}

failures! {
    Guarded: GUARDED;
    Finding: GUARDED FINDING;
    Loading: GUARDED FINDING LOADING;
    Storing: GUARDED STORING STORING_ONLY;
    Answering: GUARDED FINDING LOADING ANSWERING;
}

/// Between the body's schema and the status in a response's name.
const DOT: char = '.';

fn reference<B: ToSchema>(kind: ErrorKind) -> (String, RefOr<Response>) {
    let status = kind.status().as_str().to_owned();
    let name = format!("{}{DOT}{status}", B::name());
    (status, RefOr::Ref(Ref::from_response_name(name)))
}

/// The response that [`reference()`] means, by its name.
pub(crate) fn response(name: &str) -> Option<Response> {
    let (body, status) = name.rsplit_once(DOT)?;
    let causes: Vec<&str> = [GUARDED, FINDING, LOADING, ANSWERING, STORING_ONLY]
        .concat()
        .into_iter()
        .filter(|kind| kind.status().as_str() == status)
        .map(cause)
        .collect();
    let body = Content::new(Some(Ref::from_schema_name(body)));
    Some(
        ResponseBuilder::new()
            .description(causes.join(" "))
            .content("application/json", body)
            .build(),
    )
}

fn cause(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::BadRequest => "A field is wrong or asks for what cannot be done.",
        ErrorKind::ContextLength => "The prompt does not fit the model's context.",
        ErrorKind::Unauthorized => "The API key is wrong or absent.",
        ErrorKind::Forbidden => "The `Host` or the `Origin` is not one that is served.",
        ErrorKind::NotFound => "There is no such route.",
        ErrorKind::ModelNotFound => "There is no such model.",
        ErrorKind::MethodNotAllowed => "The route has other methods.",
        ErrorKind::RequestTimeout => "The body did not come in time.",
        ErrorKind::TooLarge => "The body is too large.",
        ErrorKind::UnsupportedMediaType => "The body is not declared to be JSON.",
        ErrorKind::NotImplemented => "This server has no store that could do it.",
        ErrorKind::QueueFull => {
            "As many requests wait as may; `Retry-After` says when to come again."
        }
        ErrorKind::Busy => "The memory is taken by models at work; `Retry-After` is set.",
        ErrorKind::Unavailable => "The server is shutting down or the engine has stopped.",
        ErrorKind::LoadFailed => "The model cannot be loaded, and a retry would fail again.",
        ErrorKind::GenerationFailed => "The engine failed on this request.",
        ErrorKind::PreviousResponseNotFound => "The answer to go on from is not kept.",
        ErrorKind::ConnectionLimit => "The connection has lived as long as it may.",
        ErrorKind::Internal => "A fault of the server's.",
    }
}
