//! What the handles of an engine and its thread both see: counters, and the places in the queue.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::SubmitError;
use crate::runner::AdapterId;

/// What handles and the engine thread both see.
#[derive(Default)]
pub(crate) struct Shared {
    /// Requests submitted and not yet ended.
    occupied: AtomicUsize,
    /// Most requests that may be in the engine: the queue and those being computed.
    places: usize,
    queue: usize,
    next_id: AtomicU64,
    /// Set when the engine takes no more requests, by shutdown or by a fault.
    pub(crate) closed: AtomicBool,
    /// Set when the engine ended by a fault.
    pub(crate) failed: AtomicBool,
    /// Cells of the cache in use after the last step.
    pub(crate) cells_used: AtomicUsize,
    /// Cells of the cache that only prefixes of ended requests hold.
    pub(crate) cells_parked: AtomicUsize,
    /// Sequences being computed after the last step.
    pub(crate) running: AtomicUsize,
    /// Tokens of prompts that did not have to be computed, and of those that had to.
    pub(crate) reused: AtomicU64,
    pub(crate) prefilled: AtomicU64,
    /// Tokens of answers that a constraint forced, so that they took no step of their own.
    pub(crate) forced: AtomicU64,
    /// Steps computed.
    pub(crate) steps: AtomicU64,
    /// Tokens of drafts, and those of them that came true.
    pub(crate) drafted: AtomicU64,
    pub(crate) came_true: AtomicU64,
    /// Bytes of prefixes that are kept outside the cache.
    pub(crate) offloaded: AtomicU64,
    /// Prefixes given up for want of room.
    pub(crate) evicted: AtomicU64,
    /// The adapters that requests may name.
    adapters: RwLock<BTreeSet<AdapterId>>,
}

/// A glance at a running engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineStatus {
    /// Whether it takes requests.
    pub alive: bool,
    /// Whether it ended by a fault rather than by shutdown.
    pub failed: bool,
    /// Requests being computed.
    pub running: usize,
    /// Requests in the engine, running or waiting.
    pub occupied: usize,
    /// Cells of the KV cache in use.
    pub cells_used: usize,
    /// Those of them that keep prefixes of ended requests for others.
    pub cells_parked: usize,
    /// Cells of the KV cache in all.
    pub cells: usize,
    /// Tokens of prompts that were found in the cache.
    pub tokens_reused: u64,
    /// Tokens of prompts that were computed.
    pub tokens_prefilled: u64,
    /// Tokens of answers that a constraint forced, so that they took no step of their own.
    pub tokens_forced: u64,
    /// Steps computed.
    pub steps: u64,
    /// Tokens drafted by looking them up.
    pub tokens_drafted: u64,
    /// Those of them that came true.
    pub drafts_accepted: u64,
    /// Bytes of prefixes of ended requests that are kept outside the KV cache.
    pub offloaded_bytes: u64,
    /// Prefixes given up for want of room.
    pub prefixes_evicted: u64,
}

impl Shared {
    pub(crate) fn new(queue: usize, parallel: usize) -> Self {
        Self {
            places: queue + parallel,
            queue,
            ..Self::default()
        }
    }

    /// Requests that may be computed at a time.
    pub(crate) fn parallel(&self) -> usize {
        self.places - self.queue
    }

    pub(crate) fn status(&self, cells: usize) -> EngineStatus {
        EngineStatus {
            alive: !self.closed.load(Ordering::Acquire),
            failed: self.failed.load(Ordering::Acquire),
            running: self.running.load(Ordering::Relaxed),
            occupied: self.occupied.load(Ordering::Relaxed),
            cells_used: self.cells_used.load(Ordering::Relaxed),
            cells_parked: self.cells_parked.load(Ordering::Relaxed),
            cells,
            tokens_reused: self.reused.load(Ordering::Relaxed),
            tokens_prefilled: self.prefilled.load(Ordering::Relaxed),
            tokens_forced: self.forced.load(Ordering::Relaxed),
            steps: self.steps.load(Ordering::Relaxed),
            tokens_drafted: self.drafted.load(Ordering::Relaxed),
            drafts_accepted: self.came_true.load(Ordering::Relaxed),
            offloaded_bytes: self.offloaded.load(Ordering::Relaxed),
            prefixes_evicted: self.evicted.load(Ordering::Relaxed),
        }
    }

    /// A number that no other request of this engine has.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Changes which adapters requests may name.
    pub(crate) fn with_adapters<T>(&self, change: impl FnOnce(&mut BTreeSet<AdapterId>) -> T) -> T {
        // Nothing can panic under the lock.
        let adapters = self.adapters.write();
        change(&mut adapters.unwrap_or_else(PoisonError::into_inner))
    }
}

/// One of the engine's places, given back on drop.
pub(crate) struct Place(Arc<Shared>);

impl Place {
    /// A place, if one is free.
    pub(crate) fn take(shared: &Arc<Shared>) -> Result<Self, SubmitError> {
        if shared.closed.load(Ordering::Acquire) {
            return Err(SubmitError::ShuttingDown);
        }
        shared
            .occupied
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |occupied| {
                (occupied < shared.places).then_some(occupied + 1)
            })
            .map_err(|_| SubmitError::QueueFull {
                limit: shared.queue,
            })?;
        Ok(Self(Arc::clone(shared)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.occupied.fetch_sub(1, Ordering::AcqRel);
    }
}
