//! Answers that are kept for later requests to go on from, bounded in number and bytes.
//!
//! In memory only: they are gone with the process. Each belongs to the caller who asked: for all
//! others there is none.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::Value;
use shimmy_chat::Message;
use utoipa::ToSchema;

use super::response::Response;
use crate::caller::Caller;
use crate::error::{ApiError, ErrorKind};
use crate::failures::Finding;
use crate::openai::error::ErrorBody;
use crate::state::AppState;

/// An answer, and the conversation up to and with it. Messages are shared with the answers that
/// went on from it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) caller: Caller,
    pub(super) response: Response,
    pub(super) messages: Vec<Arc<Message>>,
    /// Bytes of the messages.
    pub(super) bytes: usize,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct KeptResponses {
    max_count: usize,
    max_bytes: usize,
    // Taken for a look-up or an insertion, never across an await or a computation.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    /// The ids by when they were last used.
    by_use: BTreeMap<u64, String>,
    /// Which answer holds an item, by the item's id.
    items: HashMap<String, String>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    kept: Arc<Kept>,
    bytes: usize,
    used: u64,
}

impl KeptResponses {
    /// None yet.
    pub(crate) fn new(max_count: usize, max_bytes: usize) -> Self {
        Self {
            max_count,
            max_bytes,
            inner: Mutex::default(),
        }
    }

    /// Keeps an answer. The longest unused make place for it; one that is larger than all the
    /// place there is, is not kept.
    pub(super) fn keep(&self, kept: Arc<Kept>) {
        let written = serde_json::to_vec(&kept.response).map_or(0, |json| json.len());
        let bytes = written + kept.bytes;
        if bytes > self.max_bytes || self.max_count == 0 {
            tracing::info!(bytes, "an answer is too large to be kept");
            return;
        }
        let mut inner = self.lock();
        while inner.entries.len() >= self.max_count || inner.bytes + bytes > self.max_bytes {
            let Some((_, id)) = inner.by_use.pop_first() else {
                break;
            };
            inner.forget(&id);
        }
        inner.uses += 1;
        let (id, used) = (kept.response.id.clone(), inner.uses);
        inner.bytes += bytes;
        inner.by_use.insert(used, id.clone());
        for item in &kept.response.output {
            inner.items.insert(item.id().to_owned(), id.clone());
        }
        inner.entries.insert(id, Entry { kept, bytes, used });
    }

    /// This caller's answer of that id, which counts as used.
    pub(super) fn get(&self, id: &str, caller: Caller) -> Option<Arc<Kept>> {
        let mut inner = self.lock();
        inner.of(id, caller)?;
        inner.uses += 1;
        let now = inner.uses;
        let entry = inner.entries.get_mut(id)?;
        let before = std::mem::replace(&mut entry.used, now);
        let kept = Arc::clone(&entry.kept);
        inner.by_use.remove(&before);
        inner.by_use.insert(now, id.to_owned());
        Some(kept)
    }

    /// The item of that id in any of this caller's answers.
    pub(super) fn item(&self, id: &str, caller: Caller) -> Option<Value> {
        let inner = self.lock();
        let answer = inner.items.get(id)?;
        inner.of(answer, caller)?.item(id)
    }

    /// Whether there was one to forget.
    fn remove(&self, id: &str, caller: Caller) -> bool {
        let mut inner = self.lock();
        if inner.of(id, caller).is_none() {
            return false;
        }
        let used = inner.forget(id);
        if let Some(used) = used {
            inner.by_use.remove(&used);
        }
        used.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under the lock can leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The answer of that id, if it is this caller's.
    fn of(&self, id: &str, caller: Caller) -> Option<&Kept> {
        let kept = &self.entries.get(id)?.kept;
        (kept.caller == caller).then_some(kept)
    }

    fn forget(&mut self, id: &str) -> Option<u64> {
        let entry = self.entries.remove(id)?;
        self.bytes -= entry.bytes;
        for item in &entry.kept.response.output {
            self.items.remove(item.id());
        }
        Some(entry.used)
    }
}

impl Kept {
    /// The item of that id, as it went out.
    pub(super) fn item(&self, id: &str) -> Option<Value> {
        let found = self.response.output.iter().find(|item| item.id() == id)?;
        serde_json::to_value(found).ok()
    }
}

/// An answer that was kept
#[utoipa::path(
    get, path = "/v1/responses/{id}", tag = "OpenAI", operation_id = "openaiGetResponse",
    params(("id" = String, Path, description = "The id of an answer that was kept.")),
    responses(
        (status = 200, description = "The answer.", body = Response),
        Finding<ErrorBody>,
    ),
)]
pub(crate) async fn retrieve(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<axum::response::Response, ApiError> {
    let query = query.unwrap_or_default();
    if query.split('&').any(|pair| pair == "stream=true") {
        let reason = "is not supported here: an answer that is complete has no events";
        return Err(ApiError::field("stream", reason));
    }
    let kept = state
        .responses
        .get(&id, caller)
        .ok_or_else(|| not_found(&id))?;
    Ok(Json(&kept.response).into_response())
}

/// That there is an answer no more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResponseDeleted)]
pub(crate) struct Deleted {
    id: String,
    object: &'static str,
    deleted: bool,
}

/// Forget an answer that was kept
#[utoipa::path(
    delete, path = "/v1/responses/{id}", tag = "OpenAI", operation_id = "openaiDeleteResponse",
    params(("id" = String, Path, description = "The id of an answer that was kept.")),
    responses(
        (status = 200, description = "The answer.", body = Deleted),
        Finding<ErrorBody>,
    ),
)]
pub(crate) async fn delete(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, ApiError> {
    if !state.responses.remove(&id, caller) {
        return Err(not_found(&id));
    }
    Ok(Json(Deleted {
        id,
        object: "response",
        deleted: true,
    }))
}

fn not_found(id: &str) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("no response '{id}' is kept"))
}

#[cfg(test)]
mod tests;
