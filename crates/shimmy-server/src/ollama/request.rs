//! What `/api/chat` and `/api/generate` have in common: everything but what is asked.

use serde::Deserialize;
use serde_json::Value;
use shimmy_chat::Thinking;
use shimmy_engine::MAX_LOGPROBS;
use utoipa::ToSchema;

use super::options::Options;
use crate::answer::{Ask, Input};
use crate::error::ApiError;
use crate::fields::{Params, bounded, constraint};
use crate::ignored::Ignored;
use crate::keep_alive::keep_alive;
use crate::limits::JsonBody;
use crate::loader::KeepAlive;

/// What both take beside `options`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaCommonFields)]
pub(super) struct CommonFields {
    model: Option<String>,
    /// Whether the answer comes in lines; it does unless told not to.
    stream: Option<bool>,
    /// `"json"`, or a JSON schema that the answer must fit.
    format: Option<Value>,
    /// Seconds, or a duration such as `5m`; negative is for ever.
    keep_alive: Option<Value>,
    think: Option<Think>,
    /// Whether the answer tells how likely its tokens were.
    logprobs: Option<bool>,
    /// So many of the likeliest beside each.
    #[schema(minimum = 0, maximum = 20)]
    top_logprobs: Option<i64>,
}

/// Whether the model is to think, or how much.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(as = OllamaThink)]
#[serde(
    untagged,
    expecting = "expected true, false, \"low\", \"medium\", \"high\" or \"max\""
)]
pub(super) enum Think {
    Switch(bool),
    Level(Level),
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[schema(as = OllamaThinkLevel)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Low,
    Medium,
    High,
    Max,
}

/// These fields and the options, read.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) model: Option<String>,
    pub(super) stream: bool,
    pub(super) keep_alive: KeepAlive,
    pub(super) thinking: Thinking,
    pub(super) params: Params,
    /// The fields that were sent and left out.
    pub(super) ignored: Ignored,
}

impl Common {
    /// Reads them from a body.
    pub(super) fn read(body: &JsonBody) -> Result<Self, ApiError> {
        let fields: CommonFields = body.read()?;
        let options = Options::read(body)?;
        let logprobs = logprobs(&fields)?;
        Ok(Self {
            keep_alive: keep_alive(fields.keep_alive.as_ref())?,
            params: Params {
                sampling: options.sampling,
                max_tokens: options.max_tokens,
                context: options.context,
                stop: options.stop,
                constraint: constraint(fields.format.as_ref(), None)?,
                logprobs,
                ..Params::default()
            },
            thinking: thinking(fields.think),
            model: fields.model,
            stream: fields.stream != Some(false),
            ignored: options.ignored,
        })
    }

    /// The request for an answer to `input`, of a body that these were read from.
    pub(super) fn ask(self, input: Input, body: &JsonBody) -> Ask {
        Ask {
            model: self.model,
            input,
            params: self.params,
            choices: 1,
            bytes: body.len(),
            caller: body.caller(),
            keep_alive: self.keep_alive,
        }
    }
}

/// How many likely tokens to report beside each chosen one; none reports nothing.
fn logprobs(fields: &CommonFields) -> Result<Option<u32>, ApiError> {
    let top = bounded("top_logprobs", fields.top_logprobs, 0..=MAX_LOGPROBS)?;
    Ok((fields.logprobs == Some(true)).then(|| top.unwrap_or(0)))
}

fn thinking(think: Option<Think>) -> Thinking {
    let (enabled, effort) = match think {
        None => (None, None),
        Some(Think::Switch(on)) => (Some(on), None),
        Some(Think::Level(level)) => (Some(true), Some(level.as_str().to_owned())),
    };
    Thinking { enabled, effort }
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
            Level::Max => "max",
        }
    }
}
