//! The engine's loop: drain commands, plan, decode, sample, apply, emit.
//!
//! One thread owns all of it. There is no lock and nothing shared but counters.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use crate::error::{GenerateError, RunnerError};
use crate::handle::{Command, EngineConfig, Shared};
use crate::params::{Event, FinishReason};
use crate::request::{Next, Request};
use crate::runner::{Runner, SequenceId, Tokenizer};
use crate::scheduler::{Plan, RequestId, Scheduler};

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
    let mut engine = Engine {
        scheduler: Scheduler::new(limits, config.prefill_beside_decode),
        requests: HashMap::new(),
        runner,
        tokenizer,
        queue_timeout: config.queue_timeout,
        cells: limits.cells,
        shared,
    };
    while engine.take_commands(inbox) {
        engine.drop_cancelled();
        engine.step();
        engine.publish();
    }
    for (_, request) in engine.requests.drain() {
        request.end(Event::Failed(GenerateError::EngineStopped));
    }
}

/// Everything the loop owns.
struct Engine<'a> {
    scheduler: Scheduler,
    requests: HashMap<RequestId, Request>,
    runner: &'a mut dyn Runner,
    tokenizer: &'a dyn Tokenizer,
    queue_timeout: Duration,
    cells: usize,
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
        if self.scheduler.is_idle() {
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
                Err(TryRecvError::Disconnected) => return !self.scheduler.is_idle(),
            }
        }
    }

    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Submit(submission) => {
                let id = submission.id;
                let (request, prompt, adapters) = Request::new(*submission);
                self.scheduler.add(id, prompt, adapters);
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
            Command::Shutdown => return false,
        }
        true
    }

    /// Shows how the engine is doing to the handles.
    fn publish(&self) {
        let Shared {
            running,
            cells_used,
            ..
        } = self.shared;
        running.store(self.scheduler.running(), Ordering::Relaxed);
        cells_used.store(self.scheduler.cells_used(), Ordering::Relaxed);
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
        let plan = self.scheduler.plan();
        for &slot in &plan.free {
            self.free(slot);
        }
        if plan.batch.is_empty() {
            // Nothing to do, or a request that has the whole cache and needs more.
            if let Some((request, needed)) = self.scheduler.oldest_running() {
                let cells = self.cells;
                self.fail(request, GenerateError::CacheExhausted { needed, cells });
            }
            return;
        }
        let now = Instant::now();
        for part in &plan.parts {
            if let Some(request) = self.requests.get_mut(&part.request) {
                request.started.get_or_insert(now);
            }
        }
        let adapters: Vec<_> = plan.adapters.iter().map(|a| (a.id, a.scale)).collect();
        let outcome = self
            .runner
            .reserve(self.scheduler.cells_promised())
            .and_then(|()| self.runner.set_adapters(&adapters))
            .and_then(|()| self.runner.decode(&plan.batch));
        match outcome {
            Ok(()) => {
                self.scheduler.apply(&plan);
                self.sample(&plan);
            }
            // The last words are said by `run`; what failed is the step that was interrupted.
            Err(_) if self.shared.closed.load(Ordering::Acquire) => {}
            Err(error) => self.recover(&plan, &error),
        }
    }

    fn free(&mut self, slot: SequenceId) {
        // Cutting to nothing always works; see `Runner::truncate`.
        let freed = self.runner.truncate(slot, 0);
        debug_assert!(freed, "a runner must be able to forget a whole sequence");
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
                self.scheduler.preempt_youngest();
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
            let Some(row) = part.output else { continue };
            let Some(request) = self.requests.get_mut(&part.request) else {
                continue;
            };
            let next = match self.runner.logits(row) {
                Some(logits) => request.advance(logits, self.tokenizer),
                None => Next::Fail(GenerateError::Backend("no logits came back".to_owned())),
            };
            match next {
                Next::Continue(token) => self.scheduler.push(part.request, token),
                Next::Finish(reason, stop) => {
                    self.end(part.request, |request| request.finish(reason, stop));
                }
                Next::Fail(error) => self.fail(part.request, error),
            }
        }
    }
}
