//! What every handler shares: the loader, the limits, and whether the server is draining.
//!
//! It owns the seam to whatever knows models ([`Loader`]); it must not know where models come
//! from, which backend computes them, or any dialect.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::Serialize;
use shimmy_chat::{ChatTemplate, Message, RenderRequest, TemplateError};
use shimmy_engine::{AdapterScale, EngineStatus, Prompt, SamplingParams, Session};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use crate::adapters::{AdapterFailure, AdapterListing, Adapters, NewAdapter};
use crate::config::ServerConfig;
use crate::metrics::{Metrics, ModelEvents};
use crate::responses::KeptResponses;
use crate::store::{NoStore, Store};

/// A model that is ready to answer, as one request sees it. Cheap to clone.
#[derive(Clone)]
pub struct LoadedModel {
    /// The name it answers under: its own, which `info` has too, or that of the adapter that the
    /// request named.
    pub name: String,
    /// Its tokenizer and its engine.
    pub session: Session,
    /// How its messages become a prompt.
    pub template: Arc<ChatTemplate>,
    /// What is known of it.
    pub info: ModelInfo,
    /// How tokens are chosen where a request does not say.
    pub default_sampling: SamplingParams,
    /// Which adapters apply where the request does not say.
    pub default_adapters: Vec<AdapterScale>,
    /// The adapters loaded into its engine.
    pub adapters: Arc<Adapters>,
    /// How long it took to load.
    pub load_time: Duration,
    /// Which engine computes it, by its name.
    pub engine: &'static str,
    /// Where its layers are computed, in words.
    pub placement: String,
    /// Keeps it in memory for as long as this request needs it.
    pub hold: Hold,
}

/// Keeps a model in memory until the last clone is dropped: whoever lends a model out learns by its
/// own type's `Drop` that it is back. The default keeps nothing.
#[derive(Clone, Default)]
pub struct Hold(Option<Arc<dyn Any + Send + Sync>>);

impl Hold {
    /// A hold that drops `lease` with its last clone.
    pub fn new(lease: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(lease)))
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.0.is_some()).finish()
    }
}

impl LoadedModel {
    /// Whether the request named an adapter instead of the model.
    pub fn is_named_by_adapter(&self) -> bool {
        self.name != self.info.name
    }

    /// The prompt for a text that is no conversation: one user message, after the system's if there
    /// is one, where the model has a chat template, and the text itself where it has none.
    pub fn lone_prompt(&self, system: Option<&str>, text: &str) -> Result<Prompt, TemplateError> {
        if !self.template.is_chat_model() {
            let system = system.map_or_else(String::new, |system| format!("{system}\n\n"));
            return Ok(Prompt::marked(format!("{system}{text}")));
        }
        self.template.render(&RenderRequest {
            messages: &lone_messages(system, text),
            add_generation_prompt: true,
            tools: None,
            kwargs: &serde_json::Map::new(),
        })
    }
}

/// A text that is no conversation, as one.
pub(crate) fn lone_messages(system: Option<&str>, text: &str) -> Vec<Message> {
    let system = system.map(|system| Message::new("system", system));
    system
        .into_iter()
        .chain([Message::new("user", text)])
        .collect()
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedModel")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

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
    /// Tokens that a request may hold, or would if the model were loaded.
    pub context: usize,
    /// How its makers would have tokens chosen, by Ollama's names for it.
    pub parameters: Vec<(&'static str, f64)>,
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

/// Why there is no model to answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No model has that name.
    #[error("model '{name}' not found")]
    NotFound {
        /// The name asked for.
        name: String,
        /// Names that are close to it, best first.
        suggestions: Vec<String>,
    },
    /// Several models fit the name.
    #[error("model '{name}' is ambiguous")]
    Ambiguous {
        /// The name asked for.
        name: String,
        /// Those that fit.
        candidates: Vec<String>,
    },
    /// There is no model at all.
    #[error("no model is installed")]
    NoModel {
        /// How to get one.
        hint: String,
    },
    /// No name was given, and there is no base model and more than one candidate.
    #[error("no model was named and there is no default one")]
    NoDefault {
        /// The models there are.
        names: Vec<String>,
    },
    /// The backend cannot load it.
    #[error("load failed: {reason}")]
    Failed {
        /// The model.
        name: String,
        /// Why.
        reason: String,
    },
    /// It would not fit even if everything else that may go were gone.
    #[error(
        "load failed: model '{name}' needs {needed_bytes} bytes of memory, and {budget_bytes} may \
         be used ({hint})"
    )]
    TooBig {
        /// The model.
        name: String,
        /// What it takes at most.
        needed_bytes: u64,
        /// What there is for it.
        budget_bytes: u64,
        /// What it is made of, and what to do.
        hint: String,
    },
    /// There is no room for it while the models in memory are at work.
    #[error("no memory is free for model '{name}' while others are in use")]
    Busy {
        /// The model.
        name: String,
    },
}

