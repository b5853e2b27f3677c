//! The engine's loop: take commands, drop what nobody waits for, turn one step, and what fits between
//! two steps.
//!
//! One thread owns all of it. There is no lock and nothing shared but counters.

mod cache;
mod embed;
mod recover;
mod step;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::cache::Arrival;
use crate::command::Command;
use crate::config::EngineConfig;
use crate::costs::StepCosts;
use crate::embed::EmbedQueue;
use crate::error::GenerateError;
use crate::offload::Offloaded;
use crate::params::{Event, FinishReason};
use crate::request::Request;
use crate::runner::{AdapterId, Runner, Tokenizer};
use crate::scheduler::{Policy, RequestId, Scheduler};
use crate::shared::Shared;
use crate::store::{Entry, Store};

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
        // More than there are sequences cannot run, whatever was asked for.
        parallel: config
            .parallel
            .unwrap_or(limits.sequences)
            .clamp(1, limits.sequences.max(1)),
        parked_cells: config.parked_cells.unwrap_or(limits.cells),
        offloads: config.offload_bytes > 0,
        longest_gap: config.longest_gap,
    };
    let mut engine = Engine {
        scheduler: Scheduler::new(limits, policy),
        requests: HashMap::new(),
        embeds: EmbedQueue::default(),
        embed_costs: StepCosts::default(),
        last_step: Duration::ZERO,
        longest_gap: config.longest_gap,
        rows: limits.batch,
        leaving: Vec::new(),
        offloaded: Offloaded::new(config.offload_bytes),
        store: config.store.clone().map(Store::open),
        fetches: Vec::new(),
        drafts: config.drafts,
        runner,
        tokenizer,
        queue_timeout: config.queue_timeout,
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

/// Everything the loop owns.
struct Engine<'a> {
    scheduler: Scheduler,
    requests: HashMap<RequestId, Request>,
    embeds: EmbedQueue,
    /// What it costs to embed so many tokens at a time.
    embed_costs: StepCosts,
    /// How long the last turn's step took.
    last_step: Duration,
    /// How long a running answer may wait for its next token.
    longest_gap: Duration,
    /// Rows of a step, at most.
    rows: usize,
    /// Adapters that go when nobody uses them any more.
    leaving: Vec<(AdapterId, oneshot::Sender<bool>)>,
    /// Prefixes that have left the cache.
    offloaded: Offloaded,
    store: Option<Store>,
    /// Prefixes that are being read from disk, and who waits for each.
    fetches: Vec<(Entry, Vec<Arrival>)>,
    drafts: bool,
    runner: &'a mut dyn Runner,
    tokenizer: &'a dyn Tokenizer,
    queue_timeout: Duration,
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
                let (id, back) = (submission.id, submission.back.clone());
                let (request, prompt, key) = Request::new(*submission);
                self.requests.insert(id, request);
                self.enter(Arrival { id, prompt, key }, back);
            }
            Command::Fetched { entry, state } => self.fetched(&entry, state),
            Command::Update { id, patch } => {
                if let Some(request) = self.requests.get_mut(&id) {
                    request.update(&patch);
                }
            }
            Command::Stop { id } => self.end(id, |request| {
                request.finish(FinishReason::Cancelled, None);
            }),
            Command::AddAdapter { adapter, reply } => {
                // Nobody would ever name what nobody knows of.
                if !reply.is_closed()
                    && let Err(Ok(id)) = reply.send(self.runner.add_adapter(adapter))
                {
                    self.runner.unload_adapter(id);
                }
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
        self.embeds.drop_unwanted(now, self.queue_timeout);
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

    /// Forgets adapters that nobody uses any more.
    fn unload_adapters(&mut self) {
        for (id, reply) in std::mem::take(&mut self.leaving) {
            if self.scheduler.uses_adapter(id) {
                self.leaving.push((id, reply));
                continue;
            }
            self.scheduler.prefixes_mut().forget_adapter(id);
            self.offloaded.forget_adapter(id);
            let unloaded = self.runner.unload_adapter(id);
            // Whoever asked may be gone.
            let _ = reply.send(unloaded);
        }
    }
}
