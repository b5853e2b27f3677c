//! From a request that a dialect has read to the events of its answer.
//!
//! The one way from the dialects to the engine: it finds the model, renders, checks, tokenises,
//! submits, and then hands out events. It must not know any wire format.

mod ask;
mod choice;
mod collected;
mod naming;
mod prepare;
mod said;
mod time_limit;
mod waiting;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use shimmy_chat::{Delta, Unheard};
use shimmy_engine::{
    Event, Finish, FinishReason, GenerateRequest, Generation, SamplingPatch, SubmitError,
    TokenLogprobs, Usage,
};
use tokio_util::sync::WaitForCancellationFutureOwned;

pub(crate) use self::ask::{Ask, Chat, Hindrance, Input};
use self::choice::{Choice, End};
use self::collected::Draft;
pub(crate) use self::collected::{Answered, Call};
use self::naming::adapt;
pub(crate) use self::naming::{
    DEFAULT_MODEL, MODEL_FIELD, check_model_name, check_name, find_model, unload_model,
};
pub(crate) use self::prepare::checked_patch;
use self::prepare::prepare;
use self::waiting::Waiting;
use crate::adapters::AdapterUse;
use crate::blocking;
use crate::error::ApiError;
use crate::metrics::Watch;
use crate::model::LoadedModel;
use crate::state::AppState;

/// What happens next in an answer.
#[derive(Debug)]
pub(crate) enum Progress {
    /// More of one choice.
    Delta {
        choice: usize,
        delta: Delta,
        /// Of the tokens since the last delta of this choice, where they were asked for.
        logprobs: Vec<TokenLogprobs>,
        /// Tokens of this choice so far.
        tokens: u32,
    },
    /// One choice is complete.
    Finished { choice: usize, ending: Ending },
    /// No choice will be completed any more; nothing follows.
    Failed(ApiError),
}

/// The last word of a choice.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) finish: Finish,
    /// Calls of tools that the answer holds.
    pub(crate) calls: usize,
    /// Tokens of the answer that were thoughts.
    pub(crate) reasoning_tokens: u32,
    /// Of the tokens since the last delta.
    pub(crate) logprobs: Vec<TokenLogprobs>,
}

