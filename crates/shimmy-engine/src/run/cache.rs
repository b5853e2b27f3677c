//! What is done to the cache beside computing: what a plan asks for, and prefixes that leave it for
//! memory or disk and come back. Which prefix stays, goes or is shared is not decided here.

use std::borrow::Cow;
use std::cell::RefCell;

use super::Engine;
use crate::offload::State;
use crate::prefix::{CacheAction, Key};
use crate::runner::Token;

impl Engine<'_> {
    /// Does to the cache what a plan says; false if something of it was not possible.
    pub(super) fn arrange(&mut self, actions: Vec<CacheAction>) -> bool {
        let mut lost = Vec::new();
        for action in actions {
            match action {
                // Cutting to nothing always works; see `Runner::truncate`.
                CacheAction::Free(slot) => {
                    let freed = self.runner.truncate(slot, 0);
                    debug_assert!(freed, "a runner must be able to forget a whole sequence");
                }
                CacheAction::Offload(parked) => {
                    if let Some(bytes) = self.runner.save(parked.sequence) {
                        let state = State {
                            tokens: parked.tokens,
                            key: parked.key,
                            bytes,
                        };
                        self.offloaded.put(state, self.can_truncate);
                    }
                    self.runner.truncate(parked.sequence, 0);
                }
                CacheAction::Fork { from, to, length } => {
                    // What is not there cannot be forked further.
                    if lost.contains(&from) || !self.runner.copy(from, to, length as u32) {
                        tracing::debug!(length, "a prefix cannot be forked: computed again");
                        lost.push(to);
                    }
                }
                CacheAction::Cut { sequence, length } => {
                    if !self.runner.truncate(sequence, length as u32) {
                        self.runner.truncate(sequence, 0);
                        lost.push(sequence);
                    }
                }
            }
        }
        for &sequence in &lost {
            self.scheduler.lost(sequence);
        }
        lost.is_empty()
    }

    /// Puts a prefix back into the cache if it is longer than any in there: from memory, or from
    /// disk.
    pub(super) fn fetch(&mut self, prompt: &[Token], key: &Key) {
        let whole = !self.can_truncate;
        let known = self.scheduler.longest_known(prompt, key);
        let offloaded = self.offloaded.longest(prompt, key, known, whole);
        let known = offloaded.map_or(known, |(_, length)| length);
        let stored = self
            .store
            .as_mut()
            .and_then(|store| store.find(prompt, key, known, whole));
        let found = stored.or_else(|| self.offloaded.take(offloaded?.0));
        let Some(found) = found else { return };
        if let Some(unplaced) = self.restore(found) {
            self.offloaded.put(unplaced, self.can_truncate);
        }
    }

    /// Does what has to be done to the cache while nobody waits for it.
    pub(super) fn tidy(&mut self) {
        if self.scheduler.is_idle() {
            let actions = self.scheduler.prefixes_mut().take_actions();
            self.arrange(actions);
        }
    }

    /// Writes the prefixes of ended requests to disk, at the end.
    pub(super) fn keep_prefixes(&mut self) {
        self.tidy();
        let Some(store) = &self.store else { return };
        let parked = self.scheduler.prefixes().parked().iter().rev();
        let runner = RefCell::new(&mut *self.runner);
        let parked = parked.map(|parked| {
            let save = || Some(Cow::Owned(runner.borrow_mut().save(parked.sequence)?));
            let save: Save<'_> = Box::new(save);
            (parked.tokens.as_slice(), &parked.key, save)
        });
        let offloaded = self.offloaded.iter().map(|state| {
            let save: Save<'_> = Box::new(|| Some(Cow::Borrowed(state.bytes.as_slice())));
            (state.tokens.as_slice(), &state.key, save)
        });
        store.write(parked.chain(offloaded));
    }

    /// Parks a prefix that comes back; gives it back where there is no place for it now.
    fn restore(&mut self, found: State) -> Option<State> {
        let Some(slot) = self.scheduler.make_place(found.tokens.len()) else {
            return Some(found);
        };
        // What is to leave must do so before others may use its cells.
        let actions = self.scheduler.prefixes_mut().take_actions();
        self.arrange(actions);
        let room = self.scheduler.cells_promised() + found.tokens.len();
        let restored = self
            .runner
            .reserve(room.min(self.scheduler.cells()))
            .is_ok()
            && self.runner.restore(slot, &found.bytes);
        let prefixes = self.scheduler.prefixes_mut();
        if restored {
            tracing::debug!(tokens = found.tokens.len(), "a prefix came back");
            prefixes.extend(slot, found.tokens.len());
            prefixes.park(slot, found.tokens, found.key);
        } else {
            tracing::warn!("a kept prefix does not fit this engine and is ignored");
            prefixes.release(slot);
        }
        None
    }
}

/// Gives the state of a prefix.
type Save<'a> = Box<dyn FnOnce() -> Option<Cow<'a, [u8]>> + 'a>;
