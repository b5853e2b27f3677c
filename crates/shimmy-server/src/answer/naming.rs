//! From the name in a request to its model.

use std::sync::Arc;

use crate::adapters::AdapterFailure;
use crate::error::ApiError;
use crate::fields::LoraField;
use crate::loader::KeepAlive;
use crate::model::LoadedModel;
use crate::state::AppState;

/// Longest name of a model that is looked up.
const NAME_BYTES: usize = 512;

/// The field that names the model, in every dialect.
pub(crate) const MODEL_FIELD: &str = "model";

/// The name that stands for whichever model is the default one.
pub(crate) const DEFAULT_MODEL: &str = "default";

/// Finds or loads the model that a request names.
pub(crate) async fn find_model(
    state: &AppState,
    name: Option<&str>,
    keep_alive: KeepAlive,
) -> Result<Arc<LoadedModel>, ApiError> {
    let name = named(name)?;
    // A load can take as long as a disk is slow; a server that ends does not wait for it.
    tokio::select! {
        biased;
        () = state.aborting.cancelled() => Err(ApiError::shutting_down()),
        model = state.loader.load(name, keep_alive) => Ok(model?),
    }
}

/// Makes sure that the adapters that a request names are loaded.
pub(super) async fn adapt(
    state: &AppState,
    model: &LoadedModel,
    lora: &[LoraField],
) -> Result<(), ApiError> {
    for name in lora.iter().filter_map(LoraField::name) {
        if model.adapters.named(name).is_some() {
            continue;
        }
        match state.loader.adapt(model, name).await {
            // Whoever reads the field says so, and by what name it is known.
            Ok(()) | Err(AdapterFailure::NotFound { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}

/// Takes the model that a request names out of memory; false when it was not loaded.
pub(crate) async fn unload_model(state: &AppState, name: Option<&str>) -> Result<bool, ApiError> {
    let name = named(name)?.unwrap_or(DEFAULT_MODEL);
    Ok(state.loader.unload(name).await?)
}

/// The name in a request, if it says more than "the default one".
fn named(name: Option<&str>) -> Result<Option<&str>, ApiError> {
    let name = name.filter(|name| !name.is_empty() && *name != DEFAULT_MODEL);
    name.map_or(Ok(()), check_model_name)?;
    Ok(name)
}

/// Refuses what cannot be a model's name before anything looks for it.
pub(crate) fn check_model_name(name: &str) -> Result<(), ApiError> {
    check_name(MODEL_FIELD, name)
}

/// The same for the name in another field.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), ApiError> {
    if name.len() > NAME_BYTES {
        let reason = format!("is longer than {NAME_BYTES} bytes");
        return Err(ApiError::field(field, reason));
    }
    if name.chars().any(char::is_control) {
        return Err(ApiError::field(field, "holds control characters"));
    }
    Ok(())
}
