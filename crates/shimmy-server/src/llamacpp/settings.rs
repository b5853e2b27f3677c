//! `generation_settings`: how tokens were chosen, by llama-server's names.
//!
//! What it can do and this server cannot is told as switched off, which is true.

use serde::Serialize;
use shimmy_engine::{SamplingParams, Token};
use utoipa::ToSchema;

use super::request::Asked;
use crate::error::ApiError;
use crate::model::LoadedModel;

/// What llama-server calls a seed that is drawn.
const RANDOM_SEED: u64 = 0xFFFF_FFFF;

/// The order in which tokens are ruled out: the engine's only one.
const SAMPLERS: [&str; 6] = [
    "penalties",
    "top_k",
    "typ_p",
    "top_p",
    "min_p",
    "temperature",
];

/// How the tokens of an answer are chosen.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LlamaServerSettings)]
pub(super) struct Settings {
    seed: u64,
    temperature: f32,
    dynatemp_range: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    top_n_sigma: f32,
    xtc_probability: f32,
    typical_p: f32,
    repeat_last_n: u32,
    repeat_penalty: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
    dry_multiplier: f32,
    mirostat: u32,
    stop: Vec<String>,
    /// -1 where there is no limit but the context's.
    max_tokens: i64,
    n_predict: i64,
    n_keep: u32,
    n_discard: u32,
    ignore_eos: bool,
    stream: bool,
    logit_bias: Vec<BiasBody>,
    n_probs: u32,
    min_keep: u32,
    grammar: String,
    #[schema(value_type = Vec<String>)]
    samplers: [&'static str; 6],
    timings_per_token: bool,
    post_sampling_probs: bool,
    lora: Vec<LoraBody>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LlamaServerBias)]
struct BiasBody {
    /// Null forbids the token.
    #[schema(value_type = Option<f32>)]
    bias: f32,
    #[schema(value_type = u32)]
    token: Token,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LlamaServerAdapterScale)]
struct LoraBody {
    id: u32,
    scale: f32,
}

impl Settings {
    /// Those of a request that says nothing.
    pub(super) fn defaults(model: &LoadedModel) -> Self {
        let adapters = model.default_adapters.iter();
        Self {
            lora: adapters
                .map(|adapter| LoraBody {
                    id: adapter.id.0,
                    scale: adapter.scale,
                })
                .collect(),
            ..Self::of(&model.default_sampling)
        }
    }

    /// Those of this request.
    pub(super) fn asked(asked: &Asked, model: &LoadedModel) -> Result<Self, ApiError> {
        let limit = asked.n_predict.map_or(-1, i64::from);
        let defaults = Self::defaults(model);
        let lora = match &asked.lora {
            None => defaults.lora,
            Some(lora) => lora
                .iter()
                .map(|lora| {
                    let adapter = lora.resolve(model)?;
                    Ok(LoraBody {
                        id: adapter.id.0,
                        scale: adapter.scale,
                    })
                })
                .collect::<Result<_, ApiError>>()?,
        };
        Ok(Self {
            stop: asked.stop.clone(),
            max_tokens: limit,
            n_predict: limit,
            ignore_eos: asked.ignore_eos,
            stream: asked.stream,
            n_probs: asked.n_probs,
            grammar: asked.grammar.clone(),
            lora,
            ..Self::of(&asked.sampling.over(model)?)
        })
    }

    fn of(sampling: &SamplingParams) -> Self {
        let biases = sampling.logit_bias.iter();
        Self {
            seed: sampling.seed.unwrap_or(RANDOM_SEED),
            temperature: sampling.temperature,
            dynatemp_range: 0.0,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            top_n_sigma: -1.0,
            xtc_probability: 0.0,
            typical_p: sampling.typical_p,
            repeat_last_n: sampling.repeat_last_n,
            repeat_penalty: sampling.repeat_penalty,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            dry_multiplier: 0.0,
            mirostat: 0,
            stop: Vec::new(),
            max_tokens: -1,
            n_predict: -1,
            n_keep: 0,
            n_discard: 0,
            ignore_eos: false,
            stream: false,
            logit_bias: biases
                .map(|&(token, bias)| BiasBody { bias, token })
                .collect(),
            n_probs: 0,
            min_keep: 0,
            grammar: String::new(),
            samplers: SAMPLERS,
            timings_per_token: false,
            post_sampling_probs: false,
            lora: Vec::new(),
        }
    }
}
