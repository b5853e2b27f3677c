//! Ways of choosing tokens, and of ending with them, that other servers have and this one has not.
//!
//! Their clients send these fields with every request, switched off. Switched on, they would
//! change every token of the answer, so that is a 400; off, they say what is done anyway.

use serde::Deserialize;

use crate::error::ApiError;
use crate::limits::JsonBody;

/// The fields, wherever a dialect has them.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ForeignFields {
    mirostat: Option<f64>,
    dry_multiplier: Option<f64>,
    xtc_probability: Option<f64>,
    dynatemp_range: Option<f64>,
    top_n_sigma: Option<f64>,
    adaptive_target: Option<f64>,
    min_keep: Option<f64>,
    min_tokens: Option<f64>,
    stop_token_ids: Option<Vec<f64>>,
}

impl ForeignFields {
    /// Refuses those that switch one of them on; `place` stands before their names.
    pub(crate) fn refuse(&self, place: &str) -> Result<(), ApiError> {
        let stop_tokens = self.stop_token_ids.as_ref();
        // Some are switched off by zero, some by a negative number.
        let on = [
            ("mirostat", self.mirostat),
            ("dry_multiplier", self.dry_multiplier),
            ("xtc_probability", self.xtc_probability),
            ("dynatemp_range", self.dynatemp_range),
            ("top_n_sigma", self.top_n_sigma),
            ("adaptive_target", self.adaptive_target),
            ("min_keep", self.min_keep),
            ("min_tokens", self.min_tokens),
            (
                "stop_token_ids",
                stop_tokens.map(|tokens| tokens.len() as f64),
            ),
        ];
        match on.into_iter().find(|(_, value)| value.unwrap_or(0.0) > 0.0) {
            Some((field, _)) => Err(ApiError::field(
                format!("{place}{field}"),
                "is not supported; leave it out, or send it switched off",
            )),
            None => Ok(()),
        }
    }
}

/// Refuses a request that switches one of them on.
pub(crate) fn refuse_foreign(body: &JsonBody) -> Result<(), ApiError> {
    body.read::<ForeignFields>()?.refuse("")
}
