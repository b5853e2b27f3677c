//! Where a request finds earlier answers: on its connection, and among those that are kept.

use std::sync::Arc;

use serde_json::Value;

use super::kept::{Kept, KeptResponses};
use crate::caller::Caller;
use crate::error::{ApiError, ErrorKind};

/// Where earlier answers are found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory<'a> {
    pub(super) kept: &'a KeptResponses,
    /// Who looks for them.
    pub(super) caller: Caller,
    /// The last answer on this connection, which need not be kept for others.
    pub(super) last: Option<&'a Arc<Kept>>,
}

impl Memory<'_> {
    /// The answer of this id, if whoever looks for it may have it.
    pub(super) fn answer(&self, id: &str) -> Result<Arc<Kept>, ApiError> {
        let last = self.last.filter(|kept| kept.response.id == id);
        let found = last.cloned().or_else(|| self.kept.get(id, self.caller));
        found.ok_or_else(|| {
            let message = format!("previous response with id '{id}' not found");
            let mut error = ApiError::new(ErrorKind::PreviousResponseNotFound, message);
            error.param = Some("previous_response_id".to_owned());
            error
        })
    }

    /// An item of an earlier answer.
    pub(super) fn item(&self, id: &str) -> Option<Value> {
        let last = self.last.and_then(|kept| kept.item(id));
        last.or_else(|| self.kept.item(id, self.caller))
    }
}
