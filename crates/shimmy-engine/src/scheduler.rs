//! Who computes what in the next step. Pure: no backend, no clock, no channel.
//!
//! Sequences join and leave at every step. Running answers come first, one row each; prompts fill
//! what is left, in chunks. When the KV cache runs out, the youngest sequence gives its cells
//! back and is computed again later, from the tokens kept here: its answer goes on as if nothing
//! had happened.
//!
//! The loop calls [`Scheduler::plan`], computes the plan, reports with [`Scheduler::apply`], and
//! gives the sampled tokens with [`Scheduler::push`].

use std::collections::VecDeque;

use crate::params::AdapterScale;
use crate::runner::{Batch, Row, RunnerLimits, SequenceId, Token};

/// A request, as the scheduler sees it. Requests are numbered in the order of arrival.
pub(crate) type RequestId = u64;

#[derive(Debug, Clone)]
struct Sequence {
    request: RequestId,
    /// Prompt and answer so far.
    tokens: Vec<Token>,
    /// How many of them the KV cache holds.
    computed: usize,
    adapters: Vec<AdapterScale>,
    /// When its adapter set last had its turn, in steps.
    last_turn: u64,
}

impl Sequence {
    fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }
}

#[derive(Debug, Clone)]
struct Running {
    slot: SequenceId,
    sequence: Sequence,
}

/// What to compute in one step.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Slots whose cells must be freed first.
    pub(crate) free: Vec<SequenceId>,
    /// The adapters of this step.
    pub(crate) adapters: Vec<AdapterScale>,
    /// The rows; empty when nothing is running.
    pub(crate) batch: Batch,
    /// The requests with rows in the batch, with the row whose logits end their known tokens, if
    /// this step reaches it.
    pub(crate) parts: Vec<Part>,
}

/// One request's share of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) request: RequestId,
    pub(crate) rows: usize,
    pub(crate) output: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Scheduler {
    limits: RunnerLimits,
    prefill_beside_decode: usize,
    waiting: VecDeque<Sequence>,
    /// In order of arrival.
    running: Vec<Running>,
    free_slots: Vec<SequenceId>,
    /// Slots given back since the last plan, whose cells are still to be freed.
    dirty: Vec<SequenceId>,
    step: u64,
}

impl Scheduler {
    pub(crate) fn new(limits: RunnerLimits, prefill_beside_decode: usize) -> Self {
        // The last in the list is taken first.
        let free_slots = (0..limits.sequences as u32).rev().map(SequenceId).collect();
        Self {
            limits,
            prefill_beside_decode: prefill_beside_decode.max(1),
            waiting: VecDeque::new(),
            running: Vec::new(),
            free_slots,
            dirty: Vec::new(),
            step: 0,
        }
    }

    /// Takes a request into the queue. Its prompt is not empty and fits the cache.
    pub(crate) fn add(&mut self, id: RequestId, prompt: Vec<Token>, adapters: Vec<AdapterScale>) {
        let sequence = Sequence {
            request: id,
            tokens: prompt,
            computed: 0,
            adapters,
            last_turn: 0,
        };
        self.waiting.push_back(sequence);
    }

    /// Forgets a request wherever it is.
    pub(crate) fn remove(&mut self, id: RequestId) {
        self.waiting.retain(|sequence| sequence.request != id);
        if let Some(at) = self
            .running
            .iter()
            .position(|running| running.sequence.request == id)
        {
            let running = self.running.remove(at);
            self.release(running.slot);
        }
    }

    /// Forgets what the KV cache holds, after the runner has started over.
    pub(crate) fn forget_cache(&mut self) {
        for running in &mut self.running {
            running.sequence.computed = 0;
        }
        self.dirty.clear();
    }

    /// Whether there is anything to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Requests being computed.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Cells of the KV cache that are taken.
    pub(crate) fn cells_used(&self) -> usize {
        self.running
            .iter()
            .map(|running| running.sequence.computed)
            .sum()
    }

    /// Cells that the running requests need for all their known tokens and the next one.
    pub(crate) fn cells_promised(&self) -> usize {
        let needed: usize = self
            .running
            .iter()
            .map(|r| r.sequence.tokens.len() + 1)
            .sum();
        needed.min(self.limits.cells)
    }

    /// Learns that the cache has fewer cells than the runner promised.
    pub(crate) fn limit_cells(&mut self, cells: usize) {
        self.limits.cells = self.limits.cells.min(cells);
    }

    /// The running request that came first, with the number of its known tokens.
    pub(crate) fn oldest_running(&self) -> Option<(RequestId, usize)> {
        let Running { sequence, .. } = self.running.first()?;
        Some((sequence.request, sequence.tokens.len()))
    }

