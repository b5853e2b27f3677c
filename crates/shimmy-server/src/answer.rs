//! From a request that a dialect has read to the events of its answer.
//!
//! The one way from the dialects to the engine: it finds the model, renders, checks, tokenises,
//! submits, and then hands out events. It must not know any wire format.

mod time_limit;
mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use serde_json::{Map, Value};
use shimmy_chat::{
    AnswerFormat, AnswerParser, ChatPlan, ChatRequest, Delta, Message, TemplateError, Thinking,
    Tool, ToolChoice, Unheard,
};
use shimmy_engine::{
    AdapterId, AdapterScale, Constraint, Event, Finish, FinishReason, GenerateRequest, Generation,
    Prepared, Prompt, PromptPart, SamplingPatch, SubmitError, TokenLogprobs, Usage,
};
use tokio_util::sync::CancellationToken;

use crate::adapters::{AdapterFailure, AdapterUse};
use crate::blocking;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::fields::{LoraField, Params};
use crate::gap::Gap;
use crate::metrics::Watch;
use crate::state::{AppState, KeepAlive, LoadedModel, lone_messages};
use time_limit::TimeLimit;
use waiting::Waiting;

/// Longest name of a model that is looked up.
const NAME_BYTES: usize = 512;

/// The field that names the model, in every dialect.
pub(crate) const MODEL_FIELD: &str = "model";

/// The name that stands for whichever model is the default one.
pub(crate) const DEFAULT_MODEL: &str = "default";

/// What the model answers to.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A prompt as it is, special tokens and all.
    Raw(Prompt),
    /// Several of these; each gets as many answers as a single one would, its own before the
    /// next one's.
    Several(Vec<Prompt>),
    /// A text with a gap to fill.
    Gap(Gap),
    /// One user message where the model has a chat template, the text itself where it has none.
    Prompt {
        system: Option<String>,
        text: String,
        thinking: Thinking,
    },
    /// A conversation.
    Chat(Chat),
}

/// A conversation, and what is asked of its next message.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_choice: ToolChoice,
    pub(crate) parallel_calls: bool,
    pub(crate) thinking: Thinking,
    /// The words that the answer has already begun with; it goes on after them.
    pub(crate) opening: Option<String>,
    /// Further variables for the model's template.
    pub(crate) kwargs: Map<String, Value>,
}

impl Chat {
    /// A conversation that asks for nothing but an answer.
    pub(crate) fn of(messages: Vec<Message>) -> Self {
        Self {
            messages,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_calls: true,
            thinking: Thinking::default(),
            opening: None,
            kwargs: Map::new(),
        }
    }

    /// What an answer to this takes; `shape` is what the request wants its text to be.
    pub(crate) fn plan(
        &self,
        model: &LoadedModel,
        shape: Option<&Constraint>,
    ) -> Result<ChatPlan, TemplateError> {
        let request = ChatRequest {
            messages: &self.messages,
            tools: &self.tools,
            tool_choice: &self.tool_choice,
            parallel_calls: self.parallel_calls,
            thinking: &self.thinking,
            shape,
            kwargs: &self.kwargs,
        };
        let mut plan = model.template.plan(&request, model.session.tokenizer())?;
        let opening = self.opening.clone().map(PromptPart::Literal);
        plan.prompt.parts.extend(opening);
        Ok(plan)
    }
}

/// A request, whatever its dialect.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) model: Option<String>,
    pub(crate) input: Input,
    pub(crate) params: Params,
    /// How many answers, at least one.
    pub(crate) choices: usize,
    /// Size of the request's body, tools, schemas and all: how long preparing it may take.
    pub(crate) bytes: usize,
    /// Who asks.
    pub(crate) caller: Caller,
    /// How long the model stays in memory afterwards.
    pub(crate) keep_alive: KeepAlive,
}

