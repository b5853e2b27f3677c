//! What is done to the cache beside computing: what a plan asks for, and prefixes that leave it for
//! memory or disk and come back. Which prefix stays, goes or is shared is not decided here.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::sync::mpsc::Sender;
use std::thread;

use super::Engine;
use crate::command::Command;
use crate::offload::State;
use crate::prefix::{CacheAction, Key};
use crate::runner::Token;
use crate::scheduler::RequestId;
use crate::store::Entry;

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

    /// Takes a request into the queue once the longest prefix of it that is kept anywhere is in the
    /// cache. What is on disk is read by another thread.
    pub(super) fn enter(&mut self, arrival: Arrival, back: Sender<Command>) {
        let Arrival { prompt, key, .. } = &arrival;
        let whole = !self.can_truncate;
        let known = self.scheduler.longest_known(prompt, key);
        let offloaded = self.offloaded.longest(prompt, key, known, whole);
        let known = offloaded.map_or(known, |(_, length)| length);
        let store = self.store.as_ref();
        if let Some(entry) = store.and_then(|store| store.find(prompt, key, known, whole)) {
            let entry = entry.clone();
            return self.fetch(entry, arrival, back);
        }
        if let Some(state) = offloaded.and_then(|(at, _)| self.offloaded.take(at))
            && let Restored::NoPlace(unplaced) = self.restore(state)
        {
            self.offloaded.put(unplaced, self.can_truncate);
        }
        self.queue(arrival);
    }

    /// Lets a request wait for a prefix on disk.
    fn fetch(&mut self, entry: Entry, arrival: Arrival, back: Sender<Command>) {
        if let Some((_, waiting)) = self.fetches.iter_mut().find(|(other, _)| *other == entry) {
            return waiting.push(arrival);
        }
        let reading = entry.clone();
        let read = move || {
            let state = reading.read();
            // The engine may have ended.
            let _ = back.send(Command::Fetched {
                entry: reading,
                state,
            });
        };
        match thread::Builder::new().name("prefix".to_owned()).spawn(read) {
            Ok(_) => self.fetches.push((entry, vec![arrival])),
            Err(error) => {
                tracing::warn!(%error, "no thread to read a kept prefix: computed again");
                self.queue(arrival);
            }
        }
    }

    /// Puts a prefix from disk into the cache, and those who waited for it into the queue.
    pub(super) fn fetched(&mut self, entry: &Entry, state: io::Result<Vec<u8>>) {
        let restored = state.map(|bytes| self.restore(entry.state(bytes)));
        match (&mut self.store, restored) {
            // It is still on disk, for when there is a place.
            (_, Ok(Restored::Parked | Restored::NoPlace(_))) | (None, _) => {}
            (Some(store), Ok(Restored::Misfit)) => {
                store.give_up(entry, "it does not fit this engine");
            }
            (Some(store), Err(error)) => store.give_up(entry, error),
        }
        let at = self
            .fetches
            .iter()
            .position(|(fetched, _)| fetched == entry);
        let waiting = at.map(|at| self.fetches.swap_remove(at).1);
        for arrival in waiting.into_iter().flatten() {
            // Some have gone meanwhile.
            if self.requests.contains_key(&arrival.id) {
                self.queue(arrival);
            }
        }
    }

    fn queue(&mut self, Arrival { id, prompt, key }: Arrival) {
        self.scheduler.add(id, prompt, key);
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

    /// Parks a prefix that comes back.
    fn restore(&mut self, found: State) -> Restored {
        let Some(slot) = self.scheduler.make_place(found.tokens.len()) else {
            return Restored::NoPlace(found);
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
            Restored::Parked
        } else {
            prefixes.release(slot);
            Restored::Misfit
        }
    }
}

/// A request on its way into the queue.
pub(super) struct Arrival {
    pub(super) id: RequestId,
    pub(super) prompt: Vec<Token>,
    pub(super) key: Key,
}

/// What became of a prefix that was to come back.
enum Restored {
    /// It is in the cache.
    Parked,
    /// There is no place for it now.
    NoPlace(State),
    /// The runner does not take it.
    Misfit,
}

/// Gives the state of a prefix.
type Save<'a> = Box<dyn FnOnce() -> Option<Cow<'a, [u8]>> + 'a>;
