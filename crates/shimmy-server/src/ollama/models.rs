//! `GET /api/tags` and `GET /api/ps`: the models there are, and those in memory.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::digest::digest;
use super::error::ErrorBody;
use crate::failures::Guarded;
use crate::loader::Resident;
use crate::model_info::{Capability, ModelInfo};
use crate::state::AppState;

/// The models there are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaModelList)]
pub(crate) struct ModelList {
    models: Vec<Model>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaModel)]
struct Model {
    name: String,
    /// The same.
    model: String,
    /// When its file was last changed.
    #[schema(value_type = Option<String>, format = DateTime)]
    modified_at: Option<Timestamp>,
    /// Bytes of its files.
    size: u64,
    /// The SHA-256 of its file where that is known, elsewhere a fingerprint of its name, size and
    /// time of change.
    digest: String,
    details: Details,
    capabilities: Vec<&'static str>,
}

/// What a model is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaDetails)]
pub(super) struct Details {
    /// Always empty: where a model came from is not kept.
    parent_model: &'static str,
    /// Always `gguf`.
    format: &'static str,
    /// Its architecture.
    family: String,
    families: Vec<String>,
    /// Such as `7.2B`; empty where it is not known.
    parameter_size: String,
    /// Such as `Q4_K_M`; empty where it is not known.
    quantization_level: String,
}

/// The models in memory.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaRunningList)]
pub(crate) struct RunningList {
    models: Vec<Running>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OllamaRunning)]
struct Running {
    name: String,
    /// The same.
    model: String,
    /// Bytes that it takes: weights, cache and buffers.
    size: u64,
    digest: String,
    details: Details,
    /// When it is unloaded if nobody uses it; centuries ahead where it never is.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// How much of `size` is on GPUs.
    size_vram: u64,
    /// Tokens that one request may hold.
    context_length: usize,
}

/// The models there are, as Ollama's clients list them
#[utoipa::path(
    get, path = "/api/tags", tag = "Ollama", operation_id = "ollamaTags",
    responses(
        (status = 200, description = "Those that can be loaded.", body = ModelList),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn tags(State(state): State<Arc<AppState>>) -> Json<ModelList> {
    let models = state.loader.list().into_iter();
    let models = models.filter(|model| model.problem.is_none());
    Json(ModelList {
        models: models.map(Model::from).collect(),
    })
}

/// The models in memory, as Ollama's clients list them
#[utoipa::path(
    get, path = "/api/ps", tag = "Ollama", operation_id = "ollamaRunning",
    responses(
        (status = 200, description = "Those that are loaded.", body = RunningList),
        Guarded<ErrorBody>,
    ),
)]
pub(crate) async fn running(State(state): State<Arc<AppState>>) -> Json<RunningList> {
    let now = Timestamp::now();
    let residents = state.loader.residents().into_iter();
    Json(RunningList {
        models: residents.map(|model| Running::new(model, now)).collect(),
    })
}

/// What a model can do, in Ollama's words.
pub(super) fn capabilities(model: &ModelInfo) -> Vec<&'static str> {
    let is_other = |&capability| matches!(capability, Capability::Embedding | Capability::Rerank);
    let completes = !model.capabilities.iter().any(is_other);
    let completes = completes.then_some("completion");
    let others = model
        .capabilities
        .iter()
        .map(|capability| match capability {
            Capability::Tools => "tools",
            Capability::Thinking => "thinking",
            Capability::Insert => "insert",
            Capability::Embedding => "embedding",
            Capability::Rerank => "rerank",
            Capability::Vision => "vision",
        });
    completes.into_iter().chain(others).collect()
}

impl From<&ModelInfo> for Details {
    fn from(info: &ModelInfo) -> Self {
        Self {
            parent_model: "",
            format: "gguf",
            family: info.model_type.clone(),
            families: match info.families.as_slice() {
                [] => vec![info.model_type.clone()],
                families => families.to_vec(),
            },
            parameter_size: info.parameter_count.map(rounded).unwrap_or_default(),
            quantization_level: info.quantization.clone().unwrap_or_default(),
        }
    }
}

impl From<ModelInfo> for Model {
    fn from(info: ModelInfo) -> Self {
        Self {
            model: info.name.clone(),
            modified_at: info.modified,
            size: info.size_bytes,
            digest: digest(&info),
            details: Details::from(&info),
            capabilities: capabilities(&info),
            name: info.name,
        }
    }
}

impl Running {
    fn new(resident: Resident, now: Timestamp) -> Self {
        let model = resident.model;
        Self {
            name: model.name.clone(),
            model: model.name.clone(),
            size: resident.memory_bytes,
            digest: digest(&model.info),
            details: Details::from(&model.info),
            expires_at: resident.expires_at.unwrap_or_else(|| never(now)),
            size_vram: resident.gpu_bytes,
            context_length: model.session.engine().context(),
        }
    }
}

/// What these clients take for "never": the longest time that Go can say, from now on.
fn never(now: Timestamp) -> Timestamp {
    let longest = SignedDuration::from_nanos(i64::MAX);
    now.checked_add(longest).unwrap_or(Timestamp::MAX)
}

/// A number of weights as Ollama writes it.
fn rounded(count: u64) -> String {
    let count = count as f64;
    let (divisor, digits, unit) = match count {
        ..1e3 => return format!("{count:.0}"),
        ..1e6 => (1e3, 0, "K"),
        ..1e9 => (1e6, 2, "M"),
        _ => (1e9, 1, "B"),
    };
    let number = count / divisor;
    let digits = if number.fract() == 0.0 { 0 } else { digits };
    format!("{number:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_weights_are_rounded_as_ollama_does() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (5678, "6K"),
            (22_713_216, "22.71M"),
            (134_000_000, "134M"),
            (7_241_732_096, "7.2B"),
            (70_000_000_000, "70B"),
        ] {
            assert_eq!(rounded(count), text);
        }
    }

    #[test]
    fn never_is_a_date_that_every_client_can_read() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(never(now).to_string()[..4].parse::<u32>().unwrap(), 2319);
        assert_eq!(never(Timestamp::MAX), Timestamp::MAX);
    }

    #[test]
    fn a_model_of_vectors_completes_nothing() {
        let with = |list: &[Capability]| {
            capabilities(&ModelInfo {
                capabilities: list.to_vec(),
                ..ModelInfo::default()
            })
        };
        assert_eq!(with(&[]), ["completion"]);
        assert_eq!(with(&[Capability::Embedding]), ["embedding"]);
        let several = [Capability::Tools, Capability::Thinking];
        assert_eq!(with(&several), ["completion", "tools", "thinking"]);
    }
}
