//! What is where: models that answer, that are being loaded, and that are on their way out. Owns
//! the bookkeeping under one lock; must not block or wait.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use shimmy_server::{LoadError, LoadedModel, Residence};

use super::Loading;
use crate::backend::{Footprint, Progress};
use crate::loader::budget::{Held, Tie};
use crate::loader::keep::Usage;

/// Tells the stays of models in memory apart, two of the same model too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Serial(u64);

/// A model in memory, or on its way there.
pub(super) struct Slot {
    pub(super) serial: Serial,
    pub(super) usage: Usage,
    /// What it takes; none before it is known and there is room for it.
    pub(super) footprint: Option<Footprint>,
    pub(super) state: State,
}

pub(super) enum State {
    Loading {
        loading: Loading,
        progress: Arc<Progress>,
    },
    Ready(Arc<LoadedModel>),
}

/// A model that no new request gets and whose memory is not free yet.
struct Leaving {
    serial: Serial,
    users: usize,
    footprint: Footprint,
    model: Option<Arc<LoadedModel>>,
    /// Whether somebody has undertaken to end it.
    is_claimed: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Table {
    pub(super) slots: HashMap<PathBuf, Slot>,
    leaving: Vec<Leaving>,
    /// Why loads failed, by key, until one succeeds.
    pub(super) failures: HashMap<PathBuf, String>,
    /// Whether no load may start any more.
    pub(super) is_stopping: bool,
    last: Serial,
}

impl Slot {
    pub(super) fn new(serial: Serial, usage: Usage, state: State) -> Self {
        Self {
            serial,
            usage,
            footprint: None,
            state,
        }
    }

    pub(super) fn ready(&self) -> Option<&Arc<LoadedModel>> {
        match &self.state {
            State::Ready(model) => Some(model),
            State::Loading { .. } => None,
        }
    }

    /// How much of it is loaded, while it is being loaded.
    pub(super) fn progress(&self) -> Option<f32> {
        match &self.state {
            State::Loading { progress, .. } => Some(progress.part()),
            State::Ready(_) => None,
        }
    }

    pub(super) fn residence(&self, now: Instant) -> Residence {
        let footprint = self.footprint.unwrap_or_default();
        let left = |at: Instant| at.saturating_duration_since(now);
        let expires_at = self.usage.expiry(now).and_then(|at| {
            // A date that the calendar does not have is as good as none.
            jiff::Timestamp::now().checked_add(left(at)).ok()
        });
        Residence {
            users: self.usage.users,
            pinned: self.usage.is_pinned,
            expires_at,
            memory_bytes: footprint.total(),
            gpu_bytes: footprint.gpu,
        }
    }

    fn tie(&self) -> Tie {
        match &self.state {
            _ if self.usage.is_pinned => Tie::Pinned,
            State::Ready(_) if self.usage.users == 0 => Tie::IdleSince(self.usage.last_used),
            State::Ready(_) | State::Loading { .. } => Tie::Busy,
        }
    }
}

impl Table {
    pub(super) fn next_serial(&mut self) -> Serial {
        self.last.0 += 1;
        self.last
    }

    pub(super) fn insert(&mut self, key: &Path, slot: Slot) {
        self.slots.insert(key.to_owned(), slot);
    }

    /// What takes memory now, or has it set aside.
    pub(super) fn held(&self) -> Vec<Held> {
        let slots = self.slots.iter().filter_map(|(key, slot)| {
            Some(Held {
                key: key.clone(),
                footprint: slot.footprint?,
                tie: slot.tie(),
            })
        });
        let leaving = self.leaving.iter().map(|leaving| Held {
            key: PathBuf::new(),
            footprint: leaving.footprint,
            tie: Tie::Busy,
        });
        slots.chain(leaving).collect()
    }

    /// What a model takes, to be corrected.
    pub(super) fn footprint(&mut self, key: &Path) -> Option<&mut Footprint> {
        self.slots.get_mut(key)?.footprint.as_mut()
    }

    /// Puts a model that has been loaded into its slot.
    pub(super) fn settle(&mut self, key: &Path, model: Arc<LoadedModel>, now: Instant) {
        self.failures.remove(key);
        if let Some(slot) = self.slots.get_mut(key) {
            slot.state = State::Ready(model);
            slot.usage.last_used = now;
        }
    }

