//! What clients do with adapters: name them, load and unload them by hand, list them. Joins the
//! catalog, the shelf and the models in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use shimmy_models::AdapterFile;
use shimmy_server::{
    AdapterFailure, AdapterListing, KeepAlive, LoadError, LoadedModel, NewAdapter,
};

use super::LocalLoader;
use super::adapters::{Meant, Registered};
use super::pairing::{AdapterEntry, Choice};
use super::target::{Entry, Target};

impl LocalLoader {
    /// The adapter that a name means, if it means one, without blocking this thread.
    pub(super) async fn meant(&self, name: &str) -> Result<Option<Meant>, LoadError> {
        if let Some(meant) = self.shelf.meant(&self.catalog, name)? {
            return Ok(Some(meant));
        }
        // A model's name is known without a look at the folders, an adapter's is not.
        if self.catalog.has_looked() || self.catalog.glance(Some(name)).is_ok() {
            return Ok(None);
        }
        self.look().await;
        self.shelf.meant(&self.catalog, name)
    }

    /// A model in memory as who names the adapter sees it.
    pub(super) async fn applied(
        &self,
        model: Arc<LoadedModel>,
        meant: &Meant,
    ) -> Result<Arc<LoadedModel>, LoadError> {
        let charge = self.charge(&meant.base.key, meant.entry.file.size_bytes);
        let applied = self.shelf.applied(model, meant, charge).await;
        applied.map_err(|reason| LoadError::Failed {
            name: meant.name.clone(),
            reason,
        })
    }

    /// See [`Loader::adapt`](shimmy_server::Loader::adapt).
    pub(super) async fn adapt_model(
        &self,
        model: &LoadedModel,
        name: &str,
    ) -> Result<(), AdapterFailure> {
        let not_found = || AdapterFailure::NotFound {
            name: name.to_owned(),
        };
        if !self.catalog.has_looked() {
            self.look().await;
        }
        let entry = match self.shelf.registered(name) {
            Some(registered) => registered.entry,
            None => self.catalog.adapter(name).ok_or_else(not_found)?,
        };
        let models = self.catalog.models();
        let base = models
            .iter()
            .find(|base| base.file.name == model.info.name)
            .filter(|base| entry.bases.contains(&base.key));
        let Some(base) = base else {
            let reason = match entry.base(&models) {
                Choice::One(base) => format!("it is for {}", base.file.name),
                Choice::Several(names) => format!("it is for {}", names.join(", ")),
                Choice::None => "the model that it was made for is not here".to_owned(),
            };
            return Err(AdapterFailure::Foreign {
                name: name.to_owned(),
                model: model.info.name.clone(),
                reason,
            });
        };
        let charge = self.charge(&base.key, entry.file.size_bytes);
        let path = &entry.file.path;
        let loaded = self.shelf.ensure(model, name, path, charge).await;
        loaded.map_err(|reason| failed(name, reason))
    }

    /// See [`Loader::load_adapter`](shimmy_server::Loader::load_adapter).
    pub(super) async fn register_adapter(
        &self,
        adapter: NewAdapter<'_>,
    ) -> Result<(), AdapterFailure> {
        let NewAdapter { name, path, base } = adapter;
        let taken = || AdapterFailure::Taken {
            name: name.to_owned(),
        };
        if !self.catalog.has_looked() {
            self.look().await;
        }
        let models = self.catalog.models();
        let is_a_models = |model: &Arc<Entry>| model.file.name.eq_ignore_ascii_case(name);
        if models.iter().any(is_a_models) || self.shelf.registered(name).is_some() {
            return Err(taken());
        }
        let base = match base {
            None => None,
            Some(base) => match self.find(Some(base)).await? {
                Target::File(entry) => Some(entry),
                Target::Stub => return Err(foreign(name, base, "it is no file")),
            },
        };
        let entry = Arc::new(self.read_adapter(path, models.clone()).await?);
        // A file that was found goes by this name as well; another one may not take it.
        let found = self.catalog.adapter(name);
        if found.is_some_and(|found| found.key != entry.key) {
            return Err(taken());
        }
        let base = match base {
            Some(base) if entry.bases.contains(&base.key) => base,
            Some(base) => {
                let reason = "its tensors or its architecture differ";
                return Err(foreign(name, &base.file.name, reason));
            }
            None => match entry.base(&models) {
                Choice::One(base) => base,
                Choice::Several(candidates) => {
                    let name = name.to_owned();
                    return Err(AdapterFailure::Ambiguous { name, candidates });
                }
                Choice::None => {
                    let reason = "is an adapter of a model that is not here".to_owned();
                    return Err(AdapterFailure::Path { reason });
                }
            },
        };
        let registered = Registered {
            entry: Arc::clone(&entry),
            base: base.key.clone(),
        };
        if !self.shelf.register(name, registered) {
            return Err(taken());
        }
        let meant = Meant {
            name: name.to_owned(),
            entry,
            base,
        };
        let loaded = self.load_meant(&meant).await;
        if loaded.is_err() {
            self.shelf.unregister(name);
        }
        loaded
    }

