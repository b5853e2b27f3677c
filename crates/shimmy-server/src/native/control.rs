//! What a client says beside its requests: stop, and other sampling from the next token on.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use shimmy_engine::SamplingPatch;

use crate::answer::{self, Answers};
use crate::error::{ApiError, ErrorKind};
use crate::fields::SamplingFields;
use crate::limits::JsonBody;

/// What a running answer can be given anew.
const CHANGEABLE: [&str; 8] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
];

/// What was settled when the answer began.
const SETTLED: [&str; 13] = [
    "model",
    "system",
    "max_tokens",
    "stop",
    "seed",
    "logit_bias",
    "repeat_last_n",
    "lora",
    "format",
    "grammar",
    "ignore_eos",
    "deadline_ms",
    "raw",
];

/// A frame, looked at before it is known whether it is a request.
pub(super) struct Control {
    fields: BTreeMap<String, Option<IgnoredAny>>,
    /// `true` is a control; a text or a list is a request's.
    stop: Option<bool>,
}

#[derive(Deserialize)]
struct Stop {
    stop: Option<Value>,
}

impl Control {
    /// Looks at a frame, which must be an object.
    pub(super) fn read(body: &JsonBody) -> Result<Self, ApiError> {
        let Stop { stop } = body.read()?;
        Ok(Self {
            fields: body.read()?,
            stop: stop.as_ref().and_then(Value::as_bool),
        })
    }

    /// Whether this was meant for an answer that has ended meanwhile. Before the first request
    /// there was none, and a client that forgot its prompt wants to hear so.
    pub(super) fn is_late(&self, asked_before: bool) -> bool {
        let changes = || {
            CHANGEABLE
                .iter()
                .chain(&["seed", "logit_bias", "repeat_last_n"])
        };
        !self.is_request()
            && (self.stop == Some(true) || asked_before && changes().any(|field| self.has(field)))
    }

    /// Applies it to a running answer, or changes nothing and says why.
    pub(super) fn apply(&self, body: &JsonBody, answers: &Answers) -> Result<(), ApiError> {
        if self.is_request() {
            let message = "an answer is running; the next request may come after its `done`";
            return Err(ApiError::new(ErrorKind::BadRequest, message));
        }
        let is_control = |field: &str| field == "stop" && self.stop.is_some();
        let settled = SETTLED.into_iter().find(|f| self.has(f) && !is_control(f));
        if let Some(field) = settled {
            return Err(ApiError::field(
                field,
                "cannot be changed while an answer runs",
            ));
        }
        let patch = body.read::<SamplingFields>()?.patch();
        if patch != SamplingPatch::default() {
            answers.update(&answer::checked_patch(&answers.model, patch)?);
        }
        if self.stop == Some(true) {
            answers.stop();
        }
        Ok(())
    }

    fn is_request(&self) -> bool {
        self.has("prompt") || self.has("messages")
    }

    /// Whether a field is there; `null` counts as absent.
    fn has(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(Option::is_some)
    }
}