/// How long a model stays in memory after a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeepAlive {
    /// As an earlier request for the same model said, or else the server's settings.
    #[default]
    Default,
    /// This long; zero unloads it as soon as nothing uses it.
    For(Duration),
    /// Until somebody unloads it, or its memory is needed while nothing uses it.
    Forever,
}

/// A model in memory.
#[derive(Debug, Clone)]
pub struct Resident {
    /// The model.
    pub model: Arc<LoadedModel>,
    /// When it is unloaded if nothing uses it before; none means never.
    pub expires_at: Option<jiff::Timestamp>,
    /// What it takes: weights, cache and buffers, worked out from the file and the settings.
    pub memory_bytes: u64,
    /// How much of that is on GPUs.
    pub gpu_bytes: u64,
}

/// Whatever knows models: finds them, loads them, forgets them.
pub trait Loader: Send + Sync {
    /// Every model known now, by name. Does not block.
    fn list(&self) -> Vec<ModelInfo>;

    /// Looks for models again. Blocks on the file system.
    fn discover(&self) -> Vec<ModelInfo>;

    /// The named model, or the default one, loading it if need be; by the name of an adapter its
    /// model with the adapter applied. Requests for a model that is
    /// being loaded wait for that same load; dropping the future does not abort it.
    fn load<'a>(
        &'a self,
        name: Option<&'a str>,
        keep_alive: KeepAlive,
    ) -> BoxFuture<'a, Result<Arc<LoadedModel>, LoadError>>;

    /// Takes a model out of memory; false when it was not loaded. `default` is the default one.
    fn unload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, LoadError>>;

    /// The models in memory.
    fn residents(&self) -> Vec<Resident>;

    /// How a model is doing. `default` is the default one.
    fn status(&self, name: &str) -> Result<ModelStatus, LoadError>;

    /// What a model's file says of it, without loading it. `default` is the default one.
    fn details<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelDetails, LoadError>>;

    /// The adapters that requests may name, loaded or not. Does not block.
    fn adapters(&self) -> Vec<AdapterListing>;

    /// Makes sure that requests to this model can use an adapter, loading it if need be.
    fn adapt<'a>(
        &'a self,
        model: &'a LoadedModel,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), AdapterFailure>>;

    /// Loads an adapter that a client names by its file, and its model if need be; from then on it
    /// can be named as a model. Dropping the future does not abort the load.
    fn load_adapter<'a>(
        &'a self,
        adapter: NewAdapter<'a>,
    ) -> BoxFuture<'a, Result<(), AdapterFailure>>;

    /// Takes an adapter out of memory once no request uses it any more; new ones do not get it.
    fn unload_adapter<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), AdapterFailure>>;

    /// What has happened to models since the start, for `/metrics`.
    fn events(&self) -> &ModelEvents;

    /// Facts about the machine and the build for `/diag`: an object. Never secrets or paths.
    fn diagnostics(&self) -> serde_json::Value;
}

/// What every handler shares.
pub struct AppState {
    pub(crate) loader: Arc<dyn Loader>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: ServerConfig,
    pub(crate) metrics: Metrics,
    pub(crate) started: Instant,
    /// Cancelled when shutdown begins: readiness turns 503 and no new work is taken.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the time to drain is over: every running answer ends with an error.
    pub(crate) aborting: CancellationToken,
    /// What draining waits for: connections, upgraded ones too.
    pub(crate) tasks: TaskTracker,
    /// Places for WebSockets, which the accept loop no longer counts once they are upgraded.
    pub(crate) websockets: Arc<Semaphore>,
    /// Answers that a later request can go on from.
    pub(crate) responses: KeptResponses,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl AppState {
    /// The state of a server that starts now.
    pub fn new(loader: Arc<dyn Loader>, config: ServerConfig) -> Self {
        Self {
            metrics: Metrics::new(&loader),
            loader,
            store: Arc::new(NoStore),
            websockets: Arc::new(Semaphore::new(config.max_websockets)),
            responses: KeptResponses::new(config.max_kept_responses, config.max_kept_bytes),
            config,
            started: Instant::now(),
            draining: CancellationToken::new(),
            aborting: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// The same with a store; without one, models are neither fetched nor deleted here.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = store;
        self
    }

    /// Whether shutdown has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// How many models there are, and how many of them are loaded.
    pub(crate) fn model_counts(&self) -> ModelCounts {
        ModelCounts::of(&self.loader.list())
    }
}
