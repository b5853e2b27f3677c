//! The last word of a completion, which its JSON and its stream share.

use serde::Serialize;
use serde_json::{Map, Value};
use shimmy_engine::{Finish, FinishReason, Logprob, Token, TokenLogprobs};
use utoipa::ToSchema;

use super::request::Asked;
use super::settings::Settings;
use crate::answer::{Answered, Input};
use crate::error::ApiError;
use crate::model::LoadedModel;
use crate::prompts;
use crate::report::LlamaTimings;

/// The smallest number that llama-server writes: JSON has no infinity.
const UNLIKELY: f32 = f32::MIN;

/// Requests are not bound to places of the cache, so an answer comes from none.
pub(super) const NO_SLOT: i32 = -1;

/// What all choices of a request share, and what it wants to see.
#[derive(Debug)]
pub(super) struct Described {
    model: String,
    settings: Settings,
    /// As the model reads them.
    prompts: Vec<String>,
    asked: Asked,
}

/// One choice, complete.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerCompletion)]
pub(super) struct Last<'a> {
    index: usize,
    /// Always -1: requests are not bound to places of the cache.
    id_slot: i32,
    content: &'a str,
    #[schema(value_type = Vec<u32>)]
    tokens: Vec<Token>,
    stop: bool,
    model: &'a str,
    tokens_predicted: u32,
    tokens_evaluated: u32,
    generation_settings: &'a Settings,
    prompt: &'a str,
    has_new_line: bool,
    /// A prompt that does not fit is refused, and no context is ever shifted.
    truncated: bool,
    stop_type: &'static str,
    stopping_word: &'a str,
    tokens_cached: u32,
    timings: LlamaTimings,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    completion_probabilities: Vec<Probability>,
}

/// What the model thought of one token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerProbability)]
pub(super) struct Probability {
    #[serde(flatten)]
    chosen: TokenBody,
    top_logprobs: Vec<TokenBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlamaServerTokenProbability)]
struct TokenBody {
    #[schema(value_type = u32)]
    id: Token,
    token: String,
    bytes: Vec<u8>,
    logprob: f32,
}

impl From<&Logprob> for TokenBody {
    fn from(logprob: &Logprob) -> Self {
        Self {
            id: logprob.token,
            token: String::from_utf8_lossy(&logprob.bytes).into_owned(),
            bytes: logprob.bytes.clone(),
            logprob: logprob.logprob.max(UNLIKELY),
        }
    }
}

/// What a choice's end tells, beside how it ended.
pub(super) struct Said<'a> {
    pub(super) index: usize,
    /// The text that has not been told yet.
    pub(super) content: &'a str,
    /// Of the tokens that have not been told yet.
    pub(super) logprobs: &'a [TokenLogprobs],
    pub(super) has_new_line: bool,
}

impl Described {
    /// Of a request to `model`.
    pub(super) fn new(model: &LoadedModel, asked: Asked) -> Result<Self, ApiError> {
        let prompts = match &asked.input {
            Input::Several(list) => list.iter().map(|p| prompts::text(model, p)).collect(),
            Input::Gap(gap) => vec![prompts::text(model, &gap.prompt(model)?)],
            // No other kind of input is read here.
            _ => Vec::new(),
        };
        Ok(Self {
            model: model.name.clone(),
            settings: Settings::asked(&asked, model)?,
            prompts,
            asked,
        })
    }

    /// Whether the answer is not wanted, only its prompt in the cache.
    pub(super) fn is_warm_up(&self) -> bool {
        self.asked.n_predict == Some(0)
    }

    /// A complete choice as one object.
    pub(super) fn whole(&self, index: usize, answered: &Answered) -> Value {
        let content = if self.is_warm_up() {
            ""
        } else {
            &answered.content
        };
        let said = Said {
            index,
            content,
            logprobs: &answered.logprobs,
            has_new_line: content.contains('\n'),
        };
        self.last(said, &answered.ending.finish)
    }

