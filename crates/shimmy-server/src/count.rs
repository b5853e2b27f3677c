//! How many tokens a request's prompt has, without answering it.

use std::sync::Arc;

use shimmy_engine::{Prompt, SubmitError};

use crate::answer::{Ask, find_model};
use crate::blocking;
use crate::error::{ApiError, ErrorKind};
use crate::model::LoadedModel;
use crate::state::AppState;

/// How many contexts a prompt may fill that is only counted, or only made tokens of: who counts cuts
/// to fit, and nobody cuts to a tenth.
const COUNTED_CONTEXTS: usize = 8;

/// Refuses a prompt that is far longer than anybody wants to count, before all of it is tokens.
pub(crate) fn check(model: &LoadedModel, prompt: &Prompt) -> Result<(), ApiError> {
    let limit = COUNTED_CONTEXTS.saturating_mul(model.session.engine().context());
    match model.session.refuse_overlong(prompt, limit) {
        Err(SubmitError::PromptFarTooLong { at_least, .. }) => {
            let message = format!(
                "the text has at least {at_least} tokens; no more than {limit} are counted, which \
                 is {COUNTED_CONTEXTS} times what the model's context holds"
            );
            Err(ApiError::new(ErrorKind::ContextLength, message))
        }
        checked => Ok(checked?),
    }
}

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
        check(model, &plan.prompt)?;
        tokens += model.session.tokenize(&plan.prompt)?.len();
    }
    Ok(tokens)
}
