//! Who gets which rows of the next step: answers first, then prompts as far as answers can wait, and
//! one adapter set at a time where a backend cannot mix them. It must not know how a request gets its
//! place, nor how room is made.

use super::sequence::{Running, meeting};
use super::{RequestId, Scheduler};
use crate::prefix::{CacheAction, SHORTEST};
use crate::runner::{AdapterScale, Batch, Row, SequenceId};

/// What to compute in one step.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// What has to be done to the cache first, in order.
    pub(crate) actions: Vec<CacheAction>,
    /// The requests that start with this step, and how many tokens each found in the cache.
    pub(crate) started: Vec<(RequestId, usize)>,
    /// The rows with their adapters; empty when nothing is running.
    pub(crate) batch: Batch,
    /// The requests with rows in the batch.
    pub(crate) parts: Vec<Part>,
}

/// One request's share of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) request: RequestId,
    pub(crate) rows: usize,
    /// The row whose logits end the known tokens, if this step reaches it; those of the draft
    /// follow it.
    pub(crate) output: Option<usize>,
    /// Tokens of the draft in this step.
    pub(crate) drafted: usize,
}

impl Scheduler {
    pub(super) fn try_plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        let mut cells = self.prefixes.room();
        let stops = self.stops();
        let set = self.turn();
        let has_turn = |running: &&mut Running| match &set {
            Some(set) => running.sequence.key.adapters == *set,
            None => true,
        };
        // Every sequence may have to show one row, whatever drafts there are.
        let mut drafts = self.limits.outputs.saturating_sub(self.running.len());

        let mut decoding = 0;
        let mut prefilling = Vec::new();
        for running in self.running.iter_mut().filter(has_turn) {
            running.sequence.last_turn = self.step;
            if !running.sequence.is_answering() {
                prefilling.push(running);
            } else if decoding < self.limits.batch && cells > 0 {
                let most = (self.limits.batch - decoding).min(cells);
                let known = running.sequence.pending().min(most);
                let draft = &mut running.sequence.draft;
                draft.truncate((most - known).min(drafts));
                drafts -= draft.len();
                let rows = known + draft.len();
                append(running, known, &mut plan.batch, &mut plan.parts);
                decoding += rows;
                cells -= rows;
            }
        }
        let mut budget = self.limits.batch - decoding;
        if decoding > 0 && !prefilling.is_empty() {
            let wanted: usize = prefilling.iter().map(|r| r.sequence.pending()).sum();
            let wanted = wanted.min(budget).max(1);
            let gap = self.policy.longest_gap;
            budget = budget.min(self.costs.prefill_rows(decoding, wanted, gap));
        }
        for running in prefilling {
            let mut rows = running.sequence.pending().min(budget).min(cells);
            if let Some((_, stop)) = stops.iter().find(|(slot, _)| *slot == running.slot) {
                rows = rows.min(stop - running.sequence.computed);
            }
            if rows == 0 {
                break;
            }
            append(running, rows, &mut plan.batch, &mut plan.parts);
            budget -= rows;
            cells -= rows;
        }
        plan
    }

    /// Where a prompt has to halt because another will go on from there, in a cache that can only
    /// be forked where it ends.
    fn stops(&self) -> Vec<(SequenceId, usize)> {
        if self.limits.can_truncate {
            return Vec::new();
        }
        let mut stops = Vec::new();
        for running in &self.running {
            let leader = &running.sequence;
            let waits = self.waiting.iter().filter(|next| next.key == leader.key);
            let meetings = waits.map(|next| meeting(leader, next));
            let next = meetings
                .filter(|&m| m > leader.computed && m >= SHORTEST)
                .min();
            stops.extend(next.map(|meeting| (running.slot, meeting)));
        }
        stops
    }

    /// Whose turn it is where all rows of a step have the same adapters: the set whose sequences
    /// have waited longest, and of those that waited equally long the one of the oldest request.
    /// None where everyone has a turn in every step.
    fn turn(&self) -> Option<Vec<AdapterScale>> {
        if self.limits.mixes_adapters {
            return None;
        }
        let sequences = self.running.iter().map(|running| &running.sequence);
        let next = sequences.min_by_key(|sequence| (sequence.last_turn, sequence.request))?;
        Some(next.key.adapters.clone())
    }
}

/// Adds the next `rows` tokens of a sequence to a batch, and its draft.
fn append(running: &Running, rows: usize, batch: &mut Batch, parts: &mut Vec<Part>) {
    let Running { slot, sequence } = running;
    let end = sequence.computed + rows;
    let known = sequence.tokens[sequence.computed..end].iter();
    let mut output = None;
    batch.choose_adapters(&sequence.key.adapters);
    for (position, &token) in (sequence.computed..).zip(known.chain(&sequence.draft)) {
        let is_last = position + 1 >= sequence.tokens.len();
        let index = batch.push(Row {
            token,
            position: position as u32,
            sequence: *slot,
            output: is_last,
        });
        if is_last {
            output = output.or(Some(index));
        }
    }
    parts.push(Part {
        request: sequence.request,
        rows: rows + sequence.draft.len(),
        output,
        drafted: sequence.draft.len(),
    });
}