    /// Empties the slot of a model that could not be loaded.
    pub(super) fn fail(&mut self, key: &Path, error: &LoadError) {
        self.slots.remove(key);
        // What passes by itself is no fault of the model's.
        if !matches!(error, LoadError::Busy { .. }) {
            self.failures.insert(key.to_owned(), error.to_string());
        }
    }

    /// Notes the end of a use; true if that may matter to others.
    pub(super) fn end_use(&mut self, serial: Serial, now: Instant) -> bool {
        if let Some(slot) = self.slots.values_mut().find(|slot| slot.serial == serial) {
            return slot.usage.end(now);
        }
        // A load that failed has no slot any more.
        let leaving = self.leaving.iter_mut().find(|other| other.serial == serial);
        leaving.is_some_and(|leaving| {
            leaving.users = leaving.users.saturating_sub(1);
            leaving.users == 0
        })
    }

    /// Takes a model that is ready out of its slot. With `claim`, returns its serial if nobody uses
    /// it: the caller must end it.
    pub(super) fn retire(&mut self, key: &Path, claim: bool) -> Option<Serial> {
        let slot = self.slots.remove(key)?;
        let State::Ready(model) = slot.state else {
            self.insert(key, slot);
            return None;
        };
        let is_claimed = claim && slot.usage.users == 0;
        self.leaving.push(Leaving {
            serial: slot.serial,
            users: slot.usage.users,
            footprint: slot.footprint.unwrap_or_default(),
            model: Some(model),
            is_claimed,
        });
        is_claimed.then_some(slot.serial)
    }

    /// Takes a model whose engine has ended by itself out of its slot; true if there was one.
    pub(super) fn bury(&mut self, key: &Path) -> bool {
        let model = self.slots.get(key).and_then(Slot::ready);
        let is_dead = model.is_some_and(|model| !model.session.engine().status().alive);
        if is_dead {
            self.retire(key, false);
        }
        is_dead
    }

    /// Those that have been idle for too long.
    pub(super) fn expired(&self, now: Instant) -> impl Iterator<Item = PathBuf> {
        let is_due = move |slot: &Slot| slot.usage.deadline().is_some_and(|at| at <= now);
        self.slots
            .iter()
            .filter(move |(_, slot)| slot.ready().is_some() && is_due(slot))
            .map(|(key, _)| key.clone())
    }

    /// When the next of those that are idle now will have been so for too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let ready = self.slots.values().filter(|slot| slot.ready().is_some());
        ready.filter_map(|slot| slot.usage.deadline()).min()
    }

    /// Those on their way out that nobody uses any more and nobody has undertaken to end; the
    /// caller has now.
    pub(super) fn claim_unused(&mut self) -> Vec<Serial> {
        let unused = self.leaving.iter_mut();
        unused
            .filter(|leaving| leaving.users == 0 && !leaving.is_claimed)
            .map(|leaving| {
                leaving.is_claimed = true;
                leaving.serial
            })
            .collect()
    }

    /// The model of one on its way out, to be ended.
    pub(super) fn take_leaving(&mut self, serial: Serial) -> Option<Arc<LoadedModel>> {
        let mut leaving = self.leaving.iter_mut();
        leaving.find(|other| other.serial == serial)?.model.take()
    }

    /// Notes that the memory of one on its way out is free.
    pub(super) fn forget(&mut self, serial: Serial) {
        self.leaving.retain(|leaving| leaving.serial != serial);
    }

    /// Whether something is being loaded or ended.
    pub(super) fn is_busy(&self) -> bool {
        self.slots.values().any(|slot| slot.ready().is_none())
            || self.leaving.iter().any(|leaving| leaving.is_claimed)
    }

    /// Forgets everything, and returns the models that there still were.
    pub(super) fn clear(&mut self) -> Vec<Arc<LoadedModel>> {
        let leaving = std::mem::take(&mut self.leaving);
        let slots = std::mem::take(&mut self.slots);
        let ready = slots.into_values().filter_map(|slot| match slot.state {
            State::Ready(model) => Some(model),
            State::Loading { .. } => None,
        });
        let leaving = leaving.into_iter().filter_map(|leaving| leaving.model);
        ready.chain(leaving).collect()
    }
}
