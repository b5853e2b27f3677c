//! What a request asks for and what its stream says: plain, serialisable data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{GenerateError, InvalidParameter};
use crate::runner::{AdapterScale, Token};

/// A piece of a prompt, by who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromptPart {
    /// A template's text: the names of special tokens in it become those tokens.
    Marked(String),
    /// A user's text: the names of special tokens in it stay text.
    Literal(String),
    /// Tokens as they are.
    Tokens(Vec<Token>),
}

/// Everything a model reads before it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The parts in order. The beginning-of-sequence token is added where the model wants one and
    /// the first part does not already start with it.
    pub parts: Vec<PromptPart>,
}

impl Prompt {
    /// A prompt whose text is trusted with special tokens: a raw completion prompt.
    pub fn marked(text: impl Into<String>) -> Self {
        Self {
            parts: vec![PromptPart::Marked(text.into())],
        }
    }

    /// The text, for showing and for tests; token parts are left out.
    pub fn text(&self) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                PromptPart::Marked(text) | PromptPart::Literal(text) => text.as_str(),
                PromptPart::Tokens(_) => "",
            })
            .collect()
    }

    /// Bytes of its text. What is tokens already costs nothing more.
    pub fn bytes(&self) -> usize {
        let bytes = |part: &PromptPart| match part {
            PromptPart::Marked(text) | PromptPart::Literal(text) => text.len(),
            PromptPart::Tokens(_) => 0,
        };
        self.parts.iter().map(bytes).sum()
    }
}

/// A shape that the answer must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Constraint {
    /// Any JSON object.
    JsonObject,
    /// JSON that fits this schema.
    JsonSchema(serde_json::Value),
    /// Text that matches this regular expression from its first to its last character. The syntax
    /// is that of Rust's `regex`, without look-around.
    Regex(String),
    /// Text that fits a grammar: llama.cpp's GBNF if its first rule is defined by `::=`, and
    /// llguidance's Lark otherwise.
    Grammar(String),
}

/// How a token is chosen from the logits.
///
/// The order is: logit bias, penalties, constraint, top-k, typical, top-p, min-p, temperature,
/// draw. The defaults are llama-server's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingParams {
    /// 0 always takes the likeliest token.
    pub temperature: f32,
    /// Only the `top_k` likeliest; 0 takes all.
    pub top_k: u32,
    /// Only the likeliest that together have this probability; 1 takes all.
    pub top_p: f32,
    /// Only those at least `min_p` times as likely as the likeliest; 0 takes all.
    pub min_p: f32,
    /// Locally typical sampling, by its probability mass; 1 takes all.
    pub typical_p: f32,
    /// Divides the logits of tokens seen in the last `repeat_last_n`; 1 does nothing.
    pub repeat_penalty: f32,
    /// How far back the penalties look; 0 not at all.
    pub repeat_last_n: u32,
    /// Taken once from the logit of every token seen.
    pub presence_penalty: f32,
    /// Taken from a token's logit as often as it was seen.
    pub frequency_penalty: f32,
    /// Added to single tokens' logits; −∞ forbids.
    pub logit_bias: Vec<(Token, f32)>,
    /// The same seed gives the same text; none draws one. Where a constraint leaves no choice,
    /// nothing is drawn.
    pub seed: Option<u64>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

impl SamplingParams {
    /// Checks every field against its bounds, for a vocabulary of this size.
    pub fn validate(&self, vocabulary: usize) -> Result<(), InvalidParameter> {
        within("temperature", self.temperature, 0.0, 100.0)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("typical_p", self.typical_p, 0.0, 1.0)?;
        within("repeat_penalty", self.repeat_penalty, 0.01, 100.0)?;
        within("presence_penalty", self.presence_penalty, -100.0, 100.0)?;
        within("frequency_penalty", self.frequency_penalty, -100.0, 100.0)?;
        for &(token, bias) in &self.logit_bias {
            if token as usize >= vocabulary {
                let reason = format!("names token {token}, but the vocabulary has {vocabulary}");
                return Err(InvalidParameter::new("logit_bias", reason));
            }
            if bias.is_nan() || bias == f32::INFINITY {
                let reason = format!("of token {token} is no number to add: {bias}");
                return Err(InvalidParameter::new("logit_bias", reason));
            }
        }
        Ok(())
    }
}

fn within(field: &str, value: f32, low: f32, high: f32) -> Result<(), InvalidParameter> {
    // Written so that NaN, which compares false with everything, is refused too.
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(InvalidParameter::new(
        field,
        format!("must be between {low} and {high}, got {value}"),
    ))
}

/// New values for a running generation; absent fields stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplingPatch {
    /// See [`SamplingParams::temperature`].
    pub temperature: Option<f32>,
    /// See [`SamplingParams::top_k`].
    pub top_k: Option<u32>,
    /// See [`SamplingParams::top_p`].
    pub top_p: Option<f32>,
    /// See [`SamplingParams::min_p`].
    pub min_p: Option<f32>,
    /// See [`SamplingParams::typical_p`].
    pub typical_p: Option<f32>,
    /// See [`SamplingParams::repeat_penalty`].
    pub repeat_penalty: Option<f32>,
    /// See [`SamplingParams::presence_penalty`].
    pub presence_penalty: Option<f32>,
    /// See [`SamplingParams::frequency_penalty`].
    pub frequency_penalty: Option<f32>,
}

