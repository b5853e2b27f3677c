//! How models leave memory: by hand, after idling, and all at the end.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Residents;
use super::table::{Serial, Slot, State, Table};

/// How long shutdown waits for loads to notice that they are not wanted any more.
const LAST_LOADS: Duration = Duration::from_secs(1);

impl Residents {
    /// Takes a model out of memory; false if it is not in it, or not yet. Whoever uses the model
    /// keeps it: the engine ends with its last answer. Blocks until the memory is given back where
    /// nobody does.
    pub(in crate::loader) fn unload(&self, key: &Path) -> bool {
        let mut table = self.table();
        if table.slots.get(key).and_then(Slot::ready).is_none() {
            return false;
        }
        let idle = table.retire(key, true);
        drop(table);
        if let Some(serial) = idle {
            self.end(serial);
        }
        true
    }

    /// Takes out of memory what has been idle for too long, and what was only kept by answers that
    /// have ended, on threads that may block. Returns when to look again.
    pub(in crate::loader) fn unload_idle(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let mut table = self.table();
        let expired: Vec<_> = table.expired(now).collect();
        for key in &expired {
            self.events.evicted();
            tracing::debug!(?key, "idle for too long; unloaded");
            table.retire(key, false);
        }
        let ending = table.claim_unused();
        let next = table.next_deadline();
        drop(table);
        for serial in ending {
            let residents = Arc::clone(self);
            tokio::task::spawn_blocking(move || residents.end(serial));
        }
        next
    }

    /// Ends the engine of a model that has left the slots, and gives its memory back. Blocks.
    pub(super) fn end(&self, serial: Serial) {
        let model = self.table().take_leaving(serial);
        if let Some(model) = model {
            model.session.engine().shutdown();
            drop(model);
            shimmy_memory::give_back();
        }
        self.table().forget(serial);
        self.settled.notify_all();
    }

    /// Ends every engine, waits until their memory is given back, and gives loads under way a
    /// moment to notice. Blocks.
    pub(in crate::loader) fn shutdown(&self) {
        let mut table = self.table();
        table.is_stopping = true;
        for slot in table.slots.values() {
            match &slot.state {
                // All at once, before any is waited for: each may be in a step that takes a while.
                State::Ready(model) => model.session.engine().close(),
                State::Loading { progress, .. } => progress.stop(),
            }
        }
        // A load may be waiting for room.
        self.settled.notify_all();
        let is_busy = |table: &mut Table| table.is_busy();
        let (mut table, waited) = self
            .settled
            .wait_timeout_while(table, LAST_LOADS, is_busy)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            tracing::warn!("a model is still being loaded or unloaded; not waiting for it");
        }
        let models = table.clear();
        drop(table);
        for model in models {
            model.session.engine().shutdown();
        }
    }
}
