//! `POST /v1/load_lora_adapter` and `/v1/unload_lora_adapter`, as vLLM has them: adapters come and
//! go while the server runs, and their names are models' names.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::error::ErrorBody;
use crate::adapters::NewAdapter;
use crate::answer::{MODEL_FIELD, check_name};
use crate::error::ApiError;
use crate::failures::Answering;
use crate::limits::JsonBody;
use crate::state::AppState;

/// An adapter to load.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct LoadLoraAdapter {
    /// The name that requests shall use.
    lora_name: String,
    /// Its GGUF file: a path inside a folder that is searched for models, absolute or from there.
    lora_path: String,
    /// The model that it is for; needed where it fits several.
    model: Option<String>,
}

/// An adapter to unload.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct UnloadLoraAdapter {
    lora_name: String,
}

/// Load a LoRA adapter
///
/// From then on its name is a model's name in every dialect.
#[utoipa::path(
    post, path = "/v1/load_lora_adapter", tag = "OpenAI", operation_id = "loadLoraAdapter",
    request_body(content = LoadLoraAdapter, examples(
        ("An example" = (value = json!({ "lora_name": "pirate", "lora_path": "pirate.gguf" }))),
    )),
    responses(
        (status = 200, description = "It can be named.", body = String, content_type = "text/plain"),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn load(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<String, ApiError> {
    let LoadLoraAdapter {
        lora_name: name,
        lora_path: path,
        model,
    } = body.read()?;
    check_lora_name(&name)?;
    if path.is_empty() {
        return Err(ApiError::field("lora_path", "is empty"));
    }
    if let Some(model) = &model {
        check_name(MODEL_FIELD, model)?;
    }
    let adapter = NewAdapter {
        name: &name,
        path: &path,
        base: model.as_deref().filter(|model| !model.is_empty()),
    };
    tokio::select! {
        biased;
        () = state.aborting.cancelled() => Err(ApiError::shutting_down()),
        loaded = state.loader.load_adapter(adapter) => {
            loaded?;
            Ok(format!("Success: LoRA adapter '{name}' added successfully."))
        }
    }
}

/// Unload a LoRA adapter
///
/// New requests do not get it; it leaves memory, and this answers, when the last answer that uses
/// it has ended.
#[utoipa::path(
    post, path = "/v1/unload_lora_adapter", tag = "OpenAI", operation_id = "unloadLoraAdapter",
    request_body(content = UnloadLoraAdapter, examples(
        ("An example" = (value = json!({ "lora_name": "adapter-0" }))),
    )),
    responses(
        (status = 200, description = "It is gone.", body = String, content_type = "text/plain"),
        Answering<ErrorBody>,
    ),
)]
pub(crate) async fn unload(
    State(state): State<Arc<AppState>>,
    body: JsonBody,
) -> Result<String, ApiError> {
    let UnloadLoraAdapter { lora_name: name } = body.read()?;
    check_lora_name(&name)?;
    tokio::select! {
        biased;
        () = state.aborting.cancelled() => Err(ApiError::shutting_down()),
        unloaded = state.loader.unload_adapter(&name) => {
            unloaded?;
            Ok(format!("Success: LoRA adapter '{name}' removed successfully."))
        }
    }
}

fn check_lora_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(ApiError::field("lora_name", "is empty"));
    }
    check_name("lora_name", name)
}