/// The running answers to one request. Dropping them cancels them.
#[derive(Debug)]
pub(crate) struct Answers {
    /// The model; held so that it is not unloaded under a running answer.
    pub(crate) model: Arc<LoadedModel>,
    /// Held so that none of the adapters that the request chose is, either.
    _adapters: AdapterUse,
    /// When the request came.
    pub(crate) received: Instant,
    /// How long the request waited for its model.
    pub(crate) load: Duration,
    /// Tokens of the prompt, counted before anything is computed; of the first of several.
    pub(crate) prompt_tokens: usize,
    /// The same of all.
    prompt_lengths: Vec<usize>,
    /// What was asked about thinking and the model could not be told.
    pub(crate) unheard: Vec<Unheard>,
    /// `None` once it is complete, and before it is begun.
    choices: Vec<Option<Choice>>,
    /// Those that are not begun, in order.
    waiting: VecDeque<Waiting>,
    /// How many may run at a time.
    at_a_time: usize,
    /// What has happened and not been told yet: one event of the engine can be several.
    ready: VecDeque<Progress>,
    watch: Watch,
    /// The server ends what still runs. Waited for as long as the answers are: to begin anew with
    /// every token is work.
    aborted: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Does everything up to the engine's queue. Returns before anything is computed.
pub(crate) async fn start(state: &AppState, ask: Ask) -> Result<Answers, ApiError> {
    let received = Instant::now();
    if ask.choices == 0 || ask.choices > state.config.max_choices {
        let reason = format!("must be between 1 and {}", state.config.max_choices);
        return Err(ApiError::field("n", reason));
    }
    let model = find_model(state, ask.model.as_deref(), ask.keep_alive).await?;
    adapt(
        state,
        &model,
        ask.params.lora.as_deref().unwrap_or_default(),
    )
    .await?;
    let load = received.elapsed();
    let Ask {
        input,
        params,
        choices,
        bytes,
        caller,
        ..
    } = ask;
    let defaults = GenerateRequest {
        max_tokens: state.config.default_max_tokens,
        cache_scope: state.config.cache_scope.of(caller),
        deadline: state.config.deadline,
        ..GenerateRequest::default()
    };
    // A grammar may be slow to compile however short it is.
    let is_slow = blocking::is_long(bytes) || params.constraint.is_some();
    let prepare = {
        let model = Arc::clone(&model);
        move || prepare(&model, input, params, defaults)
    };
    let (prepared, adapters) = blocking::run(is_slow, prepare).await?;
    let first = prepared.first();
    let lengths = prepared
        .iter()
        .map(|ready| ready.prepared.request.prompt.len());
    let prompt_lengths: Vec<usize> = lengths.collect();
    let prompt_tokens = prompt_lengths.first().copied().unwrap_or(0);
    let unheard = first.map_or_else(Vec::new, |ready| ready.unheard.clone());
    let waiting = Waiting::list(prepared, choices);
    let metrics = state.metrics.of_model(&model.info.name);
    let mut answers = Answers {
        watch: Watch::new(Arc::clone(&metrics), received, waiting.len()),
        model,
        _adapters: adapters,
        received,
        load,
        prompt_tokens,
        prompt_lengths,
        unheard,
        choices: std::iter::repeat_with(|| None)
            .take(waiting.len())
            .collect(),
        waiting,
        at_a_time: state.config.max_choices,
        ready: VecDeque::new(),
        aborted: Box::pin(state.aborting.clone().cancelled_owned()),
    };
    answers.begin_waiting().inspect_err(|error| {
        if matches!(error, SubmitError::QueueFull { .. }) {
            metrics.refused();
        }
    })?;
    Ok(answers)
}

/// The tokens and the time of all choices: the prompt is counted once.
pub(crate) fn total_usage<'a>(finishes: impl IntoIterator<Item = &'a Finish>) -> Usage {
    finishes
        .into_iter()
        .fold(Usage::default(), |total, finish| Usage {
            prompt_tokens: finish.usage.prompt_tokens,
            cached_tokens: total.cached_tokens.max(finish.usage.cached_tokens),
            completion_tokens: total.completion_tokens + finish.usage.completion_tokens,
        })
}

