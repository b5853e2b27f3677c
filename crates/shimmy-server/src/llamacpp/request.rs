//! What a request of `/completion` or `/infill` says.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use shimmy_engine::{Constraint, MAX_LOGPROBS};
use utoipa::ToSchema;

use crate::answer::{Ask, Input};
use crate::error::ApiError;
use crate::fields::{
    LoraField, OneOrMany, Params, SamplingFields, bounded, constraint, max_tokens,
};
use crate::gap::Gap;
use crate::ignored::Ignored;
use crate::limits::JsonBody;
use crate::loader::KeepAlive;
use crate::prompts::prompts;
use crate::samplers;

/// The seed that llama-server's clients send for "draw one".
const RANDOM_SEED: i64 = 0xFFFF_FFFF;

/// What can be left out: places of the cache are found by what they hold, contexts are never
/// shifted, how tokens are chosen has one order, and an answer may say more than one block of
/// lines.
const IGNORED: [&str; 13] = [
    "id_slot",
    "n_cache_reuse",
    "n_discard",
    "n_indent",
    "n_keep",
    "return_progress",
    "samplers",
    "speculative.n_max",
    "speculative.n_min",
    "speculative.p_min",
    "sse_ping_interval",
    "t_max_prompt_ms",
    "timings_per_token",
];

/// What a client sends.
#[derive(Debug, ToSchema)]
#[schema(as = LlamaServerCompletionRequest)]
#[expect(dead_code, reason = "only described; the parts are read one by one")]
pub(super) struct CompletionRequest {
    #[serde(flatten)]
    fields: CompletionFields,
    #[serde(flatten)]
    sampling: SamplingFields,
}

/// What a client sends who has a gap to fill.
#[derive(Debug, ToSchema)]
#[schema(as = LlamaServerInfillRequest)]
#[expect(dead_code, reason = "only described; the parts are read one by one")]
pub(super) struct InfillRequest {
    #[serde(flatten)]
    gap: InfillFields,
    #[serde(flatten)]
    fields: CompletionFields,
    #[serde(flatten)]
    sampling: SamplingFields,
}

/// The fields around a prompt. Those of [`SamplingFields`] are read beside these.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LlamaServerCompletionFields)]
struct CompletionFields {
    model: Option<String>,
    #[schema(schema_with = crate::prompts::schema)]
    prompt: Option<Value>,
    n_predict: Option<i64>,
    max_tokens: Option<i64>,
    n_cmpl: Option<u32>,
    n: Option<u32>,
    stream: Option<bool>,
    stop: Option<OneOrMany>,
    grammar: Option<String>,
    json_schema: Option<Value>,
    ignore_eos: Option<bool>,
    lora: Option<Vec<LoraField>>,
    n_probs: Option<i64>,
    post_sampling_probs: Option<bool>,
    return_tokens: Option<bool>,
    t_max_predict_ms: Option<i64>,
    response_fields: Option<Vec<String>>,
    cache_prompt: Option<bool>,
}

/// The fields around a gap.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LlamaServerInfillFields)]
struct InfillFields {
    input_prefix: Option<String>,
    input_suffix: Option<String>,
    input_extra: Option<Vec<Extra>>,
    /// What the filling begins with.
    prompt: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LlamaServerExtra)]
struct Extra {
    filename: Option<String>,
    text: String,
}

/// A request, read.
#[derive(Debug)]
pub(super) struct CompletionBody {
    pub(super) ask: Ask,
    pub(super) asked: Asked,
    /// The field that says how many choices there are.
    pub(super) choices_field: &'static str,
    /// The fields that were sent and left out.
    pub(super) ignored: Ignored,
}

/// What of a request its answer repeats, and what it wants to see there.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) input: Input,
    /// How many choices each prompt has.
    pub(super) per_prompt: usize,
    pub(super) sampling: SamplingFields,
    pub(super) stop: Vec<String>,
    /// Zero where only the prompt is to be computed: its client warms the cache up.
    pub(super) n_predict: Option<u32>,
    pub(super) ignore_eos: bool,
    pub(super) stream: bool,
    pub(super) n_probs: u32,
    pub(super) return_tokens: bool,
    pub(super) grammar: String,
    pub(super) lora: Option<Vec<LoraField>>,
    pub(super) response_fields: Vec<String>,
}

