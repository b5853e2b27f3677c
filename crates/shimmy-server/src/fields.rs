//! The fields that all dialects call by the same names, and what they mean to the engine.
//!
//! Dialects read these from a body beside their own types. (`serde(flatten)` would do it in one
//! pass, but its errors no longer say which field is wrong.)

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use shimmy_engine::{AdapterId, AdapterScale, Constraint, SamplingParams, SamplingPatch};

use crate::error::ApiError;
use crate::state::LoadedModel;

/// How tokens are chosen, as far as a request says so. `null` counts as absent.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct SamplingFields {
    pub(crate) temperature: Option<f32>,
    /// 0 and the negative numbers that some clients send all mean "no limit".
    pub(crate) top_k: Option<i64>,
    pub(crate) top_p: Option<f32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) typical_p: Option<f32>,
    pub(crate) repeat_penalty: Option<f32>,
    /// -1 looks back over the whole context.
    pub(crate) repeat_last_n: Option<i64>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) frequency_penalty: Option<f32>,
    /// Negative, as llama.cpp's own -1, draws one.
    pub(crate) seed: Option<i64>,
    /// By token id, as OpenAI writes it: a number in a string.
    pub(crate) logit_bias: Option<BTreeMap<String, f32>>,
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
            repeat_penalty: self.repeat_penalty.unwrap_or(base.repeat_penalty),
            repeat_last_n: self.repeat_last_n.map_or(base.repeat_last_n, look_back),
            presence_penalty: self.presence_penalty.unwrap_or(base.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(base.frequency_penalty),
            seed: self.seed.map_or(base.seed, |seed| u64::try_from(seed).ok()),
            logit_bias: match &self.logit_bias {
                Some(biases) => biases.iter().map(bias).collect::<Result<_, _>>()?,
                None => base.logit_bias.clone(),
            },
        })
    }

    /// What of these can change while an answer runs.
    pub(crate) fn patch(&self) -> SamplingPatch {
        SamplingPatch {
            temperature: self.temperature,
            top_k: self.top_k.map(count),
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            repeat_penalty: self.repeat_penalty,
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

fn bias((token, bias): (&String, &f32)) -> Result<(u32, f32), ApiError> {
    let id = token.parse().map_err(|_| {
        ApiError::field(
            "logit_bias",
            format_args!("has the key {token:?}, which is no token id"),
        )
    })?;
    if !(-100.0..=100.0).contains(bias) {
        let reason = format!("of token {id} must be between -100 and 100, got {bias}");
        return Err(ApiError::field("logit_bias", reason));
    }
    Ok((id, *bias))
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
}

/// One text or several: `stop`, among others.
#[derive(Debug, Clone, Deserialize)]
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
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LoraField {
    id: AdapterKey,
    scale: Option<f32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected an adapter's number or its name")]
enum AdapterKey {
    Index(u32),
    Name(String),
}

impl LoraField {
    /// The adapter that is meant. An index is checked by the engine's session, a name here.
    pub(crate) fn resolve(&self, model: &LoadedModel) -> Result<AdapterScale, ApiError> {
        let id = match &self.id {
            AdapterKey::Index(index) => AdapterId(*index),
            AdapterKey::Name(name) => {
                let found = model.adapters.iter().find(|adapter| adapter.name == *name);
                found.map(|adapter| adapter.id).ok_or_else(|| {
                    let names: Vec<_> = model.adapters.iter().map(|a| a.name.as_str()).collect();
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

/// The constraint of a `format` field (`"json"` or a schema) and a `grammar` field.
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
