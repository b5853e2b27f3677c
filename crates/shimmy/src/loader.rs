//! From a model's name to a running engine.
//!
//! Joins what there is ([`Catalog`]) with what is in memory ([`Residents`]). The file system is
//! only touched on threads that may block. It must not know HTTP.

mod adapters;
mod budget;
mod catalog;
mod details;
mod files;
mod keep;
mod lora;
mod open;
mod package;
mod pairing;
mod problems;
mod residents;
mod target;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::json;
use shimmy_models::{AdapterFile, Roots};
use shimmy_server::{
    AdapterFailure, AdapterListing, EngineReport, KeepAlive, LoadError, LoadedModel, Loader,
    ModelDetails, ModelEvents, ModelInfo, ModelState, ModelStatus, NewAdapter, Resident,
};

use self::adapters::{Meant, Shelf};
use self::budget::Limits;
use self::catalog::Catalog;
pub(crate) use self::files::Known;
pub(crate) use self::keep::Keep;
pub(crate) use self::package::{MAX_BYTES as MAX_TEXT, Package};
use self::residents::{Budget, Glance, Opening, Residents, Stay};
use self::target::Target;
use crate::backend::{self, OpenOptions};
use crate::config::{Adapted, MemoryBudget, ModelConfig, ResidenceConfig};
use crate::{memory, places};

/// What to do when there is no model.
pub(crate) const HINT: &str = "put a .gguf file into ./models or ~/models, name one with \
                               --model-path FILE or SHIMMY_BASE_GGUF, or get one: \
                               shimmy pull qwen3:0.6b";

/// The loader of this machine's files.
pub(crate) struct LocalLoader {
    catalog: Arc<Catalog>,
    residents: Arc<Residents>,
    shelf: Arc<Shelf>,
    residence: ResidenceConfig,
    /// What opening a model takes, besides the model.
    opening: Arc<(ModelConfig, OpenOptions)>,
}

impl LocalLoader {
    /// A loader that has not looked anywhere yet.
    pub(crate) fn new(
        models: ModelConfig,
        options: OpenOptions,
        residence: ResidenceConfig,
    ) -> Self {
        let roots = Roots::from_settings(&places::settings(&models));
        // A command's adapters belong to whichever model it loads.
        let loras = match models.adapted {
            Adapted::Base => models.loras.iter().map(|lora| lora.path.clone()).collect(),
            Adapted::Any => Vec::new(),
        };
        let catalog = Catalog::new(models.base.clone(), roots)
            .with_loras(loras)
            .with_names(models.names.clone());
        Self {
            catalog: Arc::new(catalog),
            shelf: Arc::default(),
            residents: Arc::new(Residents::new(budget(&residence))),
            residence,
            opening: Arc::new((models, options)),
        }
    }

    /// A loader for commands that only look.
    pub(crate) fn without_engine(models: ModelConfig) -> Self {
        let options = OpenOptions {
            parallel: 1,
            ..OpenOptions::default()
        };
        Self::new(models, options, ResidenceConfig::default())
    }

    /// Ends every engine and every load, and waits until their memory is given back. Blocks.
    pub(crate) fn shutdown(&self) {
        self.residents.shutdown();
    }

    /// The folders that are searched.
    pub(crate) fn roots(&self) -> Vec<String> {
        let roots = self.catalog.roots().paths();
        roots.map(|path| path.display().to_string()).collect()
    }

    /// The adapters that were found. Blocks on the disk if nobody has looked yet.
    pub(crate) fn adapter_files(&self) -> Vec<AdapterFile> {
        let found = self.catalog.found();
        let files = found.adapters.iter().map(|adapter| &adapter.file);
        files.cloned().collect()
    }

