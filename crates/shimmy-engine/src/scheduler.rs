//! Who computes what in the next step. Pure: no backend, no clock, no channel.
//!
//! Sequences join and leave at every step. Running answers come first, one row each (and more
//! where a draft is to be checked or a constraint has forced tokens); prompts fill what is left, in
//! chunks as long as nobody has to wait too long for them ([`plan`]). A request starts from the
//! longest prefix that any other holds; one that shares a prefix with a prompt still being computed
//! waits for it instead of computing it again ([`admission`]). When the KV cache runs out, parked
//! prefixes go first, and then the youngest sequence gives its cells back and is computed again
//! later, from the tokens kept here: its answer goes on as if nothing had happened ([`room`]).
//!
//! The loop calls [`Scheduler::plan`], does what the plan says, reports with
//! [`Scheduler::apply`], and gives the sampled tokens with [`Scheduler::push`].

mod admission;
mod limit;
mod plan;
mod room;
mod sequence;

use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use plan::{Part, Plan};

use self::limit::CellLimit;
use self::sequence::{Running, Sequence};
use crate::costs::StepCosts;
use crate::prefix::{Key, Prefixes};
use crate::runner::{AdapterId, RunnerLimits, SequenceId, Token};

/// A request, as the scheduler sees it. Requests are numbered in the order of arrival.
pub(crate) type RequestId = u64;

/// How the scheduler decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Requests computed at a time, at most.
    pub(crate) parallel: usize,
    /// Cells that prefixes of ended requests may take, at most.
    pub(crate) parked_cells: usize,
    /// Whether parked prefixes that have to leave the cache are kept elsewhere.
    pub(crate) offloads: bool,
    /// How long an answer may wait for its next token while prompts are computed.
    pub(crate) longest_gap: Duration,
}

#[derive(Debug)]
pub(crate) struct Scheduler {
    /// As the runner promised, but for the cells that it turned out not to have.
    limits: RunnerLimits,
    cell_limit: CellLimit,
    policy: Policy,
    prefixes: Prefixes,
    costs: StepCosts,
    waiting: VecDeque<Sequence>,
    /// In order of arrival.
    running: Vec<Running>,
    started: Vec<(RequestId, usize)>,
    step: u64,
}

