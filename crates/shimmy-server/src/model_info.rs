//! What is known of models: in lists, of their files, and while they are in memory.
//!
//! Plain data, as the routes that list models show it; it must not know who finds out.

use serde::Serialize;
use shimmy_chat::Message;
use shimmy_engine::EngineStatus;
use utoipa::ToSchema;

use crate::model::LoadedModel;

/// What is known of a model before it is loaded, as `/api/models` shows it.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ModelInfo {
    /// The name requests use.
    pub name: String,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// Its architecture, as the file calls it: `llama`, `qwen3`, …
    pub model_type: String,
    /// Number of weights.
    pub parameter_count: Option<u64>,
    /// How the weights are stored: `Q4_K_M`, …
    pub quantization: Option<String>,
    /// Tokens of context it was trained with.
    pub context_length: Option<u32>,
    /// Which of the known places it was found in.
    pub source: String,
    /// When its file was last changed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub modified: Option<jiff::Timestamp>,
    /// Whether it is in memory now.
    pub loaded: bool,
    /// How much of it has been read, 0 to 1, while it is being loaded.
    pub loading: Option<f32>,
    /// Whether it has a chat template, as far as is known without loading it.
    pub chat: bool,
    /// What else it can do, as far as is known without loading it.
    pub capabilities: Vec<Capability>,
    /// The SHA-256 of its file, where the place that it was found in names files by it: 64
    /// hexadecimal digits. It is never computed for this.
    pub sha256: Option<String>,
    /// Why it cannot be loaded, if that is known already: a missing shard, a broken header.
    pub problem: Option<String>,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// Its architecture, and `clip` if it has a projector for pictures.
    pub families: Vec<String>,
}

/// What a model can do beside continuing texts and conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Its template tells it of tools.
    Tools,
    /// It thinks before it answers.
    Thinking,
    /// It fills gaps in texts.
    Insert,
    /// It makes vectors of texts, and nothing else.
    Embedding,
    /// It ranks texts, and nothing else.
    Rerank,
    /// It sees pictures.
    Vision,
}

/// What a model's file says of it, beyond what lists show.
#[derive(Debug, Clone, Default)]
pub struct ModelDetails {
    /// What lists show.
    pub info: ModelInfo,
    /// Its own chat template.
    pub template: Option<String>,
    /// Its licence, a name or a text.
    pub license: Option<String>,
    /// What it is told before every conversation that brings no such words of its own.
    pub system: Option<String>,
    /// Messages that every conversation goes on from.
    pub messages: Vec<Message>,
    /// Tokens that a request may hold, or would if the model were loaded.
    pub context: usize,
    /// How its makers would have it asked, by Ollama's names. A value may be a list.
    pub parameters: Vec<(String, serde_json::Value)>,
    /// Its metadata by key. What is too long to be kept is null.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// How one model is doing, as `/api/models/{name}/status` shows it.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ModelStatus {
    /// What is known of the file.
    #[serde(flatten)]
    pub info: ModelInfo,
    /// Where it is between disk and memory.
    pub state: ModelState,
    /// Why it could not be loaded the last time that somebody tried, if it could not.
    pub failure: Option<String>,
    /// Its stay in memory, while it is there.
    pub residence: Option<Residence>,
    /// The engine, while the model is loaded.
    pub engine: Option<EngineReport>,
}

/// Where a model is between disk and memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    /// On disk.
    #[default]
    Unloaded,
    /// Being loaded.
    Loading,
    /// In memory.
    Loaded,
}

/// How a model stays in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Residence {
    /// Requests that use it now, those in their answers included.
    pub users: usize,
    /// Whether it stays whatever else needs memory.
    pub pinned: bool,
    /// When it is unloaded if nothing uses it before; none means never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<jiff::Timestamp>,
    /// What it takes at most: weights, the cache as far as it may grow, buffers and adapters.
    pub memory_bytes: u64,
    /// How much of that is on GPUs.
    pub gpu_bytes: u64,
}

/// A running engine in numbers.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct EngineReport {
    /// Which engine it is.
    #[schema(example = "llama.cpp")]
    pub name: &'static str,
    /// Whether it takes requests.
    pub alive: bool,
    /// Requests being computed.
    pub running: usize,
    /// Requests waiting for their turn.
    pub waiting: usize,
    /// Cells of the KV cache in use.
    pub kv_cells_used: usize,
    /// Cells of the KV cache in all.
    pub kv_cells: usize,
    /// Bytes of prefixes of ended requests that are kept outside the KV cache.
    pub offloaded_bytes: u64,
    /// Tokens that one request may hold.
    pub context: usize,
    /// How long the model took to load, in milliseconds.
    pub load_ms: u64,
}

impl EngineReport {
    /// A glance at the engine behind a loaded model.
    pub fn of(model: &LoadedModel) -> Self {
        let engine = model.session.engine();
        let EngineStatus {
            alive,
            running,
            occupied,
            cells_used,
            cells,
            offloaded_bytes,
            ..
        } = engine.status();
        Self {
            name: model.engine,
            alive,
            running,
            waiting: occupied.saturating_sub(running),
            kv_cells_used: cells_used,
            kv_cells: cells,
            offloaded_bytes,
            context: engine.context(),
            load_ms: u64::try_from(model.load_time.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// How many models there are.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct ModelCounts {
    /// Those that were found.
    pub(crate) total: usize,
    /// Those of them in memory.
    pub(crate) loaded: usize,
    /// Those that are being loaded.
    pub(crate) loading: usize,
}

impl ModelCounts {
    pub(crate) fn of(models: &[ModelInfo]) -> Self {
        Self {
            total: models.len(),
            loaded: models.iter().filter(|model| model.loaded).count(),
            loading: models
                .iter()
                .filter(|model| model.loading.is_some())
                .count(),
        }
    }
}
