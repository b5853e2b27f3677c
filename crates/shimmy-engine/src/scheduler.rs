//! Who computes what in the next step. Pure: no backend, no clock, no channel.
//!
//! Sequences join and leave at every step. Running answers come first, one row each (and more
//! where a draft is to be checked or a constraint has forced tokens); prompts fill what is left, in chunks as long as nobody has to
//! wait too long for them. A request starts from the longest prefix that any other holds; one that
//! shares a prefix with a prompt still being computed waits for it instead of computing it again.
//! When the KV cache runs out, parked prefixes go first, and then the youngest sequence gives its
//! cells back and is computed again later, from the tokens kept here: its answer goes on as if
//! nothing had happened.
//!
//! The loop calls [`Scheduler::plan`], does what the plan says, reports with
//! [`Scheduler::apply`], and gives the sampled tokens with [`Scheduler::push`].

use std::collections::VecDeque;
use std::time::Duration;

use crate::costs::StepCosts;
use crate::params::AdapterScale;
use crate::prefix::{CacheAction, Key, Prefixes, SHORTEST, shared};
use crate::runner::{AdapterId, Batch, Row, RunnerLimits, SequenceId, Token};

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

#[derive(Debug, Clone)]
struct Sequence {
    request: RequestId,
    /// Prompt and answer so far.
    tokens: Vec<Token>,
    /// How many of them are the prompt.
    prompt: usize,
    /// How many of them the KV cache holds.
    computed: usize,
    /// Tokens that may come next; checked together with the last known one.
    draft: Vec<Token>,
    key: Key,
    /// When its adapter set last had its turn, in steps.
    last_turn: u64,
}

impl Sequence {
    fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Whether one row is all there is to compute before the next token.
    fn is_decoding(&self) -> bool {
        self.pending() == 1
    }

