//! The models in memory: each loaded at most once at a time, and none forgotten while it loads.
//!
//! Owns who loads, who waits for whom, and how engines end. It must not know files or names'
//! meanings: models are told apart by a key.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use shimmy_server::{LoadError, LoadedModel, ModelEvents};

/// How long shutdown waits for loads to notice that they are not wanted any more.
const LAST_LOADS: Duration = Duration::from_secs(1);

type Outcome = Result<Arc<LoadedModel>, LoadError>;

/// A load under way, for everyone who waits for it.
type Loading = Shared<BoxFuture<'static, Outcome>>;

enum Slot {
    Loading(Loading),
    Ready(Arc<LoadedModel>),
}

/// The models in memory.
#[derive(Default)]
pub(super) struct Residents {
    /// By key. The lock is held for look-ups only, never while something loads.
    slots: Mutex<HashMap<PathBuf, Slot>>,
    /// Notified when a load has ended.
    settled: Condvar,
    /// Set at shutdown, and watched by every load under way.
    stopping: AtomicBool,
    events: ModelEvents,
}

impl Residents {
    /// The model with this key, loading it with `open` if it is not in memory. Whoever asks while
    /// it loads waits for that load and shares its outcome; whoever asks after a failure starts
    /// another. Dropping the future does not abort the load.
    ///
    /// `open` may block; it gets a flag that turns true when its outcome is not wanted any more.
    pub(super) async fn load<F>(self: &Arc<Self>, key: &Path, name: &str, open: F) -> Outcome
    where
        F: FnOnce(&AtomicBool) -> Result<LoadedModel, String> + Send + 'static,
    {
        let loading = {
            let mut slots = self.slots();
            // Under the lock, so that shutdown misses no load that starts beside it.
            if self.stopping.load(Ordering::Acquire) {
                return Err(failed(name, "the server is shutting down"));
            }
            match slots.get(key) {
                Some(Slot::Ready(model)) if model.session.engine().status().alive => {
                    return Ok(Arc::clone(model));
                }
                Some(Slot::Loading(loading)) => loading.clone(),
                none_or_dead => {
                    if none_or_dead.is_some() {
                        // Whoever still holds it keeps its last words.
                        tracing::warn!(model = name, "its engine has ended; loading it again");
                    }
                    let loading = self.start(key, name, open);
                    slots.insert(key.to_owned(), Slot::Loading(loading.clone()));
                    loading
                }
            }
        };
        loading.await
    }

    /// Starts a load on a thread that may block. The slot is settled there, whether or not anyone
    /// still waits for the outcome.
    fn start<F>(self: &Arc<Self>, key: &Path, name: &str, open: F) -> Loading
    where
        F: FnOnce(&AtomicBool) -> Result<LoadedModel, String> + Send + 'static,
    {
        let (residents, key, name) = (Arc::clone(self), key.to_owned(), name.to_owned());
        let interrupted = failed(&name, "the load was interrupted");
        let load = move || {
            let opened = catch_unwind(AssertUnwindSafe(|| open(&residents.stopping)));
            let opened = opened.unwrap_or_else(|_| Err("loading it panicked".to_owned()));
            residents.settle(key, &name, opened)
        };
        tokio::task::spawn_blocking(load)
            .map(|joined| joined.unwrap_or(Err(interrupted)))
            .boxed()
            .shared()
    }

    fn settle(&self, key: PathBuf, name: &str, opened: Result<LoadedModel, String>) -> Outcome {
        let is_stopping = || self.stopping.load(Ordering::Acquire);
        let outcome = match opened {
            Ok(model) if is_stopping() => {
                model.session.engine().shutdown();
                Err(failed(name, "the server is shutting down"))
            }
            Ok(model) => {
                let load_ms = model.load_time.as_millis() as u64;
                tracing::debug!(model = name, load_ms, "loaded");
                self.events.loaded(model.load_time);
                Ok(Arc::new(model))
            }
            Err(reason) => {
                tracing::debug!(model = name, "cannot be loaded: {reason}");
                self.events.failed();
                Err(failed(name, &reason))
            }
        };
        let mut slots = self.slots();
        match &outcome {
            Ok(model) => slots.insert(key, Slot::Ready(Arc::clone(model))),
            Err(_) => slots.remove(&key),
        };
        self.settled.notify_all();
        outcome
    }

    /// What has happened to models since the start.
    pub(super) fn events(&self) -> &ModelEvents {
        &self.events
    }

    /// The model with this key, if it is in memory.
    pub(super) fn get(&self, key: &Path) -> Option<Arc<LoadedModel>> {
        match self.slots().get(key)? {
            Slot::Ready(model) => Some(Arc::clone(model)),
            Slot::Loading(_) => None,
        }
    }

    /// Every model in memory.
    pub(super) fn all(&self) -> Vec<Arc<LoadedModel>> {
        let slots = self.slots();
        slots.values().filter_map(Slot::ready).cloned().collect()
    }

    /// Takes a model out of memory; false if it is not in it, or not yet. Whoever has the model in
    /// hands keeps it: the engine ends with its last answer. Blocks until the memory is given back
    /// where nobody has.
    pub(super) fn unload(&self, key: &Path) -> bool {
        let model = {
            let mut slots = self.slots();
            match slots.get(key) {
                Some(Slot::Ready(_)) => slots.remove(key),
                _ => None,
            }
        };
        let Some(Slot::Ready(model)) = model else {
            return false;
        };
        // A stream holds no model, only its own way into the engine.
        if let Some(model) = Arc::into_inner(model)
            && model.session.engine().status().occupied == 0
        {
            model.session.engine().shutdown();
        }
        true
    }

    /// Ends every engine, waits until their memory is given back, and gives loads under way a
    /// moment to notice. Blocks.
    pub(super) fn shutdown(&self) {
        self.stopping.store(true, Ordering::Release);
        let slots = self.slots();
        // All at once, before any is waited for: each may be in a step that takes a while.
        for model in slots.values().filter_map(Slot::ready) {
            model.session.engine().close();
        }
        let is_loading = |slots: &mut HashMap<PathBuf, Slot>| {
            slots.values().any(|slot| matches!(slot, Slot::Loading(_)))
        };
        let (mut slots, waited) = self
            .settled
            .wait_timeout_while(slots, LAST_LOADS, is_loading)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            tracing::warn!("a model is still being loaded; not waiting for it");
        }
        let slots = std::mem::take(&mut *slots);
        for model in slots.values().filter_map(Slot::ready) {
            model.session.engine().shutdown();
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<PathBuf, Slot>> {
        // Nothing can panic while the lock is held.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn ready(&self) -> Option<&Arc<LoadedModel>> {
        match self {
            Self::Ready(model) => Some(model),
            Self::Loading(_) => None,
        }
    }
}

fn failed(name: &str, reason: &str) -> LoadError {
    LoadError::Failed {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
#[path = "residents_tests.rs"]
mod tests;
