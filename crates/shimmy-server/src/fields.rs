//! The fields that all dialects call by the same names, and what they mean to the engine.
//!
//! Dialects read these from a body beside their own types. (`serde(flatten)` would do it in one
//! pass, but its errors no longer say which field is wrong.)

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use shimmy_engine::{
    AdapterId, AdapterScale, Constraint, SamplingParams, SamplingPatch, Specials, Token,
};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::model::LoadedModel;

/// How tokens are chosen, as far as a request says so. `null` counts as absent.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = Sampling)]
pub(crate) struct SamplingFields {
    /// 0 always takes the likeliest token.
    #[schema(minimum = 0, maximum = 100)]
    pub(crate) temperature: Option<f32>,
    /// Only the likeliest so many.
    ///
    /// 0 and the negative numbers that some clients send all mean "no limit".
    pub(crate) top_k: Option<i64>,
    /// Only the likeliest that together have this probability.
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) top_p: Option<f32>,
    /// Only those at least this many times as likely as the likeliest.
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) min_p: Option<f32>,
    /// Locally typical sampling, by its probability mass; 1 takes all.
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) typical_p: Option<f32>,
    /// Divides the logits of tokens seen lately; 1 does nothing.
    #[schema(minimum = 0.01, maximum = 100)]
    pub(crate) repeat_penalty: Option<f32>,
    /// Another name of `repeat_penalty`.
    #[schema(minimum = 0.01, maximum = 100)]
    repetition_penalty: Option<f32>,
    /// How far back the penalties look; 0 not at all.
    ///
    /// -1 looks back over the whole context.
    pub(crate) repeat_last_n: Option<i64>,
    /// Taken once from the logit of every token seen.
    #[schema(minimum = -100, maximum = 100)]
    pub(crate) presence_penalty: Option<f32>,
    /// Taken from a token's logit as often as it was seen.
    #[schema(minimum = -100, maximum = 100)]
    pub(crate) frequency_penalty: Option<f32>,
    /// The same seed gives the same text.
    ///
    /// Negative, as llama.cpp's own -1, draws one.
    pub(crate) seed: Option<i64>,
    pub(crate) logit_bias: Option<Biases>,
}

/// What is added to single tokens' logits.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected an object of token ids and numbers, or a list of pairs"
)]
pub(crate) enum Biases {
    /// By token id, as OpenAI writes it: a number in a string.
    Ids(BTreeMap<String, Bias>),
    /// Pairs, as llama-server's clients write them.
    Pairs(Vec<(BiasedTokens, Bias)>),
}

/// One token by its id, or all those of a text.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum BiasedTokens {
    Id(#[schema(inline)] Token),
    Text(String),
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Bias {
    Number(f32),
    /// `false` forbids the token; `true` means nothing.
    Allowed(bool),
}

impl SamplingFields {
    /// The model's own defaults, with the fields that are present written over them.
    pub(crate) fn over(&self, model: &LoadedModel) -> Result<SamplingParams, ApiError> {
        let base = &model.default_sampling;
        let context = model.session.engine().context();
        let look_back = |value: i64| match u32::try_from(value) {
            Ok(value) => value,
            Err(_) => u32::try_from(context).unwrap_or(u32::MAX),
        };
        Ok(SamplingParams {
            temperature: self.temperature.unwrap_or(base.temperature),
            top_k: self.top_k.map_or(base.top_k, count),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            typical_p: self.typical_p.unwrap_or(base.typical_p),
            repeat_penalty: self.penalty().unwrap_or(base.repeat_penalty),
            repeat_last_n: self.repeat_last_n.map_or(base.repeat_last_n, look_back),
            presence_penalty: self.presence_penalty.unwrap_or(base.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(base.frequency_penalty),
            seed: self.seed.map_or(base.seed, |seed| u64::try_from(seed).ok()),
            logit_bias: match &self.logit_bias {
                Some(biases) => biases.resolve(model)?,
                None => base.logit_bias.clone(),
            },
        })
    }

    /// How the engine calls what was sent under another name: pairs of ours and theirs.
    pub(crate) fn own_names(&self) -> &'static [(&'static str, &'static str)] {
        match (self.repeat_penalty, self.repetition_penalty) {
            (None, Some(_)) => &[("repeat_penalty", "repetition_penalty")],
            _ => &[],
        }
    }

    fn penalty(&self) -> Option<f32> {
        self.repeat_penalty.or(self.repetition_penalty)
    }

    /// What of these can change while an answer runs.
    pub(crate) fn patch(&self) -> SamplingPatch {
        SamplingPatch {
            temperature: self.temperature,
            top_k: self.top_k.map(count),
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            repeat_penalty: self.penalty(),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
        }
    }
}

fn count(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

/// The limit on an answer's tokens in `field`. What no context can hold is as good as no limit.
pub(crate) fn max_tokens(field: &str, value: Option<i64>) -> Result<Option<u32>, ApiError> {
    match value {
        Some(value @ ..1) => {
            let reason = format!("must be at least 1, got {value}");
            Err(ApiError::field(field, reason))
        }
        value => Ok(value.map(count)),
    }
}

/// The time for an answer in `deadline_ms`: a day at most.
pub(crate) fn deadline(value: Option<i64>) -> Result<Option<Duration>, ApiError> {
    let milliseconds = bounded("deadline_ms", value, 1..=86_400_000)?;
    Ok(milliseconds.map(|number| Duration::from_millis(number.into())))
}

/// A whole number in `field` that must lie within bounds.
pub(crate) fn bounded(
    field: &str,
    value: Option<i64>,
    bounds: RangeInclusive<u32>,
) -> Result<Option<u32>, ApiError> {
    let Some(value) = value else {
        return Ok(None);
    };
    match u32::try_from(value) {
        Ok(value) if bounds.contains(&value) => Ok(Some(value)),
        _ => {
            let (low, high) = bounds.into_inner();
            let reason = format!("must be between {low} and {high}, got {value}");
            Err(ApiError::field(field, reason))
        }
    }
}

impl Biases {
    fn resolve(&self, model: &LoadedModel) -> Result<Vec<(Token, f32)>, ApiError> {
        let mut resolved = Vec::new();
        match self {
            Biases::Ids(biases) => {
                for (key, bias) in biases {
                    let id = key.parse().map_err(|_| {
                        let reason = format!("has the key {key:?}, which is no token id");
                        ApiError::field("logit_bias", reason)
                    })?;
                    resolved.push((id, bias.value(key)?));
                }
            }
            Biases::Pairs(pairs) => {
                for (tokens, bias) in pairs {
                    match tokens {
                        BiasedTokens::Id(id) => resolved.push((*id, bias.value(id)?)),
                        BiasedTokens::Text(text) => {
                            let bias = bias.value(&format_args!("{text:?}"))?;
                            let tokenizer = model.session.tokenizer();
                            let tokens = tokenizer
                                .tokenize(text, Specials::Literal)
                                .map_err(|error| ApiError::field("logit_bias", error))?;
                            resolved.extend(tokens.into_iter().map(|token| (token, bias)));
                        }
                    }
                }
            }
        }
        Ok(resolved)
    }
}

impl Bias {
    fn value(self, of: &dyn std::fmt::Display) -> Result<f32, ApiError> {
        match self {
            Bias::Allowed(false) => Ok(f32::NEG_INFINITY),
            Bias::Number(bias) if (-100.0..=100.0).contains(&bias) => Ok(bias),
            Bias::Number(bias) => {
                let reason = format!("of token {of} must be between -100 and 100, got {bias}");
                Err(ApiError::field("logit_bias", reason))
            }
            Bias::Allowed(true) => {
                let reason = format!("of token {of} must be a number, or false to forbid it");
                Err(ApiError::field("logit_bias", reason))
            }
        }
    }
}

/// Everything about an answer but what it answers to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params {
    pub(crate) sampling: SamplingFields,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) stop: Vec<String>,
    pub(crate) ignore_eos: bool,
    /// `None` applies the model's default ones.
    pub(crate) lora: Option<Vec<LoraField>>,
    pub(crate) constraint: Option<Constraint>,
    /// See [`GenerateRequest::logprobs`](shimmy_engine::GenerateRequest::logprobs).
    pub(crate) logprobs: Option<u32>,
    /// See [`GenerateRequest::context`](shimmy_engine::GenerateRequest::context).
    pub(crate) context: Option<u32>,
    /// How long the whole answer may take, from its submission on.
    pub(crate) deadline: Option<Duration>,
    /// How long an answer may take from its first text on, once it holds a line break.
    pub(crate) time_limit: Option<Duration>,
}

