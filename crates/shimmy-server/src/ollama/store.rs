//! `POST /api/pull`, `/api/copy`, `/api/create` and `DELETE /api/delete`: what changes which models
//! there are. The store does it; what it says on the way becomes lines.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::answer::{line, streamed};
use super::error::{self, ErrorBody};
use super::messages::{WireMessage, messages};
use super::options::{self, AllOptions};
use crate::answer::check_model_name;
use crate::error::ApiError;
use crate::failures::Storing;
use crate::fields::OneOrMany;
use crate::limits::JsonBody;
use crate::state::AppState;
use crate::store::{Digest, NewModel, StoreEvents, StoreProgress};

/// What ends well.
const SUCCESS: &str = "success";

/// What a client sends to fetch a model.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaPullRequest)]
pub(crate) struct PullRequest {
    model: Option<String>,
    /// An older name for it.
    name: Option<String>,
    /// Whether the progress comes in lines; it does unless told not to.
    stream: Option<bool>,
    /// Refused: what comes over the network is always checked.
    insecure: Option<bool>,
}

/// What a client sends to delete a model.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaDeleteRequest)]
pub(crate) struct DeleteRequest {
    model: Option<String>,
    /// An older name for it.
    name: Option<String>,
}

/// What a client sends to name a model once more.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaCopyRequest)]
pub(crate) struct CopyRequest {
    source: String,
    destination: String,
}

/// What a client sends to make a model.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaCreateRequest)]
pub(crate) struct CreateRequest {
    model: Option<String>,
    /// An older name for it.
    name: Option<String>,
    /// The model that it starts from.
    from: Option<String>,
    /// Names of files and the digests of their blobs.
    files: Option<BTreeMap<String, String>>,
    /// Adapters, likewise.
    adapters: Option<BTreeMap<String, String>>,
    /// Whether the progress comes in lines; it does unless told not to.
    stream: Option<bool>,
    /// Refused: a model is made of its files as they are.
    quantize: Option<String>,
    /// How its conversations are written, in Go's template language or in Jinja.
    template: Option<String>,
    /// What it is told before every conversation that brings no such words of its own.
    system: Option<String>,
    license: Option<OneOrMany>,
    /// How it is asked where a request does not say: what `options` takes.
    #[schema(value_type = Option<AllOptions>)]
    parameters: Option<Map<String, Value>>,
    /// Messages that every conversation goes on from.
    messages: Option<Vec<WireMessage>>,
}

/// A line of progress. Not streamed, the last one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaProgress)]
pub(crate) struct Progress {
    /// What is being done; `success` at the end.
    status: String,
    /// Which file is being fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// Those of them that are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
}

/// Fetch a model
///
/// One that is there already is a success at once.
#[utoipa::path(
    post, path = "/api/pull", tag = "Ollama", operation_id = "ollamaPull",
    request_body(content = PullRequest, examples(
        ("An example" = (value = json!({ "model": "stub" }))),
    )),
    responses(
        (status = 200, description = "How it goes.", content(
            (Progress = "application/x-ndjson"),
            (Progress = "application/json"),
        )),
        Storing<ErrorBody>,
    ),
)]
pub(crate) async fn pull(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let request: PullRequest = body.read()?;
    let name = named(request.model, request.name)?;
    if request.insecure == Some(true) {
        let reason = "is refused: what comes over the network is always checked";
        return Err(ApiError::field("insecure", reason));
    }
    let events = if is_there(&state, &name) {
        futures_util::stream::iter([]).boxed()
    } else {
        state.store.pull(&name)
    };
    told(&state, events, request.stream).await
}

/// Delete a model
#[utoipa::path(
    delete, path = "/api/delete", tag = "Ollama", operation_id = "ollamaDelete",
    request_body(content = DeleteRequest, examples(
        ("An example" = (value = json!({ "model": "unwanted" }))),
    )),
    responses((status = 200, description = "It is gone."), Storing<ErrorBody>),
)]
pub(crate) async fn delete(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let request: DeleteRequest = body.read()?;
    let name = named(request.model, request.name)?;
    state.store.remove(&name).await?;
    Ok(StatusCode::OK)
}

/// Give a model another name
#[utoipa::path(
    post, path = "/api/copy", tag = "Ollama", operation_id = "ollamaCopy",
    request_body(content = CopyRequest, examples(
        ("An example" = (value = json!({ "source": "stub", "destination": "mine" }))),
    )),
    responses((status = 200, description = "It has both names."), Storing<ErrorBody>),
)]
pub(crate) async fn copy(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let CopyRequest {
        source,
        destination,
    } = body.read()?;
    for (field, name) in [("source", &source), ("destination", &destination)] {
        check_model_name(name).map_err(|error| error.renamed(&[("model", field)]))?;
        if name.is_empty() {
            return Err(ApiError::field(field, "is empty"));
        }
    }
    state.store.copy(&source, &destination).await?;
    Ok(StatusCode::OK)
}