impl CompletionBody {
    /// A request with prompts.
    pub(super) fn read(body: &JsonBody, max_prompts: usize) -> Result<Self, ApiError> {
        let mut fields: CompletionFields = body.read()?;
        let prompts = prompts("prompt", fields.prompt.take(), max_prompts)?;
        Self::of(body, fields, Input::Several(prompts))
    }

    /// A request with a gap to fill.
    pub(super) fn read_infill(body: &JsonBody) -> Result<Self, ApiError> {
        let gap: InfillFields = body.read()?;
        let (Some(before), Some(after)) = (gap.input_prefix, gap.input_suffix) else {
            let reason = "is required, and so is `input_suffix`; either may be empty";
            return Err(ApiError::field("input_prefix", reason));
        };
        let context = gap.input_extra.unwrap_or_default().into_iter();
        let context: String = context
            .map(|extra| match extra.filename {
                Some(name) => format!("{name}\n{}\n", extra.text),
                None => format!("{}\n", extra.text),
            })
            .collect();
        let gap = Gap {
            context,
            before,
            after,
            begun: gap.prompt.unwrap_or_default(),
            field: "input_suffix",
        };
        Self::of(body, body.read()?, Input::Gap(gap))
    }

    fn of(body: &JsonBody, fields: CompletionFields, input: Input) -> Result<Self, ApiError> {
        samplers::refuse_foreign(body)?;
        if fields.post_sampling_probs == Some(true) {
            let reason = "is not supported: probabilities are the model's own";
            return Err(ApiError::field("post_sampling_probs", reason));
        }
        let mut sampling: SamplingFields = body.read()?;
        sampling.seed = sampling.seed.filter(|&seed| seed != RANDOM_SEED);
        let n_probs = bounded("n_probs", fields.n_probs, 0..=MAX_LOGPROBS)?.unwrap_or(0);
        let return_tokens = fields.return_tokens.unwrap_or(false);
        let n_predict = limit("n_predict", fields.n_predict)?;
        let n_predict = n_predict.or(limit("max_tokens", fields.max_tokens)?);
        let params = Params {
            sampling: sampling.clone(),
            // One token is the least that can be asked of the engine.
            max_tokens: n_predict.map(|count| count.max(1)),
            stop: OneOrMany::texts(fields.stop),
            ignore_eos: fields.ignore_eos.unwrap_or(false),
            lora: fields.lora.clone(),
            constraint: shape(fields.json_schema, fields.grammar.as_ref())?,
            // The engine tells tokens only together with what it thought of them.
            logprobs: (n_probs > 0 || return_tokens).then_some(n_probs),
            time_limit: time_limit(fields.t_max_predict_ms),
            ..Params::default()
        };
        let mut ignored = Ignored::fields(body, &IGNORED)?;
        if fields.cache_prompt == Some(false) {
            ignored.note("cache_prompt");
        }
        let choices_field = match fields.n_cmpl {
            Some(_) => "n_cmpl",
            None => "n",
        };
        let choices = fields.n_cmpl.or(fields.n).unwrap_or(1) as usize;
        Ok(Self {
            asked: Asked {
                input: input.clone(),
                per_prompt: choices,
                sampling,
                stop: params.stop.clone(),
                n_predict,
                ignore_eos: params.ignore_eos,
                stream: fields.stream.unwrap_or(false),
                n_probs,
                return_tokens,
                grammar: fields.grammar.unwrap_or_default(),
                lora: fields.lora,
                response_fields: fields.response_fields.unwrap_or_default(),
            },
            ask: Ask {
                model: fields.model,
                input,
                params,
                choices,
                bytes: body.len(),
                caller: body.caller(),
                keep_alive: KeepAlive::Default,
            },
            choices_field,
            ignored,
        })
    }
}

/// A limit on the answer's tokens: negative is none.
fn limit(field: &str, value: Option<i64>) -> Result<Option<u32>, ApiError> {
    match value {
        Some(..0) => Ok(None),
        Some(0) => Ok(Some(0)),
        value => max_tokens(field, value),
    }
}

fn time_limit(milliseconds: Option<i64>) -> Option<Duration> {
    let milliseconds = u64::try_from(milliseconds?).ok()?;
    // Zero is llama-server's "no limit".
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

fn shape(schema: Option<Value>, grammar: Option<&String>) -> Result<Option<Constraint>, ApiError> {
    match schema {
        None | Some(Value::Null) => constraint(None, grammar),
        Some(schema @ Value::Object(_)) => constraint(Some(&schema), grammar),
        Some(_) => Err(ApiError::field("json_schema", "must be an object")),
    }
}