    /// Whether its answer goes on with every step: it is decoding, or a constraint has forced some
    /// tokens that are computed together.
    fn is_answering(&self) -> bool {
        self.is_decoding() || self.computed >= self.prompt
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
    /// What has to be done to the cache first, in order.
    pub(crate) actions: Vec<CacheAction>,
    /// The requests that start with this step, and how many tokens each found in the cache.
    pub(crate) started: Vec<(RequestId, usize)>,
    /// The adapters of this step.
    pub(crate) adapters: Vec<AdapterScale>,
    /// The rows; empty when nothing is running.
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

#[derive(Debug)]
pub(crate) struct Scheduler {
    limits: RunnerLimits,
    policy: Policy,
    prefixes: Prefixes,
    costs: StepCosts,
    waiting: VecDeque<Sequence>,
    /// In order of arrival.
    running: Vec<Running>,
    started: Vec<(RequestId, usize)>,
    step: u64,
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

impl Scheduler {
    pub(crate) fn new(limits: RunnerLimits, policy: Policy) -> Self {
        Self {
            prefixes: Prefixes::new(
                limits,
                policy.parked_cells.min(limits.cells),
                policy.offloads,
            ),
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
            running.sequence.computed = 0;
        }
        self.prefixes.forget_all();
    }

    /// Takes note that the cache does not hold what a plan was to put there.
    pub(crate) fn lost(&mut self, slot: SequenceId) {
        self.prefixes.lost(slot);
        if let Some(running) = self.running.iter_mut().find(|r| r.slot == slot) {
            running.sequence.computed = 0;
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

    /// Cells of the KV cache that are taken, each counted once.
    pub(crate) fn cells_used(&self) -> usize {
        self.prefixes.cells().used()
    }

    /// Those of them that no running request holds.
    pub(crate) fn cells_parked(&self) -> usize {
        let slots = self.running.iter().map(|running| running.slot);
        self.cells_used() - self.prefixes.cells().used_by(slots)
    }

    /// The longest prefix of a prompt that some request, running or parked, holds.
    pub(crate) fn longest_known(&self, prompt: &[Token], key: &Key) -> usize {
        let parked = self.prefixes.best_parked(prompt, key);
        let running = self.running.iter().filter(|r| r.sequence.key == *key);
        let running = running.map(|r| shared(&r.sequence.tokens, prompt));
        let longest = running.max().unwrap_or(0);
        longest.max(parked.map_or(0, |(_, length)| length))
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

    fn cells_to_come(&self) -> usize {
        let sequences = self.running.iter().map(|running| &running.sequence);
        sequences.map(|s| s.pending() + s.draft.len() + 1).sum()
    }

    /// Whether some request, running or waiting, uses this adapter.
    pub(crate) fn uses_adapter(&self, id: AdapterId) -> bool {
        let running = self.running.iter().map(|running| &running.sequence);
        let mut all = running.chain(&self.waiting);
        all.any(|sequence| sequence.key.adapters.iter().any(|adapter| adapter.id == id))
    }

    /// Learns that the cache has fewer cells than the runner promised.
    pub(crate) fn limit_cells(&mut self, cells: usize) {
        self.limits.cells = self.limits.cells.min(cells);
        self.prefixes.limit_cells(cells);
    }

    /// Learns what a step of so many rows took.
    pub(crate) fn observe(&mut self, rows: usize, took: Duration) {
        self.costs.observe(rows, took);
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
        sequence.computed = 0;
        sequence.draft.clear();
        self.waiting.push_front(sequence);
        true
    }

    fn position(&self, id: RequestId) -> Option<usize> {
        self.running.iter().position(|r| r.sequence.request == id)
    }

    fn find(&mut self, id: RequestId) -> Option<&mut Sequence> {
        let at = self.position(id)?;
        Some(&mut self.running[at].sequence)
    }

    /// Moves requests from the queue to the running ones, in order: one that does not fit yet is
    /// not overtaken, so none starves. Only one that waits for another's prefix lets others pass,
    /// and that wait ends with the other's prompt.
    fn admit(&mut self) {
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
        let (Some(slot), Some(mut sequence)) = (slot, self.waiting.remove(at)) else {
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

    /// Gives up parked prefixes until the next step's rows fit.
    fn make_room(&mut self) {
        let wanted = self.cells_to_come().min(self.limits.batch);
        while self.prefixes.room() < wanted && self.prefixes.evict_oldest(None) {}
    }

    fn try_plan(&mut self) -> Plan {
        let mut plan = Plan {
            adapters: self.choose_adapters(),
            ..Plan::default()
        };
        let mut cells = self.prefixes.room();
        let stops = self.stops();
        let turn = |running: &&mut Running| running.sequence.key.adapters == plan.adapters;
        // Every sequence may have to show one row, whatever drafts there are.
        let mut drafts = self.limits.outputs.saturating_sub(self.running.len());

        let mut decoding = 0;
        let mut prefilling = Vec::new();
        for running in self.running.iter_mut().filter(turn) {
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

    /// The adapter set whose sequences have waited longest; of those that waited equally long,
    /// the one of the oldest request.
    fn choose_adapters(&self) -> Vec<AdapterScale> {
        self.running
            .iter()
            .map(|running| &running.sequence)
            .min_by_key(|sequence| (sequence.last_turn, sequence.request))
            .map(|sequence| sequence.key.adapters.clone())
            .unwrap_or_default()
    }
}

/// How much of a request's prompt another will have computed when it is through with its own.
fn meeting(leader: &Sequence, next: &Sequence) -> usize {
    shared(&leader.tokens, &next.tokens).min(next.tokens.len() - 1)
}

/// Adds the next `rows` tokens of a sequence to a batch, and its draft.
fn append(running: &Running, rows: usize, batch: &mut Batch, parts: &mut Vec<Part>) {
    let Running { slot, sequence } = running;
    let end = sequence.computed + rows;
    let known = sequence.tokens[sequence.computed..end].iter();
    let mut output = None;
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

#[cfg(test)]
mod tests;
