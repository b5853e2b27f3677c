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
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::runner::AdapterId;

    fn limits(cells: usize, sequences: usize, batch: usize) -> RunnerLimits {
        RunnerLimits {
            cells,
            sequences,
            batch,
            vocabulary: 1000,
            can_truncate: true,
        }
    }

    /// Runs every request to its end and checks, at each step, what must always hold.
    struct World {
        scheduler: Scheduler,
        limits: RunnerLimits,
        /// What the cache holds, per slot.
        cache: HashMap<SequenceId, Vec<Token>>,
        /// What each request has said, and how much it will say.
        said: HashMap<RequestId, (Vec<Token>, usize)>,
    }

    impl World {
        fn new(limits: RunnerLimits) -> Self {
            let scheduler = Scheduler::new(limits, 3);
            Self {
                scheduler,
                limits,
                cache: HashMap::new(),
                said: HashMap::new(),
            }
        }

        fn add(&mut self, id: RequestId, prompt: usize, answer: usize, adapters: u32) {
            let prompt = (0..prompt as u32).map(|n| n + id as u32 * 7).collect();
            let adapters = (0..adapters)
                .map(|n| AdapterScale {
                    id: AdapterId(n),
                    scale: 1.0,
                })
                .collect();
            self.scheduler.add(id, prompt, adapters);
            self.said.insert(id, (Vec::new(), answer));
        }

        /// A "model" whose next token depends on everything the cache holds.
        fn next(held: &[Token]) -> Token {
            held.iter().fold(7, |hash: u32, &token| {
                hash.wrapping_mul(31).wrapping_add(token)
            }) % 997
        }

        fn step(&mut self) -> Plan {
            let plan = self.scheduler.plan();
            for slot in &plan.free {
                self.cache.remove(slot);
            }
            assert!(plan.batch.len() <= self.limits.batch);
            let mut outputs = HashMap::new();
            for (index, row) in plan.batch.rows().iter().enumerate() {
                let held = self.cache.entry(row.sequence).or_default();
                assert_eq!(
                    held.len(),
                    row.position as usize,
                    "positions are consecutive"
                );
                held.push(row.token);
                if row.output {
                    outputs.insert(index, Self::next(held));
                }
            }
            let used: usize = self.cache.values().map(Vec::len).sum();
            assert!(used <= self.limits.cells, "{used} cells used");
            self.scheduler.apply(&plan);
            assert_eq!(used, self.scheduler.cells_used());
            for part in &plan.parts {
                let Some(output) = part.output else { continue };
                let (said, answer) = self.said.get_mut(&part.request).expect("known");
                said.push(outputs[&output]);
                if said.len() == *answer {
                    self.scheduler.remove(part.request);
                } else {
                    self.scheduler.push(part.request, outputs[&output]);
                }
            }
            plan
        }
    }

    fn alone(id: RequestId, prompt: usize, answer: usize) -> Vec<Token> {
        let mut held: Vec<Token> = (0..prompt as u32).map(|n| n + id as u32 * 7).collect();
        (0..answer)
            .map(|_| {
                let token = World::next(&held);
                held.push(token);
                token
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn everyone_finishes_with_the_answer_it_would_have_alone(
            requests in prop::collection::vec((1_usize..30, 1_usize..20, 0_u32..3), 1..12),
            cells in 50_usize..90,
            sequences in 1_usize..5,
            batch in 4_usize..20,
        ) {
            let mut world = World::new(limits(cells, sequences, batch));
            for (id, &(prompt, answer, adapters)) in (0..).zip(&requests) {
                world.add(id, prompt, answer, adapters);
            }
            let mut steps = 0;
            while !world.scheduler.is_idle() {
                let plan = world.step();
                prop_assert!(!plan.batch.is_empty(), "a step without work");
                steps += 1;
                prop_assert!(steps < 20_000, "no end");
            }
            for (id, &(prompt, answer, _)) in (0..).zip(&requests) {
                prop_assert_eq!(&world.said[&id].0, &alone(id, prompt, answer));
            }
        }
    }

    #[test]
    fn a_request_joins_while_another_runs() {
        let mut world = World::new(limits(100, 4, 16));
        world.add(0, 4, 10, 0);
        world.step();
        world.add(1, 4, 10, 0);
        let plan = world.step();
        assert_eq!(
            plan.parts
                .iter()
                .map(|part| part.request)
                .collect::<Vec<_>>(),
            [0, 1]
        );
    }

    #[test]
    fn a_long_prompt_beside_an_answer_comes_in_small_chunks() {
        let mut world = World::new(limits(100, 4, 16));
        world.add(0, 4, 10, 0);
        world.step();
        world.add(1, 40, 1, 0);
        let plan = world.step();
        assert_eq!(
            plan.parts[0],
            Part {
                request: 0,
                rows: 1,
                output: Some(0)
            }
        );
        assert_eq!(
            plan.parts[1],
            Part {
                request: 1,
                rows: 3,
                output: None
            }
        );
    }

    #[test]
    fn a_lone_prompt_takes_the_whole_batch() {
        let mut world = World::new(limits(100, 4, 16));
        world.add(0, 40, 1, 0);
        assert_eq!(world.step().batch.len(), 16);
    }

    #[test]
    fn adapter_sets_take_turns() {
        let mut world = World::new(limits(100, 4, 16));
        world.add(0, 2, 10, 0);
        world.add(1, 2, 10, 1);
        world.add(2, 2, 10, 0);
        let turns: Vec<Vec<RequestId>> = (0..4)
            .map(|_| world.step().parts.iter().map(|part| part.request).collect())
            .collect();
        assert_eq!(turns, [vec![0, 2], vec![1], vec![0, 2], vec![1]]);
    }

    #[test]
    fn newcomers_with_another_adapter_do_not_starve_a_running_answer() {
        let mut world = World::new(limits(100, 4, 16));
        world.add(0, 2, 100, 0);
        world.step();
        for id in 1..=10 {
            world.add(id, 2, 1, 1);
            world.step();
        }
        let said = world.said[&0].0.len();
        assert!(said >= 5, "only {said} tokens in 11 steps");
    }

    #[test]
    fn a_removed_request_gives_its_slot_back_by_the_next_step() {
        let mut world = World::new(limits(100, 1, 16));
        world.add(0, 4, 10, 0);
        world.add(1, 4, 10, 0);
        world.step();
        world.scheduler.remove(0);
        let plan = world.step();
        assert_eq!(plan.free, [SequenceId(0)]);
        assert_eq!(plan.parts[0].request, 1);
    }
}
