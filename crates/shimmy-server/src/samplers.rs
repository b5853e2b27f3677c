//! Ways of choosing tokens that other servers have and this one has not.
//!
//! Their clients send these fields with every request, switched off. Switched on, they would
//! change every token of the answer, so that is a 400; off, they say what is done anyway.

use serde::Deserialize;

use crate::error::ApiError;
use crate::limits::JsonBody;

#[derive(Debug, Deserialize)]
struct ForeignFields {
    mirostat: Option<f64>,
    dry_multiplier: Option<f64>,
    xtc_probability: Option<f64>,
    dynatemp_range: Option<f64>,
    top_n_sigma: Option<f64>,
    adaptive_target: Option<f64>,
    min_keep: Option<f64>,
}

/// Refuses a request that switches one of them on.
pub(crate) fn refuse_foreign(body: &JsonBody) -> Result<(), ApiError> {
    let fields: ForeignFields = body.read()?;
    // Some are switched off by zero, some by a negative number.
    let on = [
        ("mirostat", fields.mirostat),
        ("dry_multiplier", fields.dry_multiplier),
        ("xtc_probability", fields.xtc_probability),
        ("dynatemp_range", fields.dynatemp_range),
        ("top_n_sigma", fields.top_n_sigma),
        ("adaptive_target", fields.adaptive_target),
        ("min_keep", fields.min_keep),
    ];
    match on.into_iter().find(|(_, value)| value.unwrap_or(0.0) > 0.0) {
        Some((field, _)) => Err(ApiError::field(
            field,
            "is not supported; leave it out, or send 0",
        )),
        None => Ok(()),
    }
}
