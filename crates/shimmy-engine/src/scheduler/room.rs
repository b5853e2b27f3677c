//! Cells of the KV cache: how many are taken or promised, and who gives theirs back when there are too
//! few. It must not know what is computed in them.

use super::Scheduler;
use super::sequence::Running;
use crate::runner::SequenceId;

impl Scheduler {
    /// Cells of the KV cache that are taken, each counted once.
    pub(crate) fn cells_used(&self) -> usize {
        self.prefixes.cells().used()
    }

    /// Those of them that no running request holds.
    pub(crate) fn cells_parked(&self) -> usize {
        let slots = self.running.iter().map(|running| running.slot);
        self.cells_used() - self.prefixes.cells().used_by(slots)
    }

    /// An empty sequence with room for this many tokens beside the running requests, for which
    /// parked prefixes go if need be; none where there is no such room.
    pub(crate) fn make_place(&mut self, tokens: usize) -> Option<SequenceId> {
        let slots = self.running.iter().map(|running| running.slot);
        let promised = self.prefixes.cells().used_by(slots) + self.cells_to_come();
        // Where prefixes are offloaded, the one that was parked last may be of any length.
        let most_parked = match self.policy.offloads {
            true => self.limits.cells,
            false => self.limits.cells.min(self.policy.parked_cells),
        };
        if promised + tokens > most_parked {
            return None;
        }
        while self.prefixes.room() < tokens + self.cells_to_come() {
            if !self.prefixes.evict_oldest(None) {
                return None;
            }
        }
        self.prefixes.take()
    }

    /// Cells that are taken or will be: all that the cache holds, the known tokens of the running
    /// requests and the next one of each.
    pub(crate) fn cells_promised(&self) -> usize {
        (self.cells_used() + self.cells_to_come()).min(self.limits.cells)
    }

    /// Cells that steps are planned with.
    pub(crate) fn cells(&self) -> usize {
        self.limits.cells
    }

    /// Learns that the runner has no room for more cells than these, though it promised them.
    pub(crate) fn refuse_cells(&mut self, room: usize) {
        self.cell_limit.refused(room);
        self.adopt_limit();
    }

    /// Whether to plan once more before a request fails for want of cells: the runner may have those again
    /// that it once refused.
    pub(crate) fn tries_more_cells(&mut self) -> bool {
        let tries = self.cell_limit.is_worth_a_try();
        self.adopt_limit();
        tries
    }

    /// Plans with as many cells as the limit says now.
    pub(super) fn adopt_limit(&mut self) {
        self.limits.cells = self.cell_limit.now();
        self.prefixes.limit_cells(self.limits.cells);
    }

    /// Sends the youngest running sequence back to the head of the queue; false when it is the
    /// only one, which then has all the room there is.
    pub(crate) fn preempt_youngest(&mut self) -> bool {
        if self.running.len() < 2 {
            return false;
        }
        let youngest = (0..self.running.len())
            .max_by_key(|&index| self.running[index].sequence.request)
            .unwrap_or_default();
        let Running { slot, mut sequence } = self.running.remove(youngest);
        tracing::debug!(
            request = sequence.request,
            "no room in the KV cache: computed later"
        );
        self.prefixes.release(slot);
        sequence.forget();
        self.waiting.push_front(sequence);
        true
    }

    /// Gives up parked prefixes until the next step's rows fit.
    pub(super) fn make_room(&mut self) {
        let wanted = self.cells_to_come().min(self.limits.batch);
        while self.prefixes.room() < wanted && self.prefixes.evict_oldest(None) {}
    }

    pub(super) fn cells_to_come(&self) -> usize {
        let sequences = self.running.iter().map(|running| &running.sequence);
        sequences.map(|s| s.pending() + s.draft.len() + 1).sum()
    }
}
