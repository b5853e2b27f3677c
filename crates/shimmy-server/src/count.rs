//! How many tokens a request's prompt has, without answering it.

use std::sync::Arc;

use crate::answer::{Ask, find_model};
use crate::blocking;
use crate::error::ApiError;
use crate::model::LoadedModel;
use crate::state::AppState;

/// How many contexts a prompt may fill that is only counted: who counts cuts to fit, and nobody cuts
/// to a tenth.
const COUNTED_CONTEXTS: usize = 8;

/// Renders and tokenises as for an answer. What does not fit the context is counted too,
/// unless it is far too long.
pub(crate) async fn count(state: &AppState, ask: Ask) -> Result<usize, ApiError> {
    let model = find_model(state, ask.model.as_deref(), ask.keep_alive).await?;
    blocking::run(blocking::is_long(ask.bytes), move || tokens(&model, ask)).await
}

fn tokens(model: &Arc<LoadedModel>, ask: Ask) -> Result<usize, ApiError> {
    let plans = ask.input.plan(model, ask.params.constraint)?;
    let mut tokens = 0;
    for plan in &plans {
        let limit = COUNTED_CONTEXTS * model.session.engine().context();
        tokens += model.session.tokenize_within(&plan.prompt, limit)?.len();
    }
    Ok(tokens)
}
