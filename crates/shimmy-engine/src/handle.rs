//! The engine's entrance: start one, submit a request, read its stream, drop it to cancel.

mod generation;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as inbox;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

pub use generation::Generation;

use crate::command::{Command, EmbedJob, Submission};
use crate::config::EngineConfig;
use crate::constraint::{self, Follower};
use crate::embed::{EmbedError, Pooling};
use crate::error::{AdapterError, GenerateError, SubmitError};
use crate::params::PreparedRequest;
use crate::run;
use crate::runner::{AdapterId, AdapterLoader, Runner, RunnerLimits, Token, Tokenizer};
use crate::shared::{EngineStatus, Place, Shared};

/// A handle to an engine thread; clones share it. When the last one is dropped, the engine
/// finishes what it has and ends.
#[derive(Clone)]
pub struct EngineHandle {
    commands: inbox::Sender<Command>,
    shared: Arc<Shared>,
    limits: RunnerLimits,
    embedding: Option<(Pooling, usize)>,
    adapter_loader: AdapterLoader,
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
    let thread = std::thread::Builder::new().name(name.to_owned());
    let thread = thread.stack_size(constraint::STACK).spawn({
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
            let parallel = config.parallel.unwrap_or(limits.sequences);
            let shared = Arc::new(Shared::new(config.queue, parallel.min(limits.sequences)));
            let interrupt = runner.interrupter();
            // As above: the spawner waits for it.
            let _ = ready.send(Ok((
                limits,
                runner.embedding(),
                runner.adapter_loader(),
                Arc::clone(&shared),
                interrupt,
            )));
            run::guarded(incoming, &mut runner, tokenizer.as_ref(), &config, &shared);
        }
    })?;
    let (limits, embedding, adapter_loader, shared, interrupt) = match readiness.recv() {
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
        embedding,
        adapter_loader,
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
        let place = Place::take(&self.shared)?;
        let id = self.shared.next_id();
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
            back: self.commands.clone(),
            place,
        };
        self.commands
            .send(Command::Submit(Box::new(submission)))
            .map_err(|_| SubmitError::ShuttingDown)?;
        Ok(Generation::new(
            id,
            prompt_tokens,
            receiver,
            self.commands.clone(),
        ))
    }

    /// Tokens that one request may hold, prompt and answer together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Requests that can be computed at a time: the runner may have more sequences, for prefixes
    /// of requests that have ended.
    pub fn parallel(&self) -> usize {
        self.shared.parallel()
    }

    /// What the runner behind this engine can hold.
    pub fn limits(&self) -> RunnerLimits {
        self.limits
    }

    /// How the engine is doing.
    pub fn status(&self) -> EngineStatus {
        self.shared.status(self.limits.cells)
    }

    /// How the model makes vectors of texts, and how many tokens a text may have; none if it
    /// makes none.
    pub fn embedding(&self) -> Option<(Pooling, usize)> {
        self.embedding
    }

    /// The adapters that requests may name.
    pub fn adapters(&self) -> Vec<AdapterId> {
        self.shared
            .with_adapters(|adapters| adapters.iter().copied().collect())
    }

    /// Says that the runner came with this many adapters.
    pub(crate) fn announce_adapters(&self, count: usize) {
        self.shared
            .with_adapters(|adapters| adapters.extend((0..count as u32).map(AdapterId)));
    }

    /// Loads one more adapter, on a thread of its own: running answers go on meanwhile.
    pub async fn load_adapter(&self, path: PathBuf) -> Result<AdapterId, AdapterError> {
        let (reply, answer) = oneshot::channel();
        let load = Arc::clone(&self.adapter_loader);
        let commands = self.commands.clone();
        let work = move || {
            // Whoever asked may be gone, and the engine as well.
            let _ = match load(&path) {
                Ok(adapter) => commands
                    .send(Command::AddAdapter { adapter, reply })
                    .is_ok(),
                Err(reason) => reply.send(Err(reason)).is_ok(),
            };
        };
        std::thread::Builder::new()
            .name("adapter".to_owned())
            .spawn(work)
            .map_err(|error| AdapterError::Failed(error.to_string()))?;
        let loaded = answer.await.map_err(|_| AdapterError::EngineStopped)?;
        let id = loaded.map_err(AdapterError::Failed)?;
        self.shared.with_adapters(|adapters| adapters.insert(id));
        Ok(id)
    }

    /// Takes an adapter away from requests to come at once, and forgets it when the last of those
    /// that use it has ended; false if there is none of that number.
    pub async fn unload_adapter(&self, id: AdapterId) -> Result<bool, AdapterError> {
        if !self.shared.with_adapters(|adapters| adapters.remove(&id)) {
            return Ok(false);
        }
        let (reply, answer) = oneshot::channel();
        self.send(Command::UnloadAdapter { id, reply })?;
        answer.await.map_err(|_| AdapterError::EngineStopped)
    }

    fn send(&self, command: Command) -> Result<(), AdapterError> {
        let sent = self.commands.send(command);
        sent.map_err(|_| AdapterError::EngineStopped)
    }

    /// Makes vectors of texts, none of which is longer than [`embedding`](Self::embedding) says.
    pub(crate) async fn embed(
        &self,
        texts: Vec<Vec<Token>>,
        deadline: Option<Duration>,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let place = Place::take(&self.shared)?;
        let (reply, answer) = oneshot::channel();
        let job = EmbedJob {
            texts,
            reply,
            submitted: Instant::now(),
            deadline,
            place,
        };
        let sent = self.commands.send(Command::Embed(Box::new(job)));
        sent.map_err(|_| SubmitError::ShuttingDown)?;
        let vectors = answer.await.map_err(|_| GenerateError::EngineStopped)?;
        Ok(vectors?)
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
    /// given back. Blocks; safe to call more than once, and each call waits.
    pub fn shutdown(&self) {
        self.close();
        // Held until the thread has ended, so that a second caller waits too; nothing can panic under
        // it.
        let mut thread = self
            .thread
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("an engine thread panicked outside its guard");
        }
    }
}