/// What happens next in an answer.
#[derive(Debug)]
pub(crate) enum Progress {
    /// More of one choice.
    Delta {
        choice: usize,
        delta: Delta,
        /// Of the tokens since the last delta of this choice, where they were asked for.
        logprobs: Vec<TokenLogprobs>,
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

/// A choice as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) content: String,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<Call>,
    /// Of all its tokens, where they were asked for.
    pub(crate) logprobs: Vec<TokenLogprobs>,
    pub(crate) ending: Ending,
}

/// A call of a tool, as the model wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// The text of a JSON object.
    pub(crate) arguments: String,
}

/// One choice while it runs.
#[derive(Debug)]
struct Choice {
    generation: Generation,
    parser: AnswerParser,
    time_limit: Option<TimeLimit>,
    calls: usize,
    reasoning_tokens: u32,
    /// Tokens of which it is not known yet whether they were thoughts.
    undecided_tokens: u32,
    /// Of tokens that have not become a delta yet.
    logprobs: Vec<TokenLogprobs>,
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
    aborting: CancellationToken,
}

/// Finds or loads the model that a request names.
pub(crate) async fn find_model(
    state: &AppState,
    name: Option<&str>,
    keep_alive: KeepAlive,
) -> Result<Arc<LoadedModel>, ApiError> {
    let name = named(name)?;
    // A load can take as long as a disk is slow; a server that ends does not wait for it.
    tokio::select! {
        biased;
        () = state.aborting.cancelled() => Err(ApiError::shutting_down()),
        model = state.loader.load(name, keep_alive) => Ok(model?),
    }
}

