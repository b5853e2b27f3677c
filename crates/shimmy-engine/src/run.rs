//! The engine's loop: drain commands, plan, decode, sample, apply, emit.
//!
//! One thread owns all of it. There is no lock and nothing shared but counters.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::command::Command;
use crate::config::EngineConfig;
use crate::embed::EmbedQueue;
use crate::error::{GenerateError, RunnerError};
use crate::offload::{Offloaded, State};
use crate::params::{Event, FinishReason};
use crate::prefix::{CacheAction, Key};
use crate::request::{Next, Request};
use crate::runner::{AdapterId, Runner, Token, Tokenizer};
use crate::scheduler::{Part, Plan, Policy, RequestId, Scheduler};
use crate::shared::Shared;
use crate::store::Store;

/// Runs an engine until it is told to end or the last handle is gone. A panic ends this engine
/// alone: its requests fail and its status says so.
pub(crate) fn guarded(
    inbox: Receiver<Command>,
    runner: &mut dyn Runner,
    tokenizer: &dyn Tokenizer,
    config: &EngineConfig,
    shared: &Shared,
) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run(&inbox, runner, tokenizer, config, shared);
    }));
    if outcome.is_err() {
        tracing::error!("the engine panicked; its model must be loaded again");
        shared.failed.store(true, Ordering::Release);
    }
    shared.closed.store(true, Ordering::Release);
    shared.running.store(0, Ordering::Relaxed);
    shared.cells_used.store(0, Ordering::Relaxed);
    // Whatever is still in the inbox is dropped with it, and its readers learn that the engine
    // stopped.
}

fn run(
    inbox: &Receiver<Command>,
    runner: &mut dyn Runner,
    tokenizer: &dyn Tokenizer,
    config: &EngineConfig,
    shared: &Shared,
) {
    let limits = runner.limits();
    let policy = Policy {
        parallel: config.parallel.unwrap_or(limits.sequences).max(1),
        parked_cells: config.parked_cells.unwrap_or(limits.cells),
        offloads: config.offload_bytes > 0,
        longest_gap: config.longest_gap,
    };
    let mut engine = Engine {
        scheduler: Scheduler::new(limits, policy),
        requests: HashMap::new(),
        embeds: EmbedQueue::default(),
        leaving: Vec::new(),
        offloaded: Offloaded::new(config.offload_bytes),
        store: config.store.clone().map(Store::open),
        drafts: config.drafts,
        runner,
        tokenizer,
        queue_timeout: config.queue_timeout,
        cells: limits.cells,
        can_truncate: limits.can_truncate,
        shared,
    };
    while engine.take_commands(inbox) {
        engine.drop_cancelled();
        engine.step();
        engine.embed();
        engine.unload_adapters();
        engine.tidy();
        engine.publish();
    }
    let open: Vec<RequestId> = engine.requests.keys().copied().collect();
    for id in open {
        engine.fail(id, GenerateError::EngineStopped);
    }
    engine.keep_prefixes();
}

/// Gives the state of a prefix.
type Save<'a> = Box<dyn FnOnce() -> Option<Cow<'a, [u8]>> + 'a>;

/// Everything the loop owns.
struct Engine<'a> {
    scheduler: Scheduler,
    requests: HashMap<RequestId, Request>,
    embeds: EmbedQueue,
    /// Adapters that go when nobody uses them any more.
    leaving: Vec<(AdapterId, oneshot::Sender<bool>)>,
    /// Prefixes that have left the cache.
    offloaded: Offloaded,
    store: Option<Store>,
    drafts: bool,
    runner: &'a mut dyn Runner,
    tokenizer: &'a dyn Tokenizer,
    queue_timeout: Duration,
    cells: usize,
    can_truncate: bool,
    shared: &'a Shared,
}

