//! From a model's name to a running engine.
//!
//! Joins what there is ([`Catalog`]) with what is in memory ([`Residents`]). The file system is
//! only touched on threads that may block. It must not know HTTP.

mod catalog;
mod details;
mod open;
mod residents;
mod target;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::json;
use shimmy_engine::EngineConfig;
use shimmy_models::{RootSettings, Roots};
use shimmy_server::{
    EngineReport, KeepAlive, LoadError, LoadedModel, Loader, ModelDetails, ModelEvents, ModelInfo,
    ModelStatus, Resident,
};

use self::catalog::Catalog;
use self::residents::Residents;
use self::target::Target;
use crate::backend::{self, OpenOptions};
use crate::config::ModelConfig;
use crate::memory;

/// What to do when there is no model.
pub(crate) const HINT: &str = "put a .gguf file into ./models or ~/models, or name one with \
                               --model-path FILE or SHIMMY_BASE_GGUF";

/// The loader of this machine's files.
pub(crate) struct LocalLoader {
    catalog: Arc<Catalog>,
    residents: Arc<Residents>,
    /// What opening a model takes, besides the model.
    opening: Arc<(ModelConfig, OpenOptions)>,
}

impl LocalLoader {
    /// A loader that has not looked anywhere yet.
    pub(crate) fn new(models: ModelConfig, options: OpenOptions) -> Self {
        let roots = Roots::from_settings(&RootSettings {
            working_folder: PathBuf::from("."),
            base_gguf: models.base.clone(),
            model_paths: models.dirs.clone(),
            model_dirs: Vec::new(),
            home: std::env::home_dir(),
        });
        Self {
            catalog: Arc::new(Catalog::new(models.base.clone(), roots)),
            residents: Arc::default(),
            opening: Arc::new((models, options)),
        }
    }

    /// A loader for commands that only look.
    pub(crate) fn without_engine(models: ModelConfig) -> Self {
        let options = OpenOptions {
            context: None,
            parallel: 1,
            threads: None,
            gpu_layers: None,
            adapters: Vec::new(),
            cache: backend::CacheOptions::default(),
            engine: EngineConfig::default(),
        };
        Self::new(models, options)
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
    pub(crate) fn adapters(&self) -> Vec<String> {
        self.catalog.found().adapters.clone()
    }

    /// Files that look like models and are none, with the reason. Blocks as above.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.catalog.found().problems.clone()
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
            .map(|target| ModelInfo {
                loaded: self.residents.get(target.key()).is_some(),
                ..target.info()
            })
            .collect()
    }

    fn discover(&self) -> Vec<ModelInfo> {
        self.catalog.look();
        self.list()
    }

    fn load<'a>(
        &'a self,
        name: Option<&'a str>,
        _: KeepAlive,
    ) -> BoxFuture<'a, Result<Arc<LoadedModel>, LoadError>> {
        Box::pin(async move {
            let target = self.find(name).await?;
            let opening = Arc::clone(&self.opening);
            let open = {
                let target = target.clone();
                move |stopping: &_| open::open(&target, &opening.0, &opening.1, stopping)
            };
            self.residents.load(target.key(), target.name(), open).await
        })
    }

    fn unload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, LoadError>> {
        Box::pin(async move {
            let target = self.find(Some(name)).await?;
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
        let models = self.residents.all();
        let resident = |model: Arc<LoadedModel>| Resident {
            memory_bytes: model.info.size_bytes,
            model,
            expires_at: None,
            gpu_bytes: 0,
        };
        models.into_iter().map(resident).collect()
    }

    fn status(&self, name: &str) -> Result<ModelStatus, LoadError> {
        let target = self.catalog.glance(Some(name))?;
        let loaded = self.residents.get(target.key());
        Ok(ModelStatus {
            info: ModelInfo {
                loaded: loaded.is_some(),
                ..target.info()
            },
            engine: loaded.as_deref().map(EngineReport::of),
        })
    }

    fn details<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelDetails, LoadError>> {
        Box::pin(async move {
            let target = self.find(Some(name)).await?;
            let opening = Arc::clone(&self.opening);
            let loaded = self.residents.get(target.key());
            let read = tokio::task::spawn_blocking(move || details::read(&target, &opening.1));
            let read = read.await.map_err(|error| LoadError::Failed {
                name: name.to_owned(),
                reason: format!("reading it was interrupted: {error}"),
            })??;
            Ok(ModelDetails {
                context: loaded
                    .as_ref()
                    .map_or(read.context, |model| model.session.engine().context()),
                info: ModelInfo {
                    loaded: loaded.is_some(),
                    ..read.info
                },
                ..read
            })
        })
    }

    fn events(&self) -> &ModelEvents {
        self.residents.events()
    }

    fn diagnostics(&self) -> serde_json::Value {
        let models = self.residents.all();
        let placements: HashMap<&str, &str> = models
            .iter()
            .map(|model| (model.name.as_str(), model.placement.as_str()))
            .collect();
        json!({
            "engines": backend::engines(),
            "gpu_backends": backend::gpu_backends(),
            "devices": backend::devices(),
            "placements": placements,
            "memory": memory::report(),
        })
    }
}