/// Make a model of files that were sent, or of another model
#[utoipa::path(
    post, path = "/api/create", tag = "Ollama", operation_id = "ollamaCreate",
    request_body(content = CreateRequest, examples(
        ("Another system's text" = (value = json!({
            "model": "mine", "from": "stub", "system": "Be brief.",
            "parameters": { "temperature": 0.2, "stop": ["\n\n"] },
        }))),
    )),
    responses(
        (status = 200, description = "How it goes.", content(
            (Progress = "application/x-ndjson"),
            (Progress = "application/json"),
        )),
        Storing<ErrorBody>,
    ),
)]
pub(crate) async fn create(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let request: CreateRequest = body.read()?;
    let stream = request.stream;
    let model = request.model()?;
    told(&state, state.store.create(model), stream).await
}

impl CreateRequest {
    fn model(self) -> Result<NewModel, ApiError> {
        if self.quantize.is_some_and(|wanted| !wanted.is_empty()) {
            let reason = "is not supported: a model is made of its files as they are";
            return Err(ApiError::field("quantize", reason));
        }
        let parameters = self.parameters.unwrap_or_default();
        options::check(&parameters)?;
        let from = self.from.filter(|name| !name.is_empty());
        if let Some(from) = &from {
            check_model_name(from).map_err(|error| error.renamed(&[("model", "from")]))?;
        }
        let model = NewModel {
            name: named(self.model, self.name)?,
            from,
            files: blobs("files", self.files)?,
            adapters: blobs("adapters", self.adapters)?,
            template: said(self.template),
            system: said(self.system),
            parameters,
            messages: messages(self.messages.unwrap_or_default())?,
            licenses: OneOrMany::texts(self.license),
        };
        if model.from.is_none() && model.files.is_empty() {
            return Err(ApiError::field("from", "or `files` is required"));
        }
        Ok(model)
    }
}

/// A text that says something.
fn said(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn blobs(
    field: &str,
    files: Option<BTreeMap<String, String>>,
) -> Result<Vec<(String, Digest)>, ApiError> {
    let files = files.unwrap_or_default().into_iter();
    files
        .map(|(name, digest)| match digest.parse() {
            Ok(digest) => Ok((name, digest)),
            Err(invalid) => Err(ApiError::field(format!("{field}[{name:?}]"), invalid)),
        })
        .collect()
}

/// The name that a request has under either of two fields.
fn named(model: Option<String>, name: Option<String>) -> Result<String, ApiError> {
    let mut names = [model, name].into_iter().flatten();
    let name = names.find(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::field("model", "is required"))?;
    check_model_name(&name)?;
    Ok(name)
}

/// Whether there is a model of this very name; one that merely resembles it is another.
fn is_there(state: &AppState, name: &str) -> bool {
    let bare = name.strip_suffix(":latest").unwrap_or(name);
    let models = state.loader.list();
    models.iter().any(|model| {
        let mut names = [&model.name].into_iter().chain(&model.aliases);
        model.problem.is_none()
            && names.any(|known| {
                [name, bare]
                    .iter()
                    .any(|name| known.eq_ignore_ascii_case(name))
            })
    })
}

/// What happens on the way, in lines or, if that is not wanted, as its end.
async fn told(
    state: &AppState,
    mut events: StoreEvents,
    stream: Option<bool>,
) -> Result<Response, ApiError> {
    if stream == Some(false) {
        while let Some(event) = next(&mut events, &state.aborting).await {
            event?;
        }
        return Ok(Json(Progress::of(SUCCESS)).into_response());
    }
    // What fails at once fails with its status.
    let first = next(&mut events, &state.aborting).await.transpose()?;
    let mut opening = Vec::new();
    let work = match first {
        Some(progress) => {
            line(&Progress::from(progress), &mut opening);
            Some((events, state.aborting.clone()))
        }
        None => {
            line(&Progress::of(SUCCESS), &mut opening);
            None
        }
    };
    let rest = futures_util::stream::unfold(work, |work| async {
        let (mut events, aborting) = work?;
        let mut out = Vec::new();
        let work = match next(&mut events, &aborting).await {
            Some(Ok(progress)) => {
                line(&Progress::from(progress), &mut out);
                Some((events, aborting))
            }
            Some(Err(error)) => {
                tracing::warn!(error = ?error.message, "a store's work failed");
                line(&error::body(&error), &mut out);
                None
            }
            None => {
                line(&Progress::of(SUCCESS), &mut out);
                None
            }
        };
        Some((out, work))
    });
    let lines = futures_util::stream::iter([opening]).chain(rest);
    let chunks = lines.map(|line| Ok::<_, Infallible>(Bytes::from(line)));
    Ok(streamed(Body::from_stream(chunks)))
}

/// What happens next; `None` after a good end.
async fn next(
    events: &mut StoreEvents,
    aborting: &CancellationToken,
) -> Option<Result<StoreProgress, ApiError>> {
    tokio::select! {
        biased;
        () = aborting.cancelled() => Some(Err(ApiError::shutting_down())),
        event = events.next() => Some(event?.map_err(ApiError::from)),
    }
}

impl Progress {
    fn of(status: &str) -> Self {
        Self {
            status: status.to_owned(),
            digest: None,
            total: None,
            completed: None,
        }
    }
}

impl From<StoreProgress> for Progress {
    fn from(progress: StoreProgress) -> Self {
        Self {
            status: progress.status,
            digest: progress.digest.map(|digest| digest.to_string()),
            total: progress.total,
            completed: progress.completed,
        }
    }
}