impl Scheduler {
    pub(crate) fn new(limits: RunnerLimits, policy: Policy) -> Self {
        Self {
            prefixes: Prefixes::new(
                limits,
                policy.parked_cells.min(limits.cells),
                policy.offloads,
            ),
            cell_limit: CellLimit::new(limits.cells),
            limits,
            policy,
            costs: StepCosts::default(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            started: Vec::new(),
            step: 0,
        }
    }

    /// Takes a request into the queue. Its prompt is not empty and fits the cache.
    pub(crate) fn add(&mut self, id: RequestId, prompt: Vec<Token>, key: Key) {
        let sequence = Sequence {
            request: id,
            prompt: prompt.len(),
            tokens: prompt,
            computed: 0,
            draft: Vec::new(),
            key,
            last_turn: 0,
        };
        self.waiting.push_back(sequence);
    }

    /// Forgets a request wherever it is; what was computed for it stays for others.
    pub(crate) fn remove(&mut self, id: RequestId) {
        self.waiting.retain(|sequence| sequence.request != id);
        let Some(at) = self.position(id) else { return };
        let Running { slot, mut sequence } = self.running.remove(at);
        let known = sequence.computed.min(sequence.tokens.len());
        if known < sequence.computed {
            if !self.limits.can_truncate {
                return self.prefixes.release(slot);
            }
            self.prefixes.cut(slot, known);
        }
        sequence.tokens.truncate(known);
        self.prefixes.park(slot, sequence.tokens, sequence.key);
    }

    /// Forgets what the KV cache holds, after the runner has started over.
    pub(crate) fn forget_cache(&mut self) {
        for running in &mut self.running {
            running.sequence.forget();
        }
        self.prefixes.forget_all();
    }

    /// Takes note that the cache does not hold what a plan was to put there.
    pub(crate) fn lost(&mut self, slot: SequenceId) {
        self.prefixes.lost(slot);
        if let Some(running) = self.running.iter_mut().find(|r| r.slot == slot) {
            running.sequence.forget();
            let request = running.sequence.request;
            self.started.retain(|(id, _)| *id != request);
            self.started.push((request, 0));
        }
    }

    /// Whether there is anything to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Requests being computed.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// What the cache holds beyond the running requests, and who may share it.
    pub(crate) fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// As above, to change it.
    pub(crate) fn prefixes_mut(&mut self) -> &mut Prefixes {
        &mut self.prefixes
    }

    /// What steps cost.
    pub(crate) fn costs(&self) -> &StepCosts {
        &self.costs
    }

    /// Whether some request, running or waiting, uses this adapter.
    pub(crate) fn uses_adapter(&self, id: AdapterId) -> bool {
        let running = self.running.iter().map(|running| &running.sequence);
        let mut all = running.chain(&self.waiting);
        all.any(|sequence| sequence.key.adapters.iter().any(|adapter| adapter.id == id))
    }

    /// Learns what a step of so many rows took, which went well.
    pub(crate) fn observe(&mut self, rows: usize, took: Duration) {
        self.costs.observe(rows, took);
        self.cell_limit.went_well();
        self.adopt_limit();
    }

    /// Changes how long an answer may wait for its next token while prompts are computed.
    pub(crate) fn set_longest_gap(&mut self, gap: Duration) {
        self.policy.longest_gap = gap;
    }

    /// The running request that came first, with the number of its known tokens.
    pub(crate) fn oldest_running(&self) -> Option<(RequestId, usize)> {
        let Running { sequence, .. } = self.running.first()?;
        Some((sequence.request, sequence.tokens.len()))
    }

    /// The running answers, if drafts may be checked in the next step: nobody waits for a prompt.
    pub(crate) fn drafting(&self) -> Option<Vec<RequestId>> {
        let is_free = self.limits.can_truncate
            && self.waiting.is_empty()
            && self.running.iter().all(|r| r.sequence.is_decoding());
        is_free.then(|| self.running.iter().map(|r| r.sequence.request).collect())
    }

    /// The known tokens of a running request.
    pub(crate) fn tokens(&self, id: RequestId) -> &[Token] {
        self.position(id)
            .map_or(&[], |at| &self.running[at].sequence.tokens)
    }

    /// The draft of a running request.
    pub(crate) fn drafted(&self, id: RequestId) -> &[Token] {
        self.position(id)
            .map_or(&[], |at| &self.running[at].sequence.draft)
    }

    /// Tokens that may come next in an answer, to be checked in the next step.
    pub(crate) fn draft(&mut self, id: RequestId, draft: Vec<Token>) {
        if let Some(sequence) = self.find(id) {
            sequence.draft = draft;
        }
    }

    /// Plans the next step.
    pub(crate) fn plan(&mut self) -> Plan {
        self.step += 1;
        self.admit();
        loop {
            self.make_room();
            let plan = self.try_plan();
            // Something runs but no row fits: somebody must make room. A lone sequence always
            // fits, so this ends.
            if !plan.batch.is_empty() || !self.preempt_youngest() {
                return Plan {
                    actions: self.prefixes.take_actions(),
                    started: std::mem::take(&mut self.started),
                    ..plan
                };
            }
        }
    }

    /// Takes note that a plan has been computed.
    pub(crate) fn apply(&mut self, plan: &Plan) {
        for part in &plan.parts {
            let Some(at) = self.position(part.request) else {
                continue;
            };
            let Running { slot, sequence } = &mut self.running[at];
            sequence.computed += part.rows;
            self.prefixes.extend(*slot, part.rows);
        }
    }

    /// Appends a sampled token and those that were forced after it, which the next step computes
    /// unless they were in the draft.
    pub(crate) fn push(&mut self, id: RequestId, tokens: &[Token]) {
        if let Some(sequence) = self.find(id) {
            sequence.tokens.extend_from_slice(tokens);
        }
    }

    /// Forgets what was computed for a draft beyond its tokens that came true.
    pub(crate) fn settle(&mut self, id: RequestId, came_true: usize) {
        let Some(at) = self.position(id) else { return };
        let Running { slot, sequence } = &mut self.running[at];
        let untrue = sequence.draft.len() - came_true;
        sequence.draft.clear();
        let true_length = sequence.computed - untrue;
        if untrue > 0 {
            sequence.computed = true_length;
            self.prefixes.cut(*slot, true_length);
        }
    }

    fn position(&self, id: RequestId) -> Option<usize> {
        self.running.iter().position(|r| r.sequence.request == id)
    }

    fn find(&mut self, id: RequestId) -> Option<&mut Sequence> {
        let at = self.position(id)?;
        Some(&mut self.running[at].sequence)
    }
}

#[cfg(test)]
mod tests;
