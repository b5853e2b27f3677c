//! From a request that a dialect has read to the events of its answer.
//!
//! The one way from the dialects to the engine: it finds the model, renders, checks, tokenises,
//! submits, and then hands out events. It must not know any wire format.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use serde_json::{Map, Value};
use shimmy_chat::{Message, RenderRequest, TemplateError};
use shimmy_engine::{
    Event, Finish, GenerateRequest, Generation, Prepared, Prompt, SamplingPatch, Usage,
};
use tokio_util::sync::CancellationToken;

use crate::error::{ApiError, ErrorKind};
use crate::fields::Params;
use crate::state::{AppState, LoadedModel};

/// Bytes of a body from which rendering and tokenising leave the async threads.
const LONG_INPUT: usize = 16 << 10;

/// Longest name of a model that is looked up.
const NAME_BYTES: usize = 512;

/// The name that stands for whichever model is the default one.
pub(crate) const DEFAULT_MODEL: &str = "default";

/// What the model answers to.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A text as it is, special tokens and all.
    Raw(String),
    /// One user message where the model has a chat template, the text itself where it has none.
    Prompt {
        system: Option<String>,
        text: String,
    },
    /// A conversation.
    Chat {
        messages: Vec<Message>,
        tools: Option<Value>,
        kwargs: Map<String, Value>,
    },
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
}

/// What happens next in an answer.
#[derive(Debug)]
pub(crate) enum Progress {
    /// More text of one choice.
    Text { choice: usize, text: String },
    /// One choice is complete.
    Finished { choice: usize, finish: Finish },
    /// No choice will be completed any more; nothing follows.
    Failed(ApiError),
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
    /// By choice; `None` once it is complete.
    generations: Vec<Option<Generation>>,
    aborting: CancellationToken,
}

/// Finds or loads the model that a request names.
pub(crate) async fn find_model(
    state: &AppState,
    name: Option<&str>,
) -> Result<Arc<LoadedModel>, ApiError> {
    let name = named(name)?;
    // A load can take as long as a disk is slow; a server that ends does not wait for it.
    tokio::select! {
        biased;
        () = state.aborting.cancelled() => Err(ApiError::shutting_down()),
        model = state.loader.load(name) => Ok(model?),
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
    let model = find_model(state, ask.model.as_deref()).await?;
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
    let generations = submit(&model, prepared, choices)?;
    Ok(Answers {
        model,
        received,
        load,
        generations,
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
    /// Whether the model is told of tools that it may call.
    pub(crate) fn has_tools(&self) -> bool {
        matches!(self, Input::Chat { tools: Some(_), .. })
    }

    fn render(self, model: &LoadedModel) -> Result<Prompt, TemplateError> {
        match self {
            Input::Raw(text) => Ok(Prompt::marked(text)),
            Input::Prompt { system, text } => model.lone_prompt(system.as_deref(), &text),
            Input::Chat {
                messages,
                tools,
                kwargs,
            } => model.template.render(&RenderRequest {
                messages: &messages,
                add_generation_prompt: true,
                tools: tools.as_ref(),
                kwargs: &kwargs,
            }),
        }
    }
}

/// Pure computation: template, parameters, tokens.
fn prepare(
    model: &LoadedModel,
    input: Input,
    params: Params,
    default_max_tokens: Option<u32>,
) -> Result<Prepared, ApiError> {
    let adapters = match &params.lora {
        Some(lora) => lora
            .iter()
            .map(|lora| lora.resolve(model))
            .collect::<Result<_, _>>()?,
        None => model.default_adapters.clone(),
    };
    let request = GenerateRequest {
        sampling: params.sampling.over(model)?,
        prompt: input.render(model)?,
        max_tokens: params.max_tokens.or(default_max_tokens),
        stop: params.stop,
        ignore_eos: params.ignore_eos,
        adapters,
        constraint: params.constraint,
    };
    Ok(model.session.prepare(request)?)
}

fn submit(
    model: &LoadedModel,
    prepared: Prepared,
    choices: usize,
) -> Result<Vec<Option<Generation>>, ApiError> {
    (0..choices as u64)
        .map(|choice| {
            let mut prepared = prepared.clone();
            // One seed for all choices would make them all the same.
            let seed = &mut prepared.request.sampling.seed;
            *seed = seed.map(|seed| seed.wrapping_add(choice));
            Ok(Some(model.session.submit(prepared)?))
        })
        .collect()
}

impl Answers {
    /// What happens next; `None` after the last. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Progress> {
        let aborting = self.aborting.clone();
        let open = self.generations.iter_mut().enumerate();
        let mut waits: Vec<_> = open
            .filter_map(|(choice, generation)| Some((choice, generation.as_mut()?)))
            .map(|(choice, generation)| Box::pin(async move { (choice, generation.next().await) }))
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
        let (choice, event) = tokio::select! {
            biased;
            () = aborting.cancelled() => return Some(self.fail(ApiError::shutting_down())),
            next = next => next,
        };
        Some(self.note(choice, event?))
    }

    /// What has already happened next, without waiting.
    pub(crate) fn try_next(&mut self) -> Option<Progress> {
        let (choice, event) = self
            .generations
            .iter_mut()
            .enumerate()
            .find_map(|(choice, generation)| Some((choice, generation.as_mut()?.try_next()?)))?;
        Some(self.note(choice, event))
    }

    /// Whether every choice has said its last word.
    pub(crate) fn is_complete(&self) -> bool {
        self.generations.iter().all(Option::is_none)
    }

    /// Ends every choice as it stands: each still says `Finished`, with `Cancelled`.
    pub(crate) fn stop(&self) {
        self.generations.iter().flatten().for_each(Generation::stop);
    }

    /// Changes how the following tokens are chosen; the values have been checked.
    pub(crate) fn update(&self, patch: &SamplingPatch) {
        self.generations
            .iter()
            .flatten()
            .for_each(|running| running.update(patch.clone()));
    }

    /// Waits for the end: every choice's text with its last word, in order.
    pub(crate) async fn collect(&mut self) -> Result<Vec<(String, Finish)>, ApiError> {
        let mut texts = vec![String::new(); self.generations.len()];
        let mut finishes = vec![None; texts.len()];
        while let Some(progress) = self.next().await {
            match progress {
                Progress::Text { choice, text } => texts[choice].push_str(&text),
                Progress::Finished { choice, finish } => finishes[choice] = Some(finish),
                Progress::Failed(error) => return Err(error),
            }
        }
        // The loop only ends well when every choice has said its last word.
        Ok(texts
            .into_iter()
            .zip(finishes.into_iter().flatten())
            .collect())
    }

    fn note(&mut self, choice: usize, event: Event) -> Progress {
        match event {
            Event::Text { text, .. } => Progress::Text { choice, text },
            Event::Finished(finish) => {
                self.generations[choice] = None;
                Progress::Finished { choice, finish }
            }
            Event::Failed(error) => self.fail(error.into()),
        }
    }

    /// One failure ends all choices: no dialect can say "this one failed, the others go on".
    fn fail(&mut self, error: ApiError) -> Progress {
        self.generations.clear();
        Progress::Failed(error)
    }
}
