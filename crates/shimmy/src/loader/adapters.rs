//! Adapters that requests name: which file a name means, and one load of it per engine.
//!
//! Owns what clients have registered and what is being loaded. A model's handle has what is loaded;
//! files and models are the catalog's.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use shimmy_engine::AdapterScale;
use shimmy_server::{AdapterInfo, Adapters, Hold, LoadError, LoadedModel};

use super::catalog::Catalog;
use super::pairing::{AdapterEntry, Choice};
use super::target::{Entry, Target};

/// How often an adapter that is unloaded while it is wanted is loaded again.
const TRIES: usize = 3;

type Outcome = Result<(), String>;
type Load = Shared<BoxFuture<'static, Outcome>>;

/// The adapters that requests may name.
#[derive(Default)]
pub(super) struct Shelf {
    /// Those that clients have named by their files, by name.
    registered: RwLock<BTreeMap<String, Registered>>,
    /// Loads under way, by the address of the model's table and the name. The lock is held for
    /// look-ups only.
    loads: Mutex<HashMap<(usize, String), Load>>,
}

/// An adapter that a client named by its file.
#[derive(Debug, Clone)]
pub(super) struct Registered {
    pub(super) entry: Arc<AdapterEntry>,
    /// The key of the model that it was registered for.
    pub(super) base: PathBuf,
}

/// What an adapter's name means.
#[derive(Debug, Clone)]
pub(super) struct Meant {
    pub(super) name: String,
    pub(super) entry: Arc<AdapterEntry>,
    pub(super) base: Arc<Entry>,
}

impl Shelf {
    /// The adapter with this very name, and its model; none where a model has the name, or nothing
    /// has. Does not block.
    pub(super) fn meant(&self, catalog: &Catalog, name: &str) -> Result<Option<Meant>, LoadError> {
        let registered = self.registered(name);
        let Some(entry) = registered
            .as_ref()
            .map(|registered| Arc::clone(&registered.entry))
            .or_else(|| catalog.adapter(name))
        else {
            return Ok(None);
        };
        let models = catalog.models();
        if models
            .iter()
            .any(|model| model.file.name.eq_ignore_ascii_case(name))
        {
            return Ok(None);
        }
        let name = name.to_owned();
        let choice = match registered {
            Some(Registered { base, .. }) => {
                let base = models.into_iter().find(|model| model.key == base);
                base.map_or(Choice::None, Choice::One)
            }
            None => entry.base(&models),
        };
        match choice {
            Choice::One(base) => Ok(Some(Meant { name, entry, base })),
            Choice::Several(candidates) => Err(LoadError::Ambiguous { name, candidates }),
            Choice::None => Err(LoadError::Failed {
                name,
                reason: "it is an adapter, and the model that it was made for is not here"
                    .to_owned(),
            }),
        }
    }

    /// What a client registered under this name.
    pub(super) fn registered(&self, name: &str) -> Option<Registered> {
        self.read().get(name).cloned()
    }

    /// Every name that a client registered.
    pub(super) fn all_registered(&self) -> Vec<(String, Registered)> {
        let registered = self.read();
        let pairs = registered.iter();
        pairs.map(|(name, it)| (name.clone(), it.clone())).collect()
    }

    /// Gives a name to an adapter; false if it has one already.
    pub(super) fn register(&self, name: &str, registered: Registered) -> bool {
        let map = &mut *self
            .registered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let is_free = !map.contains_key(name);
        if is_free {
            map.insert(name.to_owned(), registered);
        }
        is_free
    }

    /// Takes a name away; false if nobody gave it.
    pub(super) fn unregister(&self, name: &str) -> bool {
        let mut map = self
            .registered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        map.remove(name).is_some()
    }

    /// The model as who names this adapter sees it, the adapter loaded if need be. `charge` is
    /// called by whoever loads it.
    pub(super) async fn applied(
        self: &Arc<Self>,
        model: Arc<LoadedModel>,
        meant: &Meant,
        charge: impl Fn() + Clone + Send + 'static,
    ) -> Result<Arc<LoadedModel>, String> {
        for _ in 0..TRIES {
            self.ensure(&model, &meant.name, &meant.entry.file.path, charge.clone())
                .await?;
            let Some(AdapterInfo { id, scale, .. }) = model.adapters.named(&meant.name) else {
                continue;
            };
            // Who names it means it to apply, though nobody else may want it.
            let scale = if scale == 0.0 { 1.0 } else { scale };
            let applied = AdapterScale { id, scale };
            let Ok(held) = model.adapters.hold(&[applied]) else {
                continue;
            };
            return Ok(Arc::new(LoadedModel {
                name: meant.name.clone(),
                default_adapters: vec![applied],
                hold: Hold::new((model.hold.clone(), held)),
                ..LoadedModel::clone(&model)
            }));
        }
        Err("the adapter was unloaded meanwhile".to_owned())
    }

    /// Loads an adapter into a model's engine unless it is there. Whoever asks while it loads waits
    /// for that load.
    pub(super) async fn ensure(
        self: &Arc<Self>,
        model: &LoadedModel,
        name: &str,
        path: &Path,
        charge: impl FnOnce() + Send + 'static,
    ) -> Outcome {
        let load = {
            let mut loads = self.loads();
            // Under the lock: a load adds its adapter before it is taken from the list.
            if model.adapters.named(name).is_some() {
                return Ok(());
            }
            let key = (Arc::as_ptr(&model.adapters).addr(), name.to_owned());
            match loads.get(&key) {
                Some(load) => load.clone(),
                None => {
                    let load = self.start(model, key.clone(), path.to_owned(), charge);
                    loads.insert(key, load.clone());
                    load
                }
            }
        };
        load.await
    }

    fn start(
        self: &Arc<Self>,
        model: &LoadedModel,
        key: (usize, String),
        path: PathBuf,
        charge: impl FnOnce() + Send + 'static,
    ) -> Load {
        let shelf = Arc::clone(self);
        // These keep the key's address from being given to another model's table.
        let (engine, adapters) = (model.session.engine().clone(), Arc::clone(&model.adapters));
        let load = async move {
            let loaded = engine.load_adapter(path.clone()).await;
            let outcome = loaded.map_err(|error| error.to_string()).map(|id| {
                let name = key.1.clone();
                tracing::debug!(adapter = name, "loaded");
                let scale = 0.0;
                Adapters::add(
                    &adapters,
                    AdapterInfo {
                        id,
                        name,
                        path,
                        scale,
                    },
                );
                charge();
            });
            shelf.loads().remove(&key);
            outcome
        };
        let interrupted = || "the load was interrupted".to_owned();
        tokio::spawn(load)
            .map(move |joined| joined.unwrap_or_else(|_| Err(interrupted())))
            .boxed()
            .shared()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Registered>> {
        // Nothing can panic while one of the locks is held.
        self.registered
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn loads(&self) -> MutexGuard<'_, HashMap<(usize, String), Load>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The model that an adapter applies to, as what is loaded.
impl From<&Meant> for Target {
    fn from(meant: &Meant) -> Self {
        Self::File(Arc::clone(&meant.base))
    }
}