impl SamplingPatch {
    /// Writes the fields that are present into `params`.
    pub fn apply(&self, params: &mut SamplingParams) {
        let set = |target: &mut f32, value: Option<f32>| *target = value.unwrap_or(*target);
        set(&mut params.temperature, self.temperature);
        set(&mut params.top_p, self.top_p);
        set(&mut params.min_p, self.min_p);
        set(&mut params.typical_p, self.typical_p);
        set(&mut params.repeat_penalty, self.repeat_penalty);
        set(&mut params.presence_penalty, self.presence_penalty);
        set(&mut params.frequency_penalty, self.frequency_penalty);
        params.top_k = self.top_k.unwrap_or(params.top_k);
    }
}

/// What a caller asks of a [`Session`](crate::Session).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// What the model reads.
    pub prompt: Prompt,
    /// Tokens of the answer at most; none, or more than fits, means what the context leaves.
    pub max_tokens: Option<u32>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// The answer ends before the first of these texts.
    pub stop: Vec<String>,
    /// Whether to go on after the model's end token.
    pub ignore_eos: bool,
    /// The adapters to apply; none in the list are applied.
    pub adapters: Vec<AdapterScale>,
    /// The shape that the answer must have.
    pub constraint: Option<Constraint>,
    /// Control tokens that have their text in the answer all the same: the marks of a notation
    /// that the reader of the answer takes apart.
    pub shown: Vec<Token>,
    /// Whether to report the probability of each token, and of how many others beside it.
    pub logprobs: Option<u32>,
    /// Tokens that prompt and answer may have together; none, or more than the engine's own limit,
    /// means that limit.
    pub context: Option<u32>,
    /// How long the whole answer may take; it then ends as it stands, with
    /// [`FinishReason::Length`].
    pub deadline: Option<Duration>,
    /// Whose computed prefixes may be shared: only requests of the same scope reuse each other's.
    pub cache_scope: u64,
}

/// A request that has passed every check and is ready for the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreparedRequest {
    /// The prompt's tokens, at least one.
    pub prompt: Vec<Token>,
    /// Tokens of the answer at most, at least one; prompt and answer fit the context.
    pub max_tokens: u32,
    /// Validated.
    pub sampling: SamplingParams,
    /// Without empty texts.
    pub stop: Vec<String>,
    /// See [`GenerateRequest::ignore_eos`].
    pub ignore_eos: bool,
    /// Sorted by adapter, without repetitions, without zero scales.
    pub adapters: Vec<AdapterScale>,
    /// The shape that the answer must have.
    pub constraint: Option<Constraint>,
    /// See [`GenerateRequest::shown`].
    pub shown: Vec<Token>,
    /// See [`GenerateRequest::logprobs`]; within [`MAX_LOGPROBS`].
    pub logprobs: Option<u32>,
    /// See [`GenerateRequest::deadline`].
    pub deadline: Option<Duration>,
    /// See [`GenerateRequest::cache_scope`].
    pub cache_scope: u64,
}

/// Most tokens that [`GenerateRequest::logprobs`] may ask for beside the chosen one.
pub const MAX_LOGPROBS: u32 = 20;

/// A token with its probability, before any penalty, constraint or temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logprob {
    /// The token.
    pub token: Token,
    /// Its bytes, which need not be whole characters; none for a control token.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

/// What the model thought of one token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprobs {
    /// The token that was chosen.
    pub chosen: Logprob,
    /// The likeliest tokens, likeliest first, as many as were asked for.
    pub top: Vec<Logprob>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model said so, or a stop text was met.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
    /// The caller asked for it.
    Cancelled,
}

impl FinishReason {
    /// The word every dialect but Anthropic's uses.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
        }
    }
}

/// Tokens counted, never estimated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Those of them that did not have to be computed.
    pub cached_tokens: u32,
    /// Tokens sampled, the end token included.
    pub completion_tokens: u32,
}

/// Where the time of a request went, measured by the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From submission to the first step that computed something for it.
    pub queue: Duration,
    /// From there to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

/// The last word of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// Why it ended.
    pub reason: FinishReason,
    /// The stop text that was met, if that is why.
    pub stop: Option<String>,
    /// Tokens.
    pub usage: Usage,
    /// Time.
    pub timings: Timings,
}

/// What a [`Generation`](crate::Generation) yields, in order: any number of texts, then exactly
/// one `Finished` or `Failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// More of the answer: whole characters, never empty.
    Text {
        /// The text.
        text: String,
        /// How many tokens it took since the last event.
        tokens: u32,
        /// Those tokens' probabilities, where they were asked for.
        logprobs: Vec<TokenLogprobs>,
    },
    /// The answer is complete.
    Finished(Finish),
    /// The answer will not be completed.
    Failed(GenerateError),
}
