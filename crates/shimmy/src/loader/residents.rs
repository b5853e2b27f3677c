//! The models in memory: each loaded at most once at a time, none forgotten while it loads, and no
//! more of them than may be.
//!
//! Owns who loads, who waits for whom, who uses what, and how engines end. It must not know files
//! or names' meanings: models are told apart by a key.

mod ending;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use shimmy_server::{Hold, KeepAlive, LoadError, LoadedModel, ModelEvents, Residence, Resident};
use tokio::sync::Notify;

use self::table::{Serial, Slot, State, Table};
use super::budget::{self, Limits, Room};
use super::keep::{self, Keep, Usage};
use crate::backend::{Footprint, Progress};

type Outcome = Result<Arc<LoadedModel>, LoadError>;

/// A load under way, for everyone who waits for it.
type Loading = Shared<BoxFuture<'static, Outcome>>;

/// How a model gets into memory. Both may block; their reasons are fit for users.
pub(super) struct Opening {
    /// What it will take.
    pub(super) measure: Box<dyn FnOnce() -> Result<Footprint, String> + Send>,
    /// Loads it, and gives up soon after its progress says that it is not wanted any more.
    pub(super) open: Box<Open>,
}

type Open = dyn FnOnce(&Progress) -> Result<LoadedModel, String> + Send;

/// How a model stays in memory unless somebody wishes otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stay {
    pub(super) keep: Keep,
    pub(super) is_pinned: bool,
}

/// What the models in memory may take together.
pub(super) struct Budget {
    /// Asked before every load: what there is may change.
    pub(super) limits: Box<dyn Fn() -> Limits + Send + Sync>,
    /// How long a load waits for models at work.
    pub(super) patience: Duration,
}

/// The models in memory.
pub(super) struct Residents {
    /// The lock is held for look-ups only, never while something loads or ends.
    table: Mutex<Table>,
    /// Notified when something has ended: a load, a use, an engine.
    settled: Condvar,
    /// The same for whoever watches over idle models.
    changed: Arc<Notify>,
    watching: OnceLock<()>,
    budget: Budget,
    events: ModelEvents,
}

/// One request's use of a model.
struct Lease {
    residents: Arc<Residents>,
    serial: Serial,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.residents.end_use(self.serial);
    }
}