/// One text or several: `stop`, among others.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    /// The texts; none for an absent field.
    pub(crate) fn texts(field: Option<Self>) -> Vec<String> {
        match field {
            None => Vec::new(),
            Some(OneOrMany::One(text)) => vec![text],
            Some(OneOrMany::Many(texts)) => texts,
        }
    }
}

/// An adapter and its scale, as llama-server's clients send it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(as = Adapter)]
pub(crate) struct LoraField {
    id: AdapterKey,
    /// 1.0, which is the default, applies it as trained.
    #[schema(minimum = -100, maximum = 100)]
    scale: Option<f32>,
}

/// Its number in the order of loading, or its name.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected an adapter's number or its name")]
enum AdapterKey {
    Index(u32),
    Name(String),
}

impl LoraField {
    /// Its name, if that is what it is chosen by.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.id {
            AdapterKey::Index(_) => None,
            AdapterKey::Name(name) => Some(name),
        }
    }

    /// The adapter that is meant. An index is checked by the engine's session, a name here.
    pub(crate) fn resolve(&self, model: &LoadedModel) -> Result<AdapterScale, ApiError> {
        let id = match &self.id {
            AdapterKey::Index(index) => AdapterId(*index),
            AdapterKey::Name(name) => {
                let found = model.adapters.named(name);
                found.map(|adapter| adapter.id).ok_or_else(|| {
                    let names = model.adapters.all().into_iter().map(|adapter| adapter.name);
                    let names: Vec<_> = names.collect();
                    let known = if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    };
                    let reason = format!("names adapter {name:?}; loaded are: {known}");
                    ApiError::field("lora", reason)
                })?
            }
        };
        Ok(AdapterScale {
            id,
            scale: self.scale.unwrap_or(1.0),
        })
    }
}

/// The constraint of a `format` field (`"json"` or a schema) and a `grammar` field (GBNF or Lark;
/// [`Constraint::Grammar`] says how they are told apart).
pub(crate) fn constraint(
    format: Option<&Value>,
    grammar: Option<&String>,
) -> Result<Option<Constraint>, ApiError> {
    let shape = match format {
        None | Some(Value::Null) => None,
        // Ollama's own client sends the empty string for "none".
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) if text == "json" => Some(Constraint::JsonObject),
        Some(schema @ Value::Object(_)) => Some(Constraint::JsonSchema(schema.clone())),
        Some(_) => {
            return Err(ApiError::field(
                "format",
                "must be \"json\" or a JSON schema",
            ));
        }
    };
    match (shape, grammar.filter(|grammar| !grammar.is_empty())) {
        (Some(_), Some(_)) => Err(ApiError::field(
            "grammar",
            "cannot be combined with another output format",
        )),
        (None, Some(grammar)) => Ok(Some(Constraint::Grammar(grammar.clone()))),
        (shape, None) => Ok(shape),
    }
}