    /// Which prompt a choice answers to.
    pub(super) fn prompt_of(&self, choice: usize) -> usize {
        choice / self.asked.per_prompt.max(1)
    }

    /// The last word of a choice, with the fields that the request wants.
    pub(super) fn last(&self, said: Said<'_>, finish: &Finish) -> Value {
        let prompt = self.prompt_of(said.index);
        let mut finish = finish.clone();
        if self.is_warm_up() {
            // The least that can be asked of the engine is nothing that anybody wanted.
            finish.usage.completion_tokens = 0;
        }
        let finish = &finish;
        let last = Last {
            index: said.index,
            id_slot: NO_SLOT,
            content: said.content,
            tokens: self.tokens(said.logprobs),
            stop: true,
            model: &self.model,
            tokens_predicted: finish.usage.completion_tokens,
            tokens_evaluated: finish.usage.prompt_tokens,
            generation_settings: &self.settings,
            prompt: self.prompts.get(prompt).map_or("", String::as_str),
            has_new_line: said.has_new_line,
            truncated: false,
            stop_type: stop_type(finish),
            stopping_word: finish.stop.as_deref().unwrap_or_default(),
            tokens_cached: finish.usage.cached_tokens,
            timings: finish.into(),
            completion_probabilities: self.probabilities(said.logprobs),
        };
        // By way of its text, in which numbers keep their short form; our own types with text keys
        // cannot fail to have one.
        let text = serde_json::to_string(&last).unwrap_or_default();
        let last = serde_json::from_str(&text).unwrap_or_default();
        picked(last, &self.asked.response_fields)
    }

    /// The ids of these tokens, where they were asked for.
    pub(super) fn tokens(&self, logprobs: &[TokenLogprobs]) -> Vec<Token> {
        let wanted = self.asked.return_tokens && !self.is_warm_up();
        let ids = logprobs.iter().filter(|_| wanted);
        ids.map(|token| token.chosen.token).collect()
    }

    /// What the model thought of these tokens, where that was asked for.
    pub(super) fn probabilities(&self, logprobs: &[TokenLogprobs]) -> Vec<Probability> {
        let wanted = self.asked.n_probs > 0 && !self.is_warm_up();
        let tokens = logprobs.iter().filter(|_| wanted);
        tokens
            .map(|token| Probability {
                chosen: (&token.chosen).into(),
                top_logprobs: token.top.iter().map(TokenBody::from).collect(),
            })
            .collect()
    }
}

fn stop_type(finish: &Finish) -> &'static str {
    match (finish.reason, &finish.stop) {
        (FinishReason::Stop, Some(_)) => "word",
        (FinishReason::Stop, None) => "eos",
        // Nothing but the limit on its time stops an answer here from outside.
        (FinishReason::Length | FinishReason::Cancelled, _) => "limit",
    }
}

/// Only the fields at these paths; what stands deeper comes up by its own name. None means all.
fn picked(whole: Value, paths: &[String]) -> Value {
    if paths.is_empty() {
        return whole;
    }
    let mut picked = Map::new();
    for path in paths {
        let found = path
            .split('/')
            .try_fold(&whole, |value, key| value.get(key));
        let name = path.rsplit('/').next().unwrap_or(path);
        if let Some(found) = found {
            picked.insert(name.to_owned(), found.clone());
        }
    }
    Value::Object(picked)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_picked_by_their_paths() {
        let whole = json!({ "content": "a", "timings": { "prompt_n": 3 }, "stop": true });
        let paths = ["content", "timings/prompt_n", "nothing", "content/deeper"];
        let paths = paths.map(str::to_owned);
        let expected = json!({ "content": "a", "prompt_n": 3 });
        assert_eq!(picked(whole.clone(), &paths), expected);
        assert_eq!(picked(whole.clone(), &[]), whole);
    }
}
