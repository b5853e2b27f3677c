//! From a request that a dialect has read to the events of its answer.
//!
//! The one way from the dialects to the engine: it finds the model, renders, checks, tokenises,
//! submits, and then hands out events. It must not know any wire format.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use serde_json::{Map, Value};
use shimmy_chat::{
    AnswerFormat, AnswerParser, ChatPlan, ChatRequest, Delta, Message, TemplateError, Thinking,
    Tool, ToolChoice,
};
use shimmy_engine::{
    Constraint, Event, Finish, GenerateRequest, Generation, Prepared, Prompt, SamplingPatch,
    TokenLogprobs, Usage,
};
use tokio_util::sync::CancellationToken;

use crate::error::{ApiError, ErrorKind};
use crate::fields::Params;
use crate::state::{AppState, KeepAlive, LoadedModel};

/// Bytes of a body from which rendering and tokenising leave the async threads.
const LONG_INPUT: usize = 16 << 10;

/// Longest name of a model that is looked up.
const NAME_BYTES: usize = 512;

/// The name that stands for whichever model is the default one.
pub(crate) const DEFAULT_MODEL: &str = "default";

/// What the model answers to.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A prompt as it is, special tokens and all.
    Raw(Prompt),
    /// One user message where the model has a chat template, the text itself where it has none.
    Prompt {
        system: Option<String>,
        text: String,
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
            kwargs: Map::new(),
        }
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
    calls: usize,
    reasoning_tokens: u32,
    /// Of tokens that have not become a delta yet.
    logprobs: Vec<TokenLogprobs>,
}

/// The running answers to one request. Dropping them cancels them.
#[derive(Debug)]
pub(crate) struct Answers {
    /// The model; held so that it is not unloaded under a running answer.
    pub(crate) model: Arc<LoadedModel>,
    /// When the request came.
    pub(crate) received: Instant,
    /// How long the request waited for its model.
    pub(crate) load: Duration,
    /// `None` once it is complete.
    choices: Vec<Option<Choice>>,
    /// What has happened and not been told yet: one event of the engine can be several.
    ready: VecDeque<Progress>,
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

/// Refuses what cannot be a name before anything looks for it.
pub(crate) fn check_model_name(name: &str) -> Result<(), ApiError> {
    if name.len() > NAME_BYTES {
        return Err(ApiError::field(
            "model",
            format_args!("is longer than {NAME_BYTES} bytes"),
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(ApiError::field("model", "holds control characters"));
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
    let load = received.elapsed();
    let Ask {
        input,
        params,
        choices,
        bytes,
        ..
    } = ask;
    let default_max_tokens = state.config.default_max_tokens;
    // A grammar may be slow to compile however short it is.
    let is_slow = bytes > LONG_INPUT || params.constraint.is_some();
    let prepare = {
        let model = Arc::clone(&model);
        move || prepare(&model, input, params, default_max_tokens)
    };
    let prepared = if is_slow {
        // Some milliseconds of pure computation, which would hold up every stream on this thread.
        tokio::task::spawn_blocking(prepare)
            .await
            .map_err(|error| {
                tracing::error!(%error, "preparing a request panicked");
                ApiError::new(ErrorKind::Internal, "the request could not be prepared")
            })??
    } else {
        prepare()?
    };
    let choices = submit(&model, &prepared, choices)?;
    Ok(Answers {
        model,
        received,
        load,
        choices,
        ready: VecDeque::new(),
        aborting: state.aborting.clone(),
    })
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
    /// What an answer to this takes; `shape` is what the request wants its text to be.
    fn plan(
        self,
        model: &LoadedModel,
        shape: Option<Constraint>,
    ) -> Result<ChatPlan, TemplateError> {
        let prompt = match self {
            Input::Raw(prompt) => prompt,
            Input::Prompt { system, text } => model.lone_prompt(system.as_deref(), &text)?,
            Input::Chat(chat) => {
                return model.template.plan(&ChatRequest {
                    messages: &chat.messages,
                    tools: &chat.tools,
                    tool_choice: &chat.tool_choice,
                    parallel_calls: chat.parallel_calls,
                    thinking: &chat.thinking,
                    shape: shape.as_ref(),
                    kwargs: &chat.kwargs,
                });
            }
        };
        Ok(ChatPlan {
            prompt,
            constraint: shape,
            format: AnswerFormat::plain(),
        })
    }
}

/// A request that is ready for the engine, and how its answer is read.
struct Ready {
    prepared: Prepared,
    format: AnswerFormat,
}

/// Pure computation: template, parameters, tokens.
fn prepare(
    model: &LoadedModel,
    input: Input,
    params: Params,
    default_max_tokens: Option<u32>,
) -> Result<Ready, ApiError> {
    let adapters = match &params.lora {
        Some(lora) => lora
            .iter()
            .map(|lora| lora.resolve(model))
            .collect::<Result<_, _>>()?,
        None => model.default_adapters.clone(),
    };
    let plan = input.plan(model, params.constraint)?;
    let request = GenerateRequest {
        sampling: params.sampling.over(model)?,
        prompt: plan.prompt,
        max_tokens: params.max_tokens.or(default_max_tokens),
        stop: params.stop,
        ignore_eos: params.ignore_eos,
        adapters,
        constraint: plan.constraint,
        logprobs: params.logprobs,
        context: params.context,
        ..GenerateRequest::default()
    };
    Ok(Ready {
        prepared: model.session.prepare(request)?,
        format: plan.format,
    })
}

fn submit(
    model: &LoadedModel,
    ready: &Ready,
    choices: usize,
) -> Result<Vec<Option<Choice>>, ApiError> {
    (0..choices as u64)
        .map(|choice| {
            let mut prepared = ready.prepared.clone();
            // One seed for all choices would make them all the same.
            let seed = &mut prepared.request.sampling.seed;
            *seed = seed.map(|seed| seed.wrapping_add(choice));
            Ok(Some(Choice {
                generation: model.session.submit(prepared)?,
                parser: ready.format.parser(),
                calls: 0,
                reasoning_tokens: 0,
                logprobs: Vec::new(),
            }))
        })
        .collect()
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
                self.parser.push(&text, &mut deltas);
                self.logprobs.extend(logprobs);
                // A token belongs to what it completed.
                if matches!(deltas.last(), Some(Delta::Reasoning(_))) {
                    self.reasoning_tokens += tokens;
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
            self.note(index, event?);
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
            self.note(index, event);
        }
    }

    /// Whether every choice has said its last word and it has been told.
    pub(crate) fn is_complete(&self) -> bool {
        self.ready.is_empty() && self.choices.iter().all(Option::is_none)
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

    fn note(&mut self, index: usize, event: Event) {
        let Some(choice) = &mut self.choices[index] else {
            return;
        };
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
            }
            Some(End::Failed(error)) => {
                let failed = self.fail(error);
                self.ready.push_back(failed);
            }
        }
    }

    /// One failure ends all choices: no dialect can say "this one failed, the others go on".
    fn fail(&mut self, error: ApiError) -> Progress {
        self.choices.clear();
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
