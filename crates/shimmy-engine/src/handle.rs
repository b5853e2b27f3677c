//! The engine's entrance: submit a request, read its stream, drop it to cancel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc as inbox;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::constraint::Follower;
use crate::error::{GenerateError, SubmitError};
use crate::params::{Event, Finish, PreparedRequest, SamplingPatch};
use crate::run;
use crate::runner::{Runner, RunnerLimits, Tokenizer};

/// What an engine may do; every limit of a request's life in the engine is here.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Requests that may wait beside those being computed.
    pub queue: usize,
    /// How long a request may wait for its first step.
    pub queue_timeout: Duration,
    /// Tokens one request may hold, prompt and answer together; none means the whole cache.
    pub context: Option<usize>,
    /// Prompt tokens computed in one step while answers are running, so that a long prompt does
    /// not hold them up.
    pub prefill_beside_decode: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            queue: 64,
            queue_timeout: Duration::from_secs(300),
            context: None,
            prefill_beside_decode: 64,
        }
    }
}

/// Commands to the engine thread: a closed set.
pub(crate) enum Command {
    Submit(Box<Submission>),
    Update { id: u64, patch: SamplingPatch },
    Stop { id: u64 },
    Shutdown,
}

/// A request on its way into the engine, with the way back.
pub(crate) struct Submission {
    pub(crate) id: u64,
    pub(crate) request: PreparedRequest,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) submitted: Instant,
    pub(crate) constraint: Option<Follower>,
    /// Counts this request as in the engine until it is dropped.
    pub(crate) place: Place,
}

/// One of the engine's places, given back on drop.
pub(crate) struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.occupied.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What handles and the engine thread both see.
pub(crate) struct Shared {
    /// Requests submitted and not yet ended.
    occupied: AtomicUsize,
    /// Most requests that may be in the engine: the queue and the sequences.
    places: usize,
    queue: usize,
    next_id: AtomicUsize,
    /// Set when the engine takes no more requests, by shutdown or by a fault.
    pub(crate) closed: AtomicBool,
    /// Set when the engine ended by a fault.
    pub(crate) failed: AtomicBool,
    /// Cells of the cache in use after the last step.
    pub(crate) cells_used: AtomicUsize,
    /// Sequences being computed after the last step.
    pub(crate) running: AtomicUsize,
}

/// A glance at a running engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineStatus {
    /// Whether it takes requests.
    pub alive: bool,
    /// Whether it ended by a fault rather than by shutdown.
    pub failed: bool,
    /// Requests being computed.
    pub running: usize,
    /// Requests in the engine, running or waiting.
    pub occupied: usize,
    /// Cells of the KV cache in use.
    pub cells_used: usize,
    /// Cells of the KV cache in all.
    pub cells: usize,
}

