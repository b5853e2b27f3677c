//! From a model's name to a running engine.
//!
//! Finds models, loads each at most once at a time however many requests ask for it, keeps them
//! resident, and notices engines that have died. It must not know HTTP.

mod open;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use futures_util::future::BoxFuture;
use serde_json::json;
use shimmy_engine::EngineConfig;
use shimmy_models::{Discovery, ModelFile, NameError, RootSettings, Roots, discover, resolve};
use shimmy_server::{EngineReport, LoadError, LoadedModel, Loader, ModelInfo, ModelStatus};
use tokio::sync::OnceCell;

use self::open::Target;
use crate::backend::{self, OpenOptions};
use crate::config::ModelConfig;
use crate::memory;

/// What to do when there is no model.
pub(crate) const HINT: &str = "put a .gguf file into ./models or ~/models, or name one with \
                               --model-path FILE or SHIMMY_BASE_GGUF";

/// A model that is being loaded, or is.
type Slot = Arc<OnceCell<Arc<LoadedModel>>>;

/// The loader of this machine's files.
pub(crate) struct LocalLoader {
    inner: Arc<Inner>,
}

struct Inner {
    models: ModelConfig,
    roots: Roots,
    options: OpenOptions,
    /// What the last look at the folders found; none before the first.
    found: RwLock<Option<Arc<Discovery>>>,
    /// By name. The lock is held for look-ups only, never while something loads.
    slots: Mutex<HashMap<String, Slot>>,
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
        let (found, slots) = (RwLock::new(None), Mutex::new(HashMap::new()));
        Self {
            inner: Arc::new(Inner {
                models,
                roots,
                options,
                found,
                slots,
            }),
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
            engine: EngineConfig::default(),
        };
        Self::new(models, options)
    }

    /// Ends every engine and waits until their memory is given back.
    pub(crate) fn shutdown(&self) {
        let slots = std::mem::take(&mut *self.inner.slots());
        for model in slots.values().filter_map(|slot| slot.get()) {
            model.session.engine().shutdown();
        }
    }

    /// The folders that were searched.
    pub(crate) fn roots(&self) -> Vec<String> {
        self.inner
            .roots
            .paths()
            .map(|path| path.display().to_string())
            .collect()
    }

    /// The adapters that were found.
    pub(crate) fn adapters(&self) -> Vec<String> {
        let found = self.inner.found();
        found
            .adapters
            .iter()
            .map(|adapter| adapter.path.display().to_string())
            .collect()
    }

    /// Files that look like models and are none, with the reason.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.inner
            .found()
            .problems
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

impl Loader for LocalLoader {
    fn list(&self) -> Vec<ModelInfo> {
        self.inner.list()
    }

    fn discover(&self) -> Vec<ModelInfo> {
        self.inner.look();
        self.inner.list()
    }

    fn load<'a>(
        &'a self,
        name: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Arc<LoadedModel>, LoadError>> {
        let inner = Arc::clone(&self.inner);
        let name = name.map(str::to_owned);
        // A task of its own, so that a client that goes away does not abort the load that others
        // wait for.
        let task = tokio::spawn(async move { inner.load(name.as_deref()).await });
        Box::pin(async move {
            task.await.unwrap_or_else(|error| {
                let reason = format!("the load was interrupted: {error}");
                Err(LoadError::Failed {
                    name: String::new(),
                    reason,
                })
            })
        })
    }

    fn unload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, LoadError>> {
        Box::pin(async move {
            let (name, _) = self.inner.find(Some(name))?;
            let slot = self.inner.slots().remove(&name);
            let Some(model) = slot.and_then(|slot| slot.get().cloned()) else {
                return Ok(false);
            };
            let engine = model.session.engine().clone();
            if engine.status().occupied == 0 {
                // Waits for the engine's thread, and so for its memory. Whoever is still answered
                // keeps the model until the answer is complete.
                let ended = tokio::task::spawn_blocking(move || engine.shutdown()).await;
                if let Err(error) = ended {
                    tracing::error!(%error, "ending an engine panicked");
                }
            }
            Ok(true)
        })
    }

    fn status(&self, name: &str) -> Result<ModelStatus, LoadError> {
        let (name, target) = self
            .inner
            .find(Some(name).filter(|name| *name != "default"))?;
        let loaded = self.inner.loaded(&name);
        let info = match (&loaded, &target) {
            (Some(model), _) => ModelInfo {
                loaded: true,
                ..model.info.clone()
            },
            (None, target) => target.info(),
        };
        Ok(ModelStatus {
            info,
            engine: loaded.as_deref().map(EngineReport::of),
        })
    }