    /// Files that look like models and are none, with the reason. Blocks as above.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.catalog.found().problems.clone()
    }

    /// How a model stays in memory if nobody wishes otherwise: the base model for as long as its
    /// memory is not needed, because it is what the server was started for.
    fn stay(&self, target: &Target) -> Stay {
        let is_pinned = self.residence.pins.iter().any(|name| {
            let pinned = self.catalog.glance(Some(name));
            pinned.is_ok_and(|pinned| pinned.key() == target.key())
        });
        Stay {
            keep: match target {
                Target::File(entry) if !entry.is_base => self.residence.keep,
                Target::File(_) | Target::Stub => Keep::Forever,
            },
            is_pinned,
        }
    }

    /// What is known of a model, loaded or not.
    fn info(&self, target: &Target, glance: &Glance) -> ModelInfo {
        ModelInfo {
            loaded: glance.model.is_some(),
            loading: glance.loading,
            ..target.info()
        }
    }

    /// What a name means, without blocking this thread: a model, or an adapter of one.
    async fn find_with_adapter(
        &self,
        name: Option<&str>,
    ) -> Result<(Target, Option<Meant>), LoadError> {
        if let Some(name) = name
            && let Some(meant) = self.meant(name).await?
        {
            return Ok((Target::from(&meant), Some(meant)));
        }
        match (self.find(name).await, name) {
            // The folders may have been looked at again for it.
            (Err(LoadError::NotFound { .. }), Some(name))
                if let Some(meant) = self.shelf.meant(&self.catalog, name)? =>
            {
                Ok((Target::from(&meant), Some(meant)))
            }
            (target, _) => Ok((target?, None)),
        }
    }

    async fn load_target(
        &self,
        target: &Target,
        keep_alive: KeepAlive,
    ) -> Result<Arc<LoadedModel>, LoadError> {
        let how = (self.stay(target), keep_alive);
        let is_checked = self.residence.memory != MemoryBudget::Unchecked;
        let opening = || opening(target, &self.opening, is_checked);
        let (key, name) = (target.key(), target.name());
        self.residents.load(key, name, how, opening).await
    }

    /// The model that a name means, without blocking this thread.
    async fn find(&self, name: Option<&str>) -> Result<Target, LoadError> {
        if let Ok(target) = self.catalog.glance(name) {
            return Ok(target);
        }
        let (catalog, owned) = (Arc::clone(&self.catalog), name.map(str::to_owned));
        let found = tokio::task::spawn_blocking(move || catalog.find(owned.as_deref()));
        found.await.unwrap_or_else(|error| {
            Err(LoadError::Failed {
                name: name.unwrap_or("default").to_owned(),
                reason: format!("looking for it was interrupted: {error}"),
            })
        })
    }
}

impl Loader for LocalLoader {
    fn list(&self) -> Vec<ModelInfo> {
        let targets = self.catalog.list();
        targets
            .iter()
            .map(|target| self.info(target, &self.residents.glance(target.key())))
            .collect()
    }

    fn discover(&self) -> Vec<ModelInfo> {
        self.catalog.look();
        self.list()
    }