/// Makes sure that the adapters that a request names are loaded.
async fn adapt(state: &AppState, model: &LoadedModel, lora: &[LoraField]) -> Result<(), ApiError> {
    for name in lora.iter().filter_map(LoraField::name) {
        if model.adapters.named(name).is_some() {
            continue;
        }
        match state.loader.adapt(model, name).await {
            // Whoever reads the field says so, and by what name it is known.
            Ok(()) | Err(AdapterFailure::NotFound { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}

/// Takes the model that a request names out of memory; false when it was not loaded.
pub(crate) async fn unload_model(state: &AppState, name: Option<&str>) -> Result<bool, ApiError> {
    let name = named(name)?.unwrap_or(DEFAULT_MODEL);
    Ok(state.loader.unload(name).await?)
}

/// The name in a request, if it says more than "the default one".
fn named(name: Option<&str>) -> Result<Option<&str>, ApiError> {
    let name = name.filter(|name| !name.is_empty() && *name != DEFAULT_MODEL);
    name.map_or(Ok(()), check_model_name)?;
    Ok(name)
}

/// Refuses what cannot be a model's name before anything looks for it.
pub(crate) fn check_model_name(name: &str) -> Result<(), ApiError> {
    check_name(MODEL_FIELD, name)
}

/// The same for the name in another field.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), ApiError> {
    if name.len() > NAME_BYTES {
        let reason = format!("is longer than {NAME_BYTES} bytes");
        return Err(ApiError::field(field, reason));
    }
    if name.chars().any(char::is_control) {
        return Err(ApiError::field(field, "holds control characters"));
    }
    Ok(())
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
    let prompt_tokens = first.map_or(0, |ready| ready.prepared.request.prompt.len());
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
        unheard,
        choices: std::iter::repeat_with(|| None)
            .take(waiting.len())
            .collect(),
        waiting,
        at_a_time: state.config.max_choices,
        ready: VecDeque::new(),
        aborting: state.aborting.clone(),
    };
    answers.begin_waiting().inspect_err(|error| {
        if matches!(error, SubmitError::QueueFull { .. }) {
            metrics.refused();
        }
    })?;
    Ok(answers)
}

/// A sampling change for a running answer, checked as the request's own values were.
pub(crate) fn checked_patch(
    model: &LoadedModel,
    patch: SamplingPatch,
) -> Result<SamplingPatch, ApiError> {
    let mut params = model.default_sampling.clone();
    patch.apply(&mut params);
    params.validate(model.session.tokenizer().vocabulary())?;
    Ok(patch)
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

impl Input {
    /// What the answers to this take, prompt by prompt; `shape` is what the request wants their
    /// text to be.
    pub(crate) fn plan(
        self,
        model: &LoadedModel,
        shape: Option<Constraint>,
    ) -> Result<Vec<ChatPlan>, ApiError> {
        let prompts = match self {
            Input::Raw(prompt) => vec![prompt],
            Input::Several(prompts) => prompts,
            Input::Gap(gap) => vec![gap.prompt(model)?],
            Input::Prompt {
                system,
                text,
                thinking,
            } if model.template.is_chat_model() => {
                let chat = Chat {
                    thinking,
                    ..Chat::of(lone_messages(system.as_deref(), &text))
                };
                return Ok(vec![chat.plan(model, shape.as_ref())?]);
            }
            Input::Prompt { system, text, .. } => {
                vec![model.lone_prompt(system.as_deref(), &text)?]
            }
            Input::Chat(chat) => return Ok(vec![chat.plan(model, shape.as_ref())?]),
        };
        let plan = |prompt| ChatPlan::of_prompt(prompt, shape.clone());
        Ok(prompts.into_iter().map(plan).collect())
    }
}

/// A prompt that is ready for the engine, and how its answer is read.
struct Ready {
    prepared: Prepared,
    format: AnswerFormat,
    unheard: Vec<Unheard>,
    time_limit: Option<Duration>,
}

/// Pure computation: template, parameters, tokens; `defaults` holds what the server decides.
fn prepare(
    model: &LoadedModel,
    input: Input,
    params: Params,
    defaults: GenerateRequest,
) -> Result<(Vec<Ready>, AdapterUse), ApiError> {
    let (adapters, held) = match &params.lora {
        Some(lora) => chosen_adapters(model, lora)?,
        // The model's handle holds these.
        None => (model.default_adapters.clone(), AdapterUse::default()),
    };
    let time_limit = params.time_limit;
    let has_grammar = matches!(params.constraint, Some(Constraint::Grammar(_)));
    let plans = input.plan(model, params.constraint)?;
    let common = GenerateRequest {
        sampling: params.sampling.over(model)?,
        max_tokens: params.max_tokens.or(defaults.max_tokens),
        stop: params.stop,
        ignore_eos: params.ignore_eos,
        adapters,
        logprobs: params.logprobs,
        context: params.context,
        // Nobody gets more time than the server gives.
        deadline: params.deadline.into_iter().chain(defaults.deadline).min(),
        ..defaults
    };
    let ready = |plan: ChatPlan| {
        let request = GenerateRequest {
            prompt: plan.prompt,
            constraint: plan.constraint,
            shown: plan.shown,
            ..common.clone()
        };
        let prepared = model.session.prepare(request).map_err(ApiError::from);
        Ok(Ready {
            // A grammar that the request has not brought is there for the sake of its tools.
            prepared: match plan.holds_calls && !has_grammar {
                true => prepared.map_err(|error| error.renamed(&[("grammar", "tools")]))?,
                false => prepared?,
            },
            format: plan.format,
            unheard: plan.unheard,
            time_limit,
        })
    };
    let ready = plans
        .into_iter()
        .map(ready)
        .collect::<Result<_, ApiError>>()?;
    Ok((ready, held))
}

/// The adapters that a request chooses, and their use.
fn chosen_adapters(
    model: &LoadedModel,
    lora: &[LoraField],
) -> Result<(Vec<AdapterScale>, AdapterUse), ApiError> {
    let chosen = lora.iter().map(|lora| lora.resolve(model));
    let chosen: Vec<AdapterScale> = chosen.collect::<Result<_, _>>()?;
    let held = model.adapters.hold(&chosen).map_err(|AdapterId(id)| {
        let known: Vec<_> = model
            .adapters
            .all()
            .iter()
            .map(|a| a.id.0.to_string())
            .collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        ApiError::field("lora", format!("names adapter {id}; loaded are: {known}"))
    })?;
    Ok((chosen, held))
}

impl Choice {
    /// What an event of the engine means for this choice, appended to `ready`; the last word, if
    /// it was that.
    fn note(&mut self, index: usize, event: Event, ready: &mut VecDeque<Progress>) -> Option<End> {
        let mut deltas = Vec::new();
        let end = match event {
            Event::Text {
                text,
                tokens,
                logprobs,
            } => {
                if let Some(limit) = &mut self.time_limit
                    && limit.is_over(&text, Instant::now())
                {
                    self.generation.stop();
                }
                let was_thinking = self.parser.is_thinking();
                self.parser.push(&text, &mut deltas);
                self.logprobs.extend(logprobs);
                self.undecided_tokens += tokens;
                // The marks around thoughts are part of them.
                if was_thinking || self.parser.is_thinking() {
                    self.reasoning_tokens += std::mem::take(&mut self.undecided_tokens);
                } else if !deltas.is_empty() {
                    self.undecided_tokens = 0;
                }
                if self.parser.is_over() {
                    self.generation.stop();
                }
                None
            }
            Event::Finished(finish) => {
                self.parser.finish(&mut deltas);
                Some(End::Finished(finish))
            }
            Event::Failed(error) => Some(End::Failed(error.into())),
        };
        for delta in deltas {
            self.calls += usize::from(matches!(delta, Delta::ToolCall { .. }));
            ready.push_back(Progress::Delta {
                choice: index,
                delta,
                logprobs: std::mem::take(&mut self.logprobs),
            });
        }
        end
    }
}

/// How a choice ended.
enum End {
    Finished(Finish),
    Failed(ApiError),
}

impl Answers {
    /// What happens next; `None` after the last. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Progress> {
        loop {
            if let Some(progress) = self.ready.pop_front() {
                return Some(progress);
            }
            let aborting = self.aborting.clone();
            let open = self.choices.iter_mut().enumerate();
            let mut waits: Vec<_> = open
                .filter_map(|(index, choice)| Some((index, choice.as_mut()?)))
                .map(|(index, choice)| {
                    Box::pin(async move { (index, choice.generation.next().await) })
                })
                .collect();
            if waits.is_empty() {
                return None;
            }
            let next = async {
                match waits.pop() {
                    // The usual case needs no list of its own.
                    Some(only) if waits.is_empty() => only.await,
                    last => select_all(waits.into_iter().chain(last)).await.0,
                }
            };
            let (index, event) = tokio::select! {
                biased;
                () = aborting.cancelled() => return Some(self.fail(ApiError::shutting_down())),
                next = next => next,
            };
            self.note(index, event?, true);
        }
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
            self.choices[next.index] = Some(next.begin(&self.model)?);
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
            && choice.parser.is_over()
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
                match self.begin_waiting() {
                    // A full queue is no failure while an answer of ours will make room in it.
                    Err(SubmitError::QueueFull { .. }) if self.running() > 0 => {}
                    Err(error) => {
                        let failed = self.fail(error.into());
                        self.ready.push_back(failed);
                    }
                    Ok(()) => {}
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

/// A choice while it is collected.
#[derive(Debug, Clone, Default)]
struct Draft {
    content: String,
    reasoning: String,
    calls: Vec<Call>,
    logprobs: Vec<TokenLogprobs>,
    ending: Option<Ending>,
}

impl Draft {
    fn push(&mut self, delta: Delta, logprobs: Vec<TokenLogprobs>) {
        self.logprobs.extend(logprobs);
        match delta {
            Delta::Content(text) => self.content.push_str(&text),
            Delta::Reasoning(text) => self.reasoning.push_str(&text),
            Delta::ToolCall { name, .. } => self.calls.push(Call {
                name,
                ..Call::default()
            }),
            Delta::ToolArguments { index, json } => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.arguments.push_str(&json);
                }
            }
        }
    }

    fn complete(self) -> Option<Answered> {
        let ending = self.ending?;
        let mut logprobs = self.logprobs;
        logprobs.extend(ending.logprobs.iter().cloned());
        Some(Answered {
            content: self.content,
            reasoning: self.reasoning,
            calls: self.calls,
            logprobs,
            ending,
        })
    }
}