impl Drop for Engine<'_> {
    /// Refuses new requests before the running ones learn that the engine has ended, in a panic
    /// too: whoever asks again at once must not ask a dying engine.
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl Engine<'_> {
    /// Takes every command there is; waits for one when there is nothing else to do. False when
    /// the engine is to end.
    fn take_commands(&mut self, inbox: &Receiver<Command>) -> bool {
        if self.scheduler.is_idle() && self.embeds.is_empty() {
            match inbox.recv() {
                Ok(command) => {
                    if !self.take(command) {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        loop {
            match inbox.try_recv() {
                Ok(command) => {
                    if !self.take(command) {
                        return false;
                    }
                }
                Err(TryRecvError::Empty) => return true,
                // Requests still running have handles of their own, so none can be left.
                Err(TryRecvError::Disconnected) => {
                    return !self.scheduler.is_idle() || !self.embeds.is_empty();
                }
            }
        }
    }

    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Submit(submission) => {
                let id = submission.id;
                let (request, prompt, key) = Request::new(*submission);
                self.fetch(&prompt, &key);
                self.scheduler.add(id, prompt, key);
                self.requests.insert(id, request);
            }
            Command::Update { id, patch } => {
                if let Some(request) = self.requests.get_mut(&id) {
                    request.update(&patch);
                }
            }
            Command::Stop { id } => self.end(id, |request| {
                request.finish(FinishReason::Cancelled, None);
            }),
            Command::LoadAdapter { path, reply } => {
                // Whoever asked may be gone; then the adapter is there all the same.
                let _ = reply.send(self.runner.load_adapter(&path));
            }
            Command::UnloadAdapter { id, reply } => self.leaving.push((id, reply)),
            Command::Embed(job) => self.embeds.push(*job),
            Command::Shutdown => return false,
        }
        true
    }

    /// Shows how the engine is doing to the handles.
    fn publish(&self) {
        let shared = self.shared;
        let prefixes = self.scheduler.prefixes();
        let show = |counter: &AtomicUsize, value| counter.store(value, Ordering::Relaxed);
        show(&shared.running, self.scheduler.running());
        show(&shared.cells_used, self.scheduler.cells_used());
        show(&shared.cells_parked, self.scheduler.cells_parked());
        let bytes = self.offloaded.bytes();
        shared.offloaded.store(bytes, Ordering::Relaxed);
        let evicted = prefixes.evictions() + self.offloaded.given_up();
        shared.evicted.store(evicted, Ordering::Relaxed);
    }

    /// Forgets a request after its last word.
    fn end(&mut self, id: RequestId, last_word: impl FnOnce(Request)) {
        self.scheduler.remove(id);
        // Before the last word: who reads it and then asks must not see the request any more.
        self.publish();
        if let Some(request) = self.requests.remove(&id) {
            last_word(request);
        }
    }

    fn fail(&mut self, id: RequestId, error: GenerateError) {
        self.end(id, |request| request.end(Event::Failed(error)));
    }

    /// Forgets requests whose readers are gone and those that waited too long.
    fn drop_cancelled(&mut self) {
        let now = Instant::now();
        let gone = Request::is_abandoned;
        let cancelled: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, r)| gone(r))
            .map(|(&id, _)| id)
            .collect();
        for id in cancelled {
            self.end(id, drop);
        }
        let out_of_time = self.requests.iter().filter(|(_, r)| r.is_late(now));
        for id in out_of_time.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.end(id, |request| request.finish(FinishReason::Length, None));
        }
        let seconds = self.queue_timeout.as_secs();
        let late: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, r)| r.started.is_none() && r.submitted.elapsed() > self.queue_timeout)
            .map(|(&id, _)| id)
            .collect();
        for id in late {
            self.fail(id, GenerateError::QueueTimeout { seconds });
        }
    }

    fn step(&mut self) {
        self.draft();
        let mut plan = self.scheduler.plan();
        let now = Instant::now();
        for &(id, cached) in &plan.started {
            if let Some(request) = self.requests.get_mut(&id) {
                request.start(now, cached);
                self.shared
                    .reused
                    .fetch_add(cached as u64, Ordering::Relaxed);
            }
        }
        if !self.arrange(std::mem::take(&mut plan.actions)) {
            // Planned anew, with what the cache really holds.
            return;
        }
        if plan.batch.is_empty() {
            // Nothing to do, or a request that has the whole cache and needs more.
            if let Some((request, needed)) = self.scheduler.oldest_running() {
                let cells = self.cells;
                self.fail(request, GenerateError::CacheExhausted { needed, cells });
            }
            return;
        }
        let adapters: Vec<_> = plan.adapters.iter().map(|a| (a.id, a.scale)).collect();
        let begun = Instant::now();
        let outcome = self
            .runner
            .reserve(self.scheduler.cells_promised())
            .and_then(|()| self.runner.set_adapters(&adapters))
            .and_then(|()| self.runner.decode(&plan.batch));
        match outcome {
            Ok(()) => {
                self.shared.steps.fetch_add(1, Ordering::Relaxed);
                self.scheduler.observe(plan.batch.len(), begun.elapsed());
                self.scheduler.apply(&plan);
                self.sample(&plan);
            }
            // The last words are said by `run`; what failed is the step that was interrupted.
            Err(_) if self.shared.closed.load(Ordering::Acquire) => {}
            Err(error) => self.recover(&plan, &error),
        }
    }

    /// Proposes what may come next, where checking it together is faster than waiting for it.
    fn draft(&mut self) {
        if !self.drafts {
            return;
        }
        let Some(ids) = self.scheduler.drafting() else {
            return;
        };
        let mut rows = ids.len();
        for id in ids {
            let Some(request) = self.requests.get_mut(&id) else {
                continue;
            };
            let known = || self.scheduler.tokens(id).to_vec();
            let draft = request.draft(self.scheduler.costs(), rows, known);
            rows += draft.len();
            self.scheduler.draft(id, draft);
        }
    }

    /// Does to the cache what a plan says; false if something of it was not possible.
    fn arrange(&mut self, actions: Vec<CacheAction>) -> bool {
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
    fn fetch(&mut self, prompt: &[Token], key: &Key) {
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

    /// Parks a prefix that comes back; gives it back where there is no place for it now.
    fn restore(&mut self, found: State) -> Option<State> {
        let Some(slot) = self.scheduler.make_place(found.tokens.len()) else {
            return Some(found);
        };
        // What is to leave must do so before others may use its cells.
        let actions = self.scheduler.prefixes_mut().take_actions();
        self.arrange(actions);
        let room = self.scheduler.cells_promised() + found.tokens.len();
        let restored = self.runner.reserve(room.min(self.cells)).is_ok()
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

    /// Does what has to be done to the cache while nobody waits for it.
    fn tidy(&mut self) {
        if self.scheduler.is_idle() {
            let actions = self.scheduler.prefixes_mut().take_actions();
            self.arrange(actions);
        }
    }

    /// Writes the prefixes of ended requests to disk, at the end.
    fn keep_prefixes(&mut self) {
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

    /// Makes vectors of some texts, between two steps.
    fn embed(&mut self) {
        let Some((_, most)) = self.runner.embedding() else {
            return;
        };
        let texts = self.embeds.next_batch(most);
        if !texts.is_empty() {
            let vectors = self.runner.embed(&texts);
            self.embeds.take(vectors);
        }
    }

    /// Forgets adapters that nobody uses any more.
    fn unload_adapters(&mut self) {
        for (id, reply) in std::mem::take(&mut self.leaving) {
            if self.scheduler.uses_adapter(id) {
                self.leaving.push((id, reply));
                continue;
            }
            self.scheduler.prefixes_mut().forget_adapter(id);
            self.offloaded.forget_adapter(id);
            let unloaded = self.runner.set_adapters(&[]).is_ok() && self.runner.unload_adapter(id);
            // Whoever asked may be gone.
            let _ = reply.send(unloaded);
        }
    }

    /// Reacts to a step that failed. No bystander is harmed: what was not in the batch is
    /// computed again if it must be.
    fn recover(&mut self, plan: &Plan, error: &RunnerError) {
        match error {
            RunnerError::CacheFull => {
                // The runner has less room than it promised; planning with the old number would
                // come to the same batch again.
                let room = self.scheduler.cells_used() + plan.batch.len() - 1;
                tracing::warn!(cells = room, "the KV cache has less room than planned");
                self.scheduler.limit_cells(room);
                self.cells = self.cells.min(room);
                let evicted = self.scheduler.prefixes_mut().evict_oldest(None);
                if !evicted {
                    self.scheduler.preempt_youngest();
                }
            }
            RunnerError::InvalidBatch => self.fail_all_of(plan, error),
            RunnerError::Aborted | RunnerError::Failed(_) => {
                tracing::error!(%error, "a step failed; the engine starts over with an empty cache");
                self.fail_all_of(plan, error);
                self.start_over();
            }
        }
    }

    fn fail_all_of(&mut self, plan: &Plan, error: &RunnerError) {
        for part in &plan.parts {
            self.fail(part.request, GenerateError::Backend(error.to_string()));
        }
    }

    fn start_over(&mut self) {
        if let Err(error) = self.runner.reset() {
            // Without a runner nothing can be computed; `guarded` reports it.
            panic!("the engine could not start over: {error}");
        }
        self.scheduler.forget_cache();
    }

    fn sample(&mut self, plan: &Plan) {
        for part in &plan.parts {
            self.count_prefilled(part);
            if let Some(row) = part.output {
                self.sample_part(part, row);
            }
        }
    }

    fn count_prefilled(&self, part: &Part) {
        let request = self.requests.get(&part.request);
        if request.is_some_and(|request| !request.is_answering()) {
            let rows = (part.rows - part.drafted) as u64;
            self.shared.prefilled.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// Samples after the last known token, and after each token of the draft as long as the draft
    /// comes true. Tokens that a constraint forces may make it come true as well.
    fn sample_part(&mut self, part: &Part, first: usize) {
        let id = part.request;
        let draft = self.scheduler.drafted(id).to_vec();
        let mut came_true = 0;
        loop {
            let Some(request) = self.requests.get_mut(&id) else {
                return;
            };
            let next = match self.runner.logits(first + came_true) {
                Some(logits) => request.advance(logits, self.tokenizer),
                None => Next::Fail(GenerateError::Backend("no logits came back".to_owned())),
            };
            match next {
                Next::Continue(tokens) => {
                    let forced = tokens.len() as u64 - 1;
                    self.shared.forced.fetch_add(forced, Ordering::Relaxed);
                    self.scheduler.push(id, &tokens);
                    let drafted = tokens.iter().zip(&draft[came_true..]);
                    let same = drafted.take_while(|(token, drafted)| token == drafted);
                    let same = same.count();
                    came_true += same;
                    if same < tokens.len() {
                        break;
                    }
                }
                Next::Finish(reason, stop) => {
                    return self.end(id, |request| request.finish(reason, stop));
                }
                Next::Fail(error) => return self.fail(id, error),
            }
        }
        if part.drafted > 0 {
            self.scheduler.settle(id, came_true);
            let Shared {
                drafted,
                came_true: all_true,
                ..
            } = self.shared;
            drafted.fetch_add(part.drafted as u64, Ordering::Relaxed);
            all_true.fetch_add(came_true as u64, Ordering::Relaxed);
            if let Some(request) = self.requests.get_mut(&id) {
                request.learn(part.drafted, came_true);
            }
        }
    }
}