    fn load<'a>(
        &'a self,
        name: Option<&'a str>,
        keep_alive: KeepAlive,
    ) -> BoxFuture<'a, Result<Arc<LoadedModel>, LoadError>> {
        Box::pin(async move {
            let (target, adapter) = self.find_with_adapter(name).await?;
            let model = self.load_target(&target, keep_alive).await?;
            match adapter {
                Some(meant) => self.applied(model, &meant).await,
                None => Ok(model),
            }
        })
    }

    fn unload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, LoadError>> {
        Box::pin(async move {
            let (target, _) = self.find_with_adapter(Some(name)).await?;
            let residents = Arc::clone(&self.residents);
            let unload = move || residents.unload(target.key());
            tokio::task::spawn_blocking(unload)
                .await
                .map_err(|error| LoadError::Failed {
                    name: name.to_owned(),
                    reason: format!("unloading it was interrupted: {error}"),
                })
        })
    }

    fn residents(&self) -> Vec<Resident> {
        self.residents.all()
    }

    fn status(&self, name: &str) -> Result<ModelStatus, LoadError> {
        let target = self.catalog.glance(Some(name))?;
        let glance = self.residents.glance(target.key());
        Ok(ModelStatus {
            info: self.info(&target, &glance),
            state: match (&glance.model, glance.loading) {
                (Some(_), _) => ModelState::Loaded,
                (None, Some(_)) => ModelState::Loading,
                (None, None) => ModelState::Unloaded,
            },
            failure: glance.failure,
            residence: glance.residence,
            engine: glance.model.as_deref().map(EngineReport::of),
        })
    }

    fn details<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelDetails, LoadError>> {
        Box::pin(async move {
            let target = self.find(Some(name)).await?;
            let opening = Arc::clone(&self.opening);
            let glance = self.residents.glance(target.key());
            let read = tokio::task::spawn_blocking(move || details::read(&target, &opening.1));
            let read = read.await.map_err(|error| LoadError::Failed {
                name: name.to_owned(),
                reason: format!("reading it was interrupted: {error}"),
            })??;
            Ok(ModelDetails {
                context: glance
                    .model
                    .as_ref()
                    .map_or(read.context, |model| model.session.engine().context()),
                info: ModelInfo {
                    loaded: glance.model.is_some(),
                    loading: glance.loading,
                    ..read.info
                },
                ..read
            })
        })
    }

    fn adapters(&self) -> Vec<AdapterListing> {
        self.list_adapters()
    }

    fn adapt<'a>(
        &'a self,
        model: &'a LoadedModel,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), AdapterFailure>> {
        Box::pin(self.adapt_model(model, name))
    }

    fn load_adapter<'a>(
        &'a self,
        adapter: NewAdapter<'a>,
    ) -> BoxFuture<'a, Result<(), AdapterFailure>> {
        Box::pin(self.register_adapter(adapter))
    }

    fn unload_adapter<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), AdapterFailure>> {
        Box::pin(self.forget_adapter(name))
    }

    fn events(&self) -> &ModelEvents {
        self.residents.events()
    }

    fn diagnostics(&self) -> serde_json::Value {
        let residents = self.residents.all();
        let placements: HashMap<&str, &str> = residents
            .iter()
            .map(|resident| &resident.model)
            .map(|model| (model.name.as_str(), model.placement.as_str()))
            .collect();
        let running_on: HashMap<&str, &str> = residents
            .iter()
            .map(|resident| (resident.model.name.as_str(), resident.model.engine))
            .collect();
        json!({
            "engines": backend::engines(),
            "gpu_backends": backend::gpu_backends(),
            "devices": backend::devices(),
            "placements": placements,
            "running_on": running_on,
            "kv_cache_type": self.opening.1.cache.kind.name(),
            "memory": memory::report(),
        })
    }
}

/// How this model gets into memory.
fn opening(target: &Target, how: &Arc<(ModelConfig, OpenOptions)>, is_checked: bool) -> Opening {
    let (measured, measuring) = (target.clone(), Arc::clone(how));
    let (target, how) = (target.clone(), Arc::clone(how));
    Opening {
        measure: Box::new(move || {
            let need = open::measure(&measured, &measuring.0, &measuring.1)?;
            let spendable = memory::spendable_bytes().filter(|_| !is_checked);
            if let Some(warning) = spendable.and_then(|bytes| need.warning(bytes)) {
                tracing::warn!("{}: {warning}", measured.name());
            }
            Ok(need)
        }),
        open: Box::new(move |progress| open::open(&target, &how.0, &how.1, progress)),
    }
}

/// What the models in memory may take together.
fn budget(config: &ResidenceConfig) -> Budget {
    let (memory, models) = (config.memory, config.max_models);
    Budget {
        limits: Box::new(move || Limits {
            host: match memory {
                MemoryBudget::Unchecked => None,
                MemoryBudget::Bytes(bytes) => Some(bytes),
                MemoryBudget::Automatic => memory::spendable_bytes(),
            },
            gpu: match memory {
                MemoryBudget::Unchecked => None,
                MemoryBudget::Bytes(_) | MemoryBudget::Automatic => backend::gpu_bytes(),
            },
            models: models.unwrap_or(usize::MAX),
        }),
        patience: config.patience,
    }
}