    /// See [`Loader::unload_adapter`](shimmy_server::Loader::unload_adapter).
    pub(super) async fn forget_adapter(&self, name: &str) -> Result<(), AdapterFailure> {
        let mut was_there = self.shelf.unregister(name);
        for resident in self.residents.all() {
            let model = resident.model;
            let Some(leaving) = model.adapters.remove(name) else {
                continue;
            };
            was_there = true;
            leaving.unused().await;
            let id = leaving.info.id;
            // An engine that has ended meanwhile has no adapters.
            if model.session.engine().unload_adapter(id).await == Ok(true) {
                self.uncharge(&model, &leaving.info.path).await;
            }
        }
        match was_there {
            true => Ok(()),
            false => Err(AdapterFailure::NotFound {
                name: name.to_owned(),
            }),
        }
    }

    /// See [`Loader::adapters`](shimmy_server::Loader::adapters).
    pub(super) fn list_adapters(&self) -> Vec<AdapterListing> {
        let models = self.catalog.models();
        let mut entries = BTreeMap::new();
        for entry in self.catalog.adapters() {
            let parent = match entry.base(&models) {
                Choice::One(base) => Some(base),
                Choice::Several(_) => None,
                // Nobody can use it.
                Choice::None => continue,
            };
            entries.insert(entry.file.name.clone(), (entry, parent));
        }
        for (name, Registered { entry, base }) in self.shelf.all_registered() {
            let parent = models.iter().find(|model| model.key == base);
            entries.insert(name, (entry, parent.cloned()));
        }
        let residents = self.residents.all();
        let is_loaded = |name: &str| {
            let mut models = residents.iter().map(|resident| &resident.model);
            models.any(|model| model.adapters.named(name).is_some())
        };
        let is_free = |name: &String| {
            let mut models = models.iter();
            !models.any(|model| model.file.name.eq_ignore_ascii_case(name))
        };
        let listing =
            |(name, (entry, parent)): (String, (Arc<AdapterEntry>, Option<Arc<Entry>>))| {
                let file = entry.file.path.file_name().unwrap_or_default();
                AdapterListing {
                    file: file.to_string_lossy().into_owned(),
                    modified: jiff::Timestamp::try_from(entry.file.modified).ok(),
                    loaded: is_loaded(&name),
                    parent: parent.map(|base| base.file.name.clone()),
                    name,
                }
            };
        let entries = entries.into_iter().filter(|(name, _)| is_free(name));
        entries.map(listing).collect()
    }

    /// Loads an adapter and, if need be, its model.
    async fn load_meant(&self, meant: &Meant) -> Result<(), AdapterFailure> {
        let target = Target::from(meant);
        let model = self.load_target(&target, KeepAlive::Default).await?;
        let charge = self.charge(&meant.base.key, meant.entry.file.size_bytes);
        let path = &meant.entry.file.path;
        let loaded = self.shelf.ensure(&model, &meant.name, path, charge).await;
        loaded.map_err(|reason| failed(&meant.name, reason))
    }

    /// The adapter at a path that a client wrote, without blocking this thread.
    async fn read_adapter(
        &self,
        path: &str,
        models: Vec<Arc<Entry>>,
    ) -> Result<AdapterEntry, AdapterFailure> {
        let (catalog, path) = (Arc::clone(&self.catalog), path.to_owned());
        let read = move || {
            let wrong = |reason: String| AdapterFailure::Path { reason };
            let path = catalog.roots().locate(&path);
            let path = path.map_err(|error| wrong(error.to_string()))?;
            let file = AdapterFile::open(&path);
            let file = file.map_err(|error| wrong(format!("is no adapter: {error}")))?;
            Ok(AdapterEntry::new(file, &models))
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|error| Err(failed("", format!("reading it was interrupted: {error}"))))
    }

    /// Looks at the folders for the first time, without blocking this thread.
    async fn look(&self) {
        let catalog = Arc::clone(&self.catalog);
        // Whoever asks for what was not found says so.
        let _ = tokio::task::spawn_blocking(move || catalog.found()).await;
    }

    /// What adds an adapter's memory to its model's.
    fn charge(&self, key: &Path, bytes: u64) -> impl Fn() + Clone + Send + 'static {
        let (residents, key) = (Arc::clone(&self.residents), key.to_owned());
        move || residents.charge_adapters(&key, |sum| sum.saturating_add(bytes))
    }

    async fn uncharge(&self, model: &LoadedModel, path: &Path) {
        let models = self.catalog.models();
        let base = models.iter().find(|base| base.file.name == model.info.name);
        let path = path.to_owned();
        let size = move || std::fs::metadata(path).map_or(0, |about| about.len());
        if let (Some(base), Ok(bytes)) = (base, tokio::task::spawn_blocking(size).await) {
            self.residents
                .charge_adapters(&base.key, |sum| sum.saturating_sub(bytes));
        }
    }
}

fn failed(name: &str, reason: String) -> AdapterFailure {
    AdapterFailure::Failed {
        name: name.to_owned(),
        reason,
    }
}

fn foreign(name: &str, model: &str, reason: &str) -> AdapterFailure {
    AdapterFailure::Foreign {
        name: name.to_owned(),
        model: model.to_owned(),
        reason: reason.to_owned(),
    }
}
