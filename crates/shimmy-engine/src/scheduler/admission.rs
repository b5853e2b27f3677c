//! Who starts next, and from whose prefix. It must not know in which steps a prompt is computed.

use super::Scheduler;
use super::sequence::{Running, Sequence, meeting};
use crate::prefix::{Key, SHORTEST, shared};
use crate::runner::{SequenceId, Token};

impl Scheduler {
    /// The longest prefix of a prompt that some request, running or parked, holds.
    pub(crate) fn longest_known(&self, prompt: &[Token], key: &Key) -> usize {
        let parked = self.prefixes.best_parked(prompt, key);
        let running = self.running.iter().filter(|r| r.sequence.key == *key);
        let running = running.map(|r| shared(&r.sequence.tokens, prompt));
        let longest = running.max().unwrap_or(0);
        longest.max(parked.map_or(0, |(_, length)| length))
    }

    /// Moves requests from the queue to the running ones, in order: one that does not fit yet is
    /// not overtaken, so none starves. Only one that waits for another's prefix lets others pass,
    /// and that wait ends with the other's prompt.
    pub(super) fn admit(&mut self) {
        let mut at = 0;
        while at < self.waiting.len() && self.running.len() < self.policy.parallel {
            match self.place(at) {
                Placed::Runs => {}
                Placed::Follows => at += 1,
                Placed::NoRoom => return,
            }
        }
    }

    fn place(&mut self, at: usize) -> Placed {
        let next = &self.waiting[at];
        let (donor, length) = self.best_donor(next);
        if self.is_led(next, length) {
            return Placed::Follows;
        }
        // Cells of a running donor are counted already.
        let from_running = match donor {
            Some(Donor::Running(_)) => length,
            _ => 0,
        };
        let slots = self.running.iter().map(|running| running.slot);
        let promised = self.prefixes.cells().used_by(slots) + self.cells_to_come();
        let needed = next.tokens.len() + 1 - from_running;
        if promised + needed > self.limits.cells && !self.running.is_empty() {
            return Placed::NoRoom;
        }
        let (slot, computed) = match donor {
            Some(Donor::Parked(parked)) => (self.prefixes.fork_parked(parked, length), length),
            Some(Donor::Running(slot)) => (self.prefixes.fork(slot, length), length),
            None => (self.prefixes.take(), 0),
        };
        // It stays in the queue unless it has a place.
        let Some(slot) = slot else {
            return Placed::NoRoom;
        };
        let Some(mut sequence) = self.waiting.remove(at) else {
            self.prefixes.release(slot);
            return Placed::NoRoom;
        };
        sequence.computed = computed;
        self.started.push((sequence.request, computed));
        // As if its adapters had just had their turn: newcomers must not overtake the set of
        // an answer that runs.
        sequence.last_turn = self.step - 1;
        self.running.push(Running { slot, sequence });
        self.running.sort_by_key(|running| running.sequence.request);
        Placed::Runs
    }

    /// Who holds the longest prefix of a request now, and how long it is.
    fn best_donor(&self, next: &Sequence) -> (Option<Donor>, usize) {
        let parked = self.prefixes.best_parked(&next.tokens, &next.key);
        let parked = parked.map(|(at, length)| (Donor::Parked(at), length));
        let running = self.running.iter().filter(|r| r.sequence.key == next.key);
        let running = running.map(|running| {
            let sequence = &running.sequence;
            let held = sequence.computed.min(sequence.tokens.len());
            let same = shared(&sequence.tokens[..held], &next.tokens);
            let length = self.prefixes.usable(same, held, &next.tokens);
            (Donor::Running(running.slot), length)
        });
        let best = running.chain(parked).max_by_key(|&(_, length)| length);
        match best {
            Some((donor, length)) if length >= SHORTEST => (Some(donor), length),
            _ => (None, 0),
        }
    }

    /// Whether a running request is about to compute clearly more of a prefix than there is now.
    fn is_led(&self, next: &Sequence, now: usize) -> bool {
        self.running.iter().any(|running| {
            let leader = &running.sequence;
            if leader.key != next.key || leader.is_answering() {
                return false;
            }
            let meeting = meeting(leader, next);
            meeting > leader.computed && meeting >= now + SHORTEST
        })
    }
}

/// What became of a request that waits.
enum Placed {
    /// It runs.
    Runs,
    /// It waits for a prefix that another is computing.
    Follows,
    /// There is no room for it.
    NoRoom,
}

/// Where a request can start from.
#[derive(Clone, Copy)]
enum Donor {
    Parked(usize),
    Running(SequenceId),
}