/// A handle to an engine thread; clones share it. When the last one is dropped, the engine
/// finishes what it has and ends.
#[derive(Clone)]
pub struct EngineHandle {
    commands: inbox::Sender<Command>,
    shared: Arc<Shared>,
    limits: RunnerLimits,
    context: usize,
    thread: Arc<Thread>,
    interrupt: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineHandle")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

struct Thread(std::sync::Mutex<Option<JoinHandle<()>>>);

/// Starts an engine on a thread of its own, named `name`.
///
/// `build` runs on that thread, because a runner may be tied to the thread it was made on; its
/// error is returned from here. Blocks until the runner is ready.
pub fn spawn<R, E, B>(
    name: &str,
    config: EngineConfig,
    tokenizer: Arc<dyn Tokenizer>,
    build: B,
) -> Result<EngineHandle, E>
where
    R: Runner,
    E: From<std::io::Error> + Send + 'static,
    B: FnOnce() -> Result<R, E> + Send + 'static,
{
    let (commands, incoming) = inbox::channel();
    let (ready, readiness) = inbox::sync_channel(1);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn({
        let config = config.clone();
        move || {
            let mut runner = match build() {
                Ok(runner) => runner,
                Err(error) => {
                    // The spawner waits for this very message; it cannot be gone.
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let limits = runner.limits();
            let shared = Arc::new(Shared {
                occupied: AtomicUsize::new(0),
                places: config.queue + limits.sequences,
                queue: config.queue,
                next_id: AtomicUsize::new(0),
                closed: AtomicBool::new(false),
                failed: AtomicBool::new(false),
                cells_used: AtomicUsize::new(0),
                running: AtomicUsize::new(0),
            });
            let interrupt = runner.interrupter();
            // As above: the spawner waits for it.
            let _ = ready.send(Ok((limits, Arc::clone(&shared), interrupt)));
            run::guarded(incoming, &mut runner, tokenizer.as_ref(), &config, &shared);
        }
    })?;
    let (limits, shared, interrupt) = match readiness.recv() {
        Ok(outcome) => outcome?,
        Err(_) => {
            let fault = std::io::Error::other("the engine thread panicked while starting");
            return Err(fault.into());
        }
    };
    let context = config.context.unwrap_or(limits.cells).min(limits.cells);
    let thread = Arc::new(Thread(std::sync::Mutex::new(Some(thread))));
    let interrupt: Arc<dyn Fn() + Send + Sync> = match interrupt {
        Some(interrupt) => Arc::from(interrupt),
        None => Arc::new(|| {}),
    };
    Ok(EngineHandle {
        commands,
        shared,
        limits,
        context,
        thread,
        interrupt,
    })
}

impl EngineHandle {
    /// Hands a request to the engine, with its compiled constraint. Never blocks.
    pub(crate) fn submit(
        &self,
        request: PreparedRequest,
        constraint: Option<Follower>,
    ) -> Result<Generation, SubmitError> {
        let shared = &self.shared;
        if shared.closed.load(Ordering::Acquire) {
            return Err(SubmitError::ShuttingDown);
        }
        shared
            .occupied
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |occupied| {
                (occupied < shared.places).then_some(occupied + 1)
            })
            .map_err(|_| SubmitError::QueueFull {
                limit: shared.queue,
            })?;
        let place = Place(Arc::clone(shared));

        let id = shared.next_id.fetch_add(1, Ordering::Relaxed) as u64;
        // One event per token at most, and the final one: the channel cannot fill, so a slow
        // reader never holds up the engine. Memory is taken only as events arrive.
        let capacity = request.max_tokens as usize + 2;
        let (events, receiver) = mpsc::channel(capacity);
        let prompt_tokens = request.prompt.len();
        let submission = Submission {
            id,
            request,
            events,
            constraint,
            submitted: Instant::now(),
            place,
        };
        self.commands
            .send(Command::Submit(Box::new(submission)))
            .map_err(|_| SubmitError::ShuttingDown)?;
        Ok(Generation {
            id,
            prompt_tokens,
            events: receiver,
            commands: self.commands.clone(),
            ended: false,
        })
    }

    /// Tokens that one request may hold, prompt and answer together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// What the runner behind this engine can hold.
    pub fn limits(&self) -> RunnerLimits {
        self.limits
    }

    /// How the engine is doing.
    pub fn status(&self) -> EngineStatus {
        let shared = &self.shared;
        EngineStatus {
            alive: !shared.closed.load(Ordering::Acquire),
            failed: shared.failed.load(Ordering::Acquire),
            running: shared.running.load(Ordering::Relaxed),
            occupied: shared.occupied.load(Ordering::Relaxed),
            cells_used: shared.cells_used.load(Ordering::Relaxed),
            cells: self.limits.cells,
        }
    }

    /// Refuses new requests and ends what is running with [`GenerateError::EngineStopped`],
    /// interrupting the step under way where the backend can. Does not block.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        (self.interrupt)();
        // An engine that has already ended needs no command.
        let _ = self.commands.send(Command::Shutdown);
    }

    /// [`close`](Self::close)s, and waits for the thread and so for the runner's memory to be
    /// given back. Blocks; safe to call more than once.
    pub fn shutdown(&self) {
        self.close();
        // The lock only guards the handle that is taken out once; nothing can panic under it.
        let thread = self
            .thread
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("an engine thread panicked outside its guard");
        }
    }
}

/// The stream of one answer. Dropping it cancels the generation by the engine's next step.
#[derive(Debug)]
pub struct Generation {
    id: u64,
    prompt_tokens: usize,
    events: mpsc::Receiver<Event>,
    commands: inbox::Sender<Command>,
    ended: bool,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Command::Submit(_) => "Submit",
            Command::Update { .. } => "Update",
            Command::Stop { .. } => "Stop",
            Command::Shutdown => "Shutdown",
        })
    }
}

impl Generation {
    /// Tokens of the prompt, known before anything is computed.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// The next event; `None` after the last. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.events.recv().await;
        Some(self.note(event))
    }

    /// [`next`](Self::next) for threads outside an async runtime.
    pub fn next_blocking(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.events.blocking_recv();
        Some(self.note(event))
    }

    /// The next event if one is already there.
    pub fn try_next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        match self.events.try_recv() {
            Ok(event) => Some(self.note(Some(event))),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(self.note(None)),
        }
    }

    /// Ends the answer as it stands: the stream closes with `Finished` and `Cancelled`.
    pub fn stop(&self) {
        // An engine that is gone has said so, or will, in the stream itself.
        let _ = self.commands.send(Command::Stop { id: self.id });
    }

    /// Changes how the following tokens are sampled. The caller has validated the values.
    pub fn update(&self, patch: SamplingPatch) {
        // As in `stop`.
        let _ = self.commands.send(Command::Update { id: self.id, patch });
    }

    /// Waits for the end and returns the whole text with the last word.
    pub async fn collect(mut self) -> Result<(String, Finish), GenerateError> {
        let mut whole = String::new();
        loop {
            match self.next().await {
                Some(Event::Text { text, .. }) => whole.push_str(&text),
                Some(Event::Finished(finish)) => return Ok((whole, finish)),
                Some(Event::Failed(error)) => return Err(error),
                None => return Err(GenerateError::EngineStopped),
            }
        }
    }

    /// Turns the end of the channel without a last word into one, so that a stream is never cut
    /// in silence.
    fn note(&mut self, event: Option<Event>) -> Event {
        let event = event.unwrap_or(Event::Failed(GenerateError::EngineStopped));
        self.ended = matches!(event, Event::Finished(_) | Event::Failed(_));
        event
    }
}