    fn diagnostics(&self) -> serde_json::Value {
        json!({
            "engines": backend::engines(),
            "gpu_backends": backend::gpu_backends(),
            "devices": backend::devices(),
            "placements": self.inner.placements(),
            "memory": memory::report(),
        })
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        // Nothing can panic while the lock is held.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the folders.
    fn look(&self) -> Arc<Discovery> {
        let found = Arc::new(discover(&self.roots));
        for problem in &found.problems {
            tracing::debug!("{problem}");
        }
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&found));
        found
    }

    /// What the folders held at the last look, looking now if there was none yet.
    fn found(&self) -> Arc<Discovery> {
        let found = self
            .found
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        found.unwrap_or_else(|| self.look())
    }

    fn list(&self) -> Vec<ModelInfo> {
        let found = self.found();
        let files = found
            .models
            .iter()
            .map(|file| Target::File(Box::new(file.clone())));
        let stub = backend::HAS_STUB.then_some(Target::Stub);
        files
            .chain(stub)
            .map(|target| {
                let info = target.info();
                ModelInfo {
                    loaded: self.loaded(&info.name).is_some(),
                    ..info
                }
            })
            .collect()
    }

    /// Where the layers of each loaded model are.
    fn placements(&self) -> HashMap<String, String> {
        let slots = self.slots();
        let models = slots.values().filter_map(|slot| slot.get());
        models
            .map(|model| (model.name.clone(), model.placement.clone()))
            .collect()
    }

    fn loaded(&self, name: &str) -> Option<Arc<LoadedModel>> {
        self.slots().get(name)?.get().cloned()
    }

    /// The model that a name means; none means the default one. Looks at the folders again before
    /// it says that there is no such model.
    fn find(&self, name: Option<&str>) -> Result<(String, Target), LoadError> {
        let Some(name) = name else {
            return self.find_default();
        };
        if backend::HAS_STUB && name == backend::STUB_MODEL {
            return Ok((name.to_owned(), Target::Stub));
        }
        let found = self.found();
        match pick(&found, name) {
            Err(LoadError::NotFound { .. }) => pick(&self.look(), name),
            outcome => outcome,
        }
    }

    fn find_default(&self) -> Result<(String, Target), LoadError> {
        if let Some(base) = &self.models.base {
            // Read by itself, so that a start with a base model waits for no other file.
            let file = ModelFile::open(base).map_err(|error| LoadError::Failed {
                name: base.display().to_string(),
                reason: error.to_string(),
            })?;
            return Ok((file.name.clone(), Target::File(Box::new(file))));
        }
        let found = self.found();
        match found.models.as_slice() {
            [] if backend::HAS_STUB => Ok((backend::STUB_MODEL.to_owned(), Target::Stub)),
            [] => Err(LoadError::NoModel {
                hint: HINT.to_owned(),
            }),
            [only] => Ok((only.name.clone(), Target::File(Box::new(only.clone())))),
            several => {
                let names = several.iter().map(|file| file.name.clone()).collect();
                Err(LoadError::NoDefault { names })
            }
        }
    }

    async fn load(self: Arc<Self>, name: Option<&str>) -> Result<Arc<LoadedModel>, LoadError> {
        let (name, target) = self.find(name)?;
        let slot = {
            let mut slots = self.slots();
            let slot = slots.entry(name.clone()).or_default();
            // An engine that died is replaced; whoever still holds it keeps its last words.
            if slot
                .get()
                .is_some_and(|model| !model.session.engine().status().alive)
            {
                tracing::warn!(model = name, "its engine has ended; loading it again");
                *slot = Slot::default();
            }
            Arc::clone(slot)
        };
        let model = slot
            .get_or_try_init(|| async {
                let inner = Arc::clone(&self);
                let open = move || open::open(&target, &inner.models, &inner.options);
                let opened = tokio::task::spawn_blocking(open).await;
                let reason = match opened {
                    Ok(Ok(model)) => return Ok(Arc::new(model)),
                    Ok(Err(reason)) => reason,
                    Err(error) => format!("loading it panicked: {error}"),
                };
                Err(LoadError::Failed {
                    name: name.clone(),
                    reason,
                })
            })
            .await?;
        Ok(Arc::clone(model))
    }
}

fn pick(found: &Discovery, name: &str) -> Result<(String, Target), LoadError> {
    let names: Vec<&str> = found.models.iter().map(|file| file.name.as_str()).collect();
    match resolve(name, &names) {
        Ok(index) => {
            let file = found.models[index].clone();
            Ok((file.name.clone(), Target::File(Box::new(file))))
        }
        Err(NameError::Ambiguous { candidates, .. }) => Err(LoadError::Ambiguous {
            name: name.to_owned(),
            candidates,
        }),
        Err(NameError::NotFound { closest, .. }) => Err(LoadError::NotFound {
            name: name.to_owned(),
            suggestions: closest,
        }),
    }
}