impl Answers {
    /// What happens next; `None` after the last. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Progress> {
        loop {
            if let Some(progress) = self.ready.pop_front() {
                return Some(progress);
            }
            if self.running() == 0 {
                return None;
            }
            match poll_fn(|cx| self.poll_event(cx)).await {
                Some((index, event)) => self.note(index, event, true),
                None => return Some(self.fail(ApiError::shutting_down())),
            }
        }
    }

    /// The next event of any choice that runs; none when the server has no more time for it.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Event)>> {
        if self.aborted.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        for (index, choice) in self.choices.iter_mut().enumerate() {
            if let Some(choice) = choice
                && let Poll::Ready(Some(event)) = choice.generation.poll_next(cx)
            {
                return Poll::Ready(Some((index, event)));
            }
        }
        Poll::Pending
    }

    /// What has already happened next, without waiting.
    pub(crate) fn try_next(&mut self) -> Option<Progress> {
        loop {
            if let Some(progress) = self.ready.pop_front() {
                return Some(progress);
            }
            let (index, event) =
                self.choices
                    .iter_mut()
                    .enumerate()
                    .find_map(|(index, choice)| {
                        Some((index, choice.as_mut()?.generation.try_next()?))
                    })?;
            self.note(index, event, false);
        }
    }

    /// Tokens of the prompts, in order.
    pub(crate) fn prompt_lengths(&self) -> Vec<usize> {
        self.prompt_lengths.clone()
    }

    /// Whether every choice has said its last word and it has been told.
    pub(crate) fn is_complete(&self) -> bool {
        self.ready.is_empty() && self.waiting.is_empty() && self.running() == 0
    }

    fn running(&self) -> usize {
        self.choices.iter().flatten().count()
    }

    /// Submits choices that wait, as many as may run.
    fn begin_waiting(&mut self) -> Result<(), SubmitError> {
        while self.running() < self.at_a_time
            && let Some(next) = self.waiting.front()
        {
            match next.begin(&self.model) {
                Ok(begun) => self.choices[next.index] = Some(begun),
                // No failure while an answer of ours will make room in the queue.
                Err(SubmitError::QueueFull { .. }) if self.running() > 0 => return Ok(()),
                Err(error) => return Err(error),
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Ends every choice as it stands: each still says `Finished`, with `Cancelled`.
    pub(crate) fn stop(&self) {
        self.generations().for_each(Generation::stop);
    }

    /// Changes how the following tokens are chosen; the values have been checked.
    pub(crate) fn update(&self, patch: &SamplingPatch) {
        self.generations()
            .for_each(|running| running.update(patch.clone()));
    }

    fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.choices
            .iter()
            .flatten()
            .map(|choice| &choice.generation)
    }

    /// Waits for the end: every choice as a whole, in order.
    pub(crate) async fn collect(&mut self) -> Result<Vec<Answered>, ApiError> {
        let mut drafts = vec![Draft::default(); self.choices.len()];
        while let Some(progress) = self.next().await {
            match progress {
                Progress::Delta {
                    choice,
                    delta,
                    logprobs,
                    ..
                } => drafts[choice].push(delta, logprobs),
                Progress::Finished { choice, ending } => drafts[choice].ending = Some(ending),
                Progress::Failed(error) => return Err(error),
            }
        }
        // The loop only ends well when every choice has said its last word.
        Ok(drafts.into_iter().filter_map(Draft::complete).collect())
    }

    /// [`collect`](Self::collect) for requests that can only have one answer.
    pub(crate) async fn collect_one(&mut self) -> Result<Answered, ApiError> {
        self.collect()
            .await?
            .pop()
            .ok_or_else(ApiError::shutting_down)
    }

    /// Every event of every answer passes here. `waited`: it was not there when it was asked for.
    fn note(&mut self, index: usize, mut event: Event, waited: bool) {
        let Some(choice) = &mut self.choices[index] else {
            return;
        };
        if let Event::Finished(finish) = &mut event
            && finish.reason == FinishReason::Cancelled
            && (choice.parser.is_over() || choice.is_stopped())
        {
            // It was stopped because it was complete.
            finish.reason = FinishReason::Stop;
        }
        match &event {
            Event::Text { tokens, .. } => self.watch.text(index, *tokens, waited),
            Event::Finished(finish) => self.watch.finished(index, finish),
            Event::Failed(error) => self.watch.failed(Some(error)),
        }
        match choice.note(index, event, &mut self.ready) {
            None => {}
            Some(End::Finished(finish)) => {
                let ending = Ending {
                    finish,
                    calls: choice.calls,
                    reasoning_tokens: choice.reasoning_tokens,
                    logprobs: std::mem::take(&mut choice.logprobs),
                };
                self.choices[index] = None;
                self.ready.push_back(Progress::Finished {
                    choice: index,
                    ending,
                });
                if let Err(error) = self.begin_waiting() {
                    let failed = self.fail(error.into());
                    self.ready.push_back(failed);
                }
            }
            Some(End::Failed(error)) => {
                let failed = self.fail(error);
                self.ready.push_back(failed);
            }
        }
    }

    /// One failure ends all choices: no dialect can say "this one failed, the others go on".
    fn fail(&mut self, error: ApiError) -> Progress {
        self.watch.failed(None);
        self.choices.clear();
        self.waiting.clear();
        Progress::Failed(error)
    }
}