    /// Plans the next step.
    pub(crate) fn plan(&mut self) -> Plan {
        self.step += 1;
        self.admit();
        loop {
            let plan = self.try_plan();
            // Something runs but no row fits: somebody must make room. A lone sequence always
            // fits, so this ends.
            if !plan.batch.is_empty() || !self.preempt_youngest() {
                return Plan {
                    free: std::mem::take(&mut self.dirty),
                    ..plan
                };
            }
        }
    }

    /// Takes note that a plan has been computed.
    pub(crate) fn apply(&mut self, plan: &Plan) {
        for part in &plan.parts {
            if let Some(sequence) = self.find(part.request) {
                sequence.computed += part.rows;
            }
        }
    }

    /// Appends a sampled token, which the next step computes.
    pub(crate) fn push(&mut self, id: RequestId, token: Token) {
        if let Some(sequence) = self.find(id) {
            sequence.tokens.push(token);
        }
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
        self.release(slot);
        sequence.computed = 0;
        self.waiting.push_front(sequence);
        true
    }

    fn find(&mut self, id: RequestId) -> Option<&mut Sequence> {
        let running = self
            .running
            .iter_mut()
            .find(|running| running.sequence.request == id)?;
        Some(&mut running.sequence)
    }

    fn release(&mut self, slot: SequenceId) {
        self.free_slots.push(slot);
        self.dirty.push(slot);
    }

    /// Moves requests from the queue to free slots, strictly in order: one that does not fit yet
    /// is not overtaken, so none starves.
    fn admit(&mut self) {
        while let Some(next) = self.waiting.front() {
            let promised = self.cells_promised() + next.tokens.len();
            let fits = promised < self.limits.cells || self.running.is_empty();
            if !fits {
                return;
            }
            let Some(slot) = self.free_slots.pop() else {
                return;
            };
            let Some(mut sequence) = self.waiting.pop_front() else {
                return;
            };
            // As if its adapters had just had their turn: newcomers must not overtake the set of
            // an answer that runs.
            sequence.last_turn = self.step - 1;
            self.running.push(Running { slot, sequence });
            self.running.sort_by_key(|running| running.sequence.request);
        }
    }

    fn try_plan(&mut self) -> Plan {
        let mut plan = Plan {
            adapters: self.choose_adapters(),
            ..Plan::default()
        };
        let mut cells = self.limits.cells.saturating_sub(self.cells_used());
        let turn = |running: &&mut Running| running.sequence.adapters == plan.adapters;

        let mut decoding = 0;
        let mut prefilling = Vec::new();
        for running in self.running.iter_mut().filter(turn) {
            running.sequence.last_turn = self.step;
            if running.sequence.pending() > 1 {
                prefilling.push(running);
            } else if decoding < self.limits.batch && cells > 0 {
                append(running, 1, &mut plan.batch, &mut plan.parts);
                decoding += 1;
                cells -= 1;
            }
        }
        let mut budget = self.limits.batch - decoding;
        if decoding > 0 {
            budget = budget.min(self.prefill_beside_decode);
        }
        for running in prefilling {
            let rows = running.sequence.pending().min(budget).min(cells);
            if rows == 0 {
                break;
            }
            append(running, rows, &mut plan.batch, &mut plan.parts);
            budget -= rows;
            cells -= rows;
        }
        plan
    }

    /// The adapter set whose sequences have waited longest; of those that waited equally long,
    /// the one of the oldest request.
    fn choose_adapters(&self) -> Vec<AdapterScale> {
        self.running
            .iter()
            .map(|running| &running.sequence)
            .min_by_key(|sequence| (sequence.last_turn, sequence.request))
            .map(|sequence| sequence.adapters.clone())
            .unwrap_or_default()
    }
}

/// Adds the next `rows` tokens of a sequence to a batch.
fn append(running: &Running, rows: usize, batch: &mut Batch, parts: &mut Vec<Part>) {
    let Running { slot, sequence } = running;
    let end = sequence.computed + rows;
    let mut output = None;
    for (offset, &token) in sequence.tokens[sequence.computed..end].iter().enumerate() {
        let position = sequence.computed + offset;
        let last = position + 1 == sequence.tokens.len();
        let row = Row {
            token,
            position: position as u32,
            sequence: *slot,
            output: last,
        };
        let index = batch.push(row);
        if last {
            output = Some(index);
        }
    }
    parts.push(Part {
        request: sequence.request,
        rows,
        output,
    });
}

#[cfg(test)]
mod tests;