impl Residents {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            table: Mutex::default(),
            settled: Condvar::new(),
            changed: Arc::default(),
            watching: OnceLock::new(),
            budget,
            events: ModelEvents::default(),
        }
    }

    /// The model with this key, loading it if it is not in memory; in use until the last clone of
    /// the outcome is dropped. Whoever asks while it loads waits for that load and shares its
    /// outcome; whoever asks after a failure starts another. Dropping the future does not abort
    /// the load.
    pub(super) async fn load(
        self: &Arc<Self>,
        key: &Path,
        name: &str,
        (stay, wish): (Stay, KeepAlive),
        opening: impl FnOnce() -> Opening,
    ) -> Outcome {
        let (lease, loading) = {
            let mut table = self.table();
            // Under the lock, so that shutdown misses no load that starts beside it.
            if table.is_stopping {
                return Err(failed(name, "the server is shutting down"));
            }
            if table.bury(key) {
                // Whoever still uses it keeps its last words.
                tracing::warn!(model = name, "its engine has ended; loading it again");
                self.changed.notify_one();
            }
            let serial = match table.slots.get(key) {
                Some(slot) => slot.serial,
                None => {
                    let serial = table.next_serial();
                    let progress = Arc::new(Progress::default());
                    let loading = self.start(key, name, opening(), Arc::clone(&progress));
                    let usage = Usage::new(stay.keep, stay.is_pinned, Instant::now());
                    let state = State::Loading { loading, progress };
                    table.insert(key, Slot::new(serial, usage, state));
                    serial
                }
            };
            let Some(slot) = table.slots.get_mut(key) else {
                // It has just been there.
                return Err(failed(name, "it was forgotten"));
            };
            slot.usage.begin(wish);
            let lease = Lease {
                residents: Arc::clone(self),
                serial,
            };
            let loading = match &slot.state {
                State::Ready(model) => std::future::ready(Ok(Arc::clone(model))).boxed().shared(),
                State::Loading { loading, .. } => loading.clone(),
            };
            (lease, loading)
        };
        self.watch();
        let model = loading.await?;
        let (default_adapters, adapters) = model.adapters.defaults();
        Ok(Arc::new(LoadedModel {
            default_adapters,
            hold: Hold::new((lease, adapters)),
            ..LoadedModel::clone(&model)
        }))
    }

    /// Starts whoever watches over idle models, once. Needs a runtime, which is why it waits for
    /// the first load.
    fn watch(self: &Arc<Self>) {
        self.watching.get_or_init(|| {
            let watch = keep::watch(Arc::downgrade(self), Arc::clone(&self.changed));
            tokio::spawn(watch);
        });
    }

    /// Starts a load on a thread that may block. The slot is settled there, whether or not anyone
    /// still waits for the outcome.
    fn start(
        self: &Arc<Self>,
        key: &Path,
        name: &str,
        opening: Opening,
        progress: Arc<Progress>,
    ) -> Loading {
        let (residents, key, name) = (Arc::clone(self), key.to_owned(), name.to_owned());
        let interrupted = failed(&name, "the load was interrupted");
        let load = move || {
            let Opening { measure, open } = opening;
            let load = || {
                let fail = |reason: String| failed(&name, &reason);
                let footprint = measure().map_err(fail)?;
                residents.make_room(&key, &name, footprint, &progress)?;
                open(&progress).map_err(fail)
            };
            let opened = catch_unwind(AssertUnwindSafe(load));
            let opened = opened.unwrap_or_else(|_| Err(failed(&name, "loading it panicked")));
            residents.settle(&key, &name, opened)
        };
        tokio::task::spawn_blocking(load)
            .map(|joined| joined.unwrap_or(Err(interrupted)))
            .boxed()
            .shared()
    }

    /// Sets so much aside for a model that is being loaded, taking idle ones out of memory and
    /// waiting for others as need be. Blocks.
    fn make_room(
        &self,
        key: &Path,
        name: &str,
        need: Footprint,
        progress: &Progress,
    ) -> Result<(), LoadError> {
        let limits = (self.budget.limits)();
        let deadline = Instant::now().checked_add(self.budget.patience);
        let mut table = self.table();
        let leaving = loop {
            if !progress.is_wanted() {
                return Err(failed(name, "the server is shutting down"));
            }
            match budget::room(&need, &table.held(), &limits) {
                Room::After(keys) => {
                    if let Some(slot) = table.slots.get_mut(key) {
                        slot.footprint = Some(need);
                    }
                    let leaving = keys.iter().filter_map(|key| table.retire(key, true));
                    break leaving.collect::<Vec<_>>();
                }
                Room::Never { budget_bytes } => return Err(too_big(name, &need, budget_bytes)),
                Room::Later => {}
            }
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                let name = name.to_owned();
                return Err(LoadError::Busy { name });
            }
            let waited = self.settled.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(table);
        for serial in leaving {
            self.events.evicted();
            self.end(serial);
        }
        Ok(())
    }

    fn settle(&self, key: &Path, name: &str, opened: Result<LoadedModel, LoadError>) -> Outcome {
        let mut table = self.table();
        let outcome = match opened {
            Ok(model) if table.is_stopping => {
                drop(table);
                model.session.engine().shutdown();
                table = self.table();
                Err(failed(name, "the server is shutting down"))
            }
            opened => opened.map(Arc::new),
        };
        match &outcome {
            Ok(model) => {
                let load_ms = model.load_time.as_millis() as u64;
                tracing::debug!(model = name, load_ms, "loaded");
                self.events.loaded(model.load_time);
                table.settle(key, Arc::clone(model), Instant::now());
            }
            Err(error) => {
                tracing::debug!(model = name, "cannot be loaded: {error}");
                self.events.failed();
                table.fail(key, error);
            }
        }
        self.settled.notify_all();
        self.changed.notify_one();
        outcome
    }

    fn end_use(&self, serial: Serial) {
        if self.table().end_use(serial, Instant::now()) {
            self.settled.notify_all();
            self.changed.notify_one();
        }
    }

    /// Changes what the adapters of a model in memory take.
    pub(super) fn charge_adapters(&self, key: &Path, change: impl FnOnce(u64) -> u64) {
        if let Some(footprint) = self.table().footprint(key) {
            footprint.adapters = change(footprint.adapters);
        }
    }

    /// What has happened to models since the start.
    pub(super) fn events(&self) -> &ModelEvents {
        &self.events
    }

    /// What is known of the model with this key, in memory or not.
    pub(super) fn glance(&self, key: &Path) -> Glance {
        let table = self.table();
        let failure = table.failures.get(key).cloned();
        match table.slots.get(key) {
            None => Glance {
                failure,
                ..Glance::default()
            },
            Some(slot) => Glance {
                failure,
                model: slot.ready().cloned(),
                loading: slot.progress(),
                residence: slot.ready().map(|_| slot.residence(Instant::now())),
            },
        }
    }

    /// Every model in memory.
    pub(super) fn all(&self) -> Vec<Resident> {
        let (table, now) = (self.table(), Instant::now());
        let resident = |slot: &Slot| {
            let residence = slot.residence(now);
            Some(Resident {
                model: Arc::clone(slot.ready()?),
                expires_at: residence.expires_at,
                memory_bytes: residence.memory_bytes,
                gpu_bytes: residence.gpu_bytes,
            })
        };
        table.slots.values().filter_map(resident).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing can panic while the lock is held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a model without asking it.
#[derive(Debug, Default)]
pub(super) struct Glance {
    /// It, while it is in memory.
    pub(super) model: Option<Arc<LoadedModel>>,
    /// How much of it has been read, while it is being loaded.
    pub(super) loading: Option<f32>,
    pub(super) residence: Option<Residence>,
    /// Why the last load failed, if it did.
    pub(super) failure: Option<String>,
}

fn failed(name: &str, reason: &str) -> LoadError {
    LoadError::Failed {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

fn too_big(name: &str, need: &Footprint, budget_bytes: u64) -> LoadError {
    LoadError::TooBig {
        name: name.to_owned(),
        needed_bytes: need.total(),
        budget_bytes,
        hint: need.advice(),
    }
}

#[cfg(test)]
mod tests;
