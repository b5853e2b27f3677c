//! The seam to whatever knows models: finds them, loads them, forgets them.
//!
//! It must not know where models come from, which backend computes them, or any dialect.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::adapters::{AdapterFailure, AdapterListing, NewAdapter};
use crate::metrics::ModelEvents;
use crate::model::LoadedModel;
use crate::model_info::{ModelDetails, ModelInfo, ModelStatus};

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
