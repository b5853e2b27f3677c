//! The object that a response is: what was asked, repeated, and what came of it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use shimmy_engine::{FinishReason, SamplingParams};
use utoipa::ToSchema;

use super::item::{Item, Status};
use crate::answer::Ending;
use crate::error::{ApiError, ErrorKind};
use crate::fields::SamplingFields;
use crate::openai::habits::Metadata;
use crate::report;

/// A response, at any time of its life.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Response)]
pub(super) struct Response {
    pub(super) id: String,
    object: &'static str,
    created_at: i64,
    pub(super) status: Status,
    completed_at: Option<i64>,
    model: String,
    error: Option<Failure>,
    incomplete_details: Option<Incomplete>,
    pub(super) output: Vec<Item>,
    usage: Option<UsageBody>,
    #[serde(flatten)]
    echo: Echo,
}

/// What a request asked for, with what applies where it said nothing.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ResponseEcho)]
pub(super) struct Echo {
    pub(super) background: bool,
    #[schema(schema_with = crate::openapi::null)]
    pub(super) conversation: Option<()>,
    pub(super) instructions: Option<String>,
    pub(super) max_output_tokens: Option<i64>,
    pub(super) max_tool_calls: Option<i64>,
    pub(super) metadata: Metadata,
    pub(super) parallel_tool_calls: bool,
    pub(super) previous_response_id: Option<String>,
    #[schema(schema_with = crate::openapi::null)]
    pub(super) prompt: Option<()>,
    pub(super) prompt_cache_key: Option<String>,
    pub(super) reasoning: EchoReasoning,
    pub(super) safety_identifier: Option<String>,
    pub(super) service_tier: &'static str,
    pub(super) store: bool,
    #[serde(flatten)]
    pub(super) sampling: EchoSampling,
    pub(super) text: EchoText,
    pub(super) tool_choice: Value,
    pub(super) tools: Vec<Value>,
    pub(super) top_logprobs: u32,
    pub(super) truncation: &'static str,
    pub(super) user: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = ResponseReasoning)]
pub(super) struct EchoReasoning {
    pub(super) effort: Option<String>,
    pub(super) summary: Option<String>,
}

/// `None` where only the model knows, until it is found.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[schema(as = ResponseSampling)]
pub(super) struct EchoSampling {
    temperature: Option<f32>,
    top_p: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ResponseText)]
pub(super) struct EchoText {
    pub(super) format: Value,
    pub(super) verbosity: Option<String>,
}

impl EchoSampling {
    /// What the request says.
    pub(super) fn of(fields: &SamplingFields) -> Self {
        Self {
            temperature: fields.temperature,
            top_p: fields.top_p,
            presence_penalty: fields.presence_penalty,
            frequency_penalty: fields.frequency_penalty,
        }
    }

    fn over(&mut self, default: &SamplingParams) {
        self.temperature.get_or_insert(default.temperature);
        self.top_p.get_or_insert(default.top_p);
        self.presence_penalty
            .get_or_insert(default.presence_penalty);
        self.frequency_penalty
            .get_or_insert(default.frequency_penalty);
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ResponseFailure)]
struct Failure {
    code: &'static str,
    message: String,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = ResponseIncomplete)]
struct Incomplete {
    reason: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = ResponseUsage)]
struct UsageBody {
    input_tokens: u32,
    input_tokens_details: InputDetails,
    output_tokens: u32,
    output_tokens_details: OutputDetails,
    total_tokens: u32,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = ResponseInputDetails)]
struct InputDetails {
    cached_tokens: u32,
    cache_write_tokens: u32,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = ResponseOutputDetails)]
struct OutputDetails {
    reasoning_tokens: u32,
}

impl Response {
    /// A response to which nothing has been computed.
    pub(super) fn begun(model: &str, defaults: &SamplingParams, mut echo: Echo) -> Self {
        echo.sampling.over(defaults);
        Self {
            id: report::unique_id("resp_"),
            object: "response",
            created_at: Timestamp::now().as_second(),
            status: Status::InProgress,
            completed_at: None,
            model: model.to_owned(),
            error: None,
            incomplete_details: None,
            output: Vec::new(),
            usage: None,
            echo,
        }
    }

    /// Notes how the answer ended.
    pub(super) fn end(&mut self, ending: &Ending) {
        let usage = ending.finish.usage;
        self.usage = Some(UsageBody {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached_tokens,
                cache_write_tokens: 0,
            },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputDetails {
                reasoning_tokens: ending.reasoning_tokens,
            },
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
        });
        self.status = Status::Completed;
        if ending.finish.reason == FinishReason::Length {
            self.status = Status::Incomplete;
            self.incomplete_details = Some(Incomplete {
                reason: "max_output_tokens",
            });
            return;
        }
        self.completed_at = Some(Timestamp::now().as_second());
    }

    /// Notes that a warm-up is over, which was not meant to come to anything more.
    pub(super) fn end_warm_up(&mut self, ending: &Ending) {
        self.end(ending);
        self.status = Status::Completed;
        self.incomplete_details = None;
        self.completed_at = Some(Timestamp::now().as_second());
    }

    /// Notes why there will be no answer.
    pub(super) fn fail(&mut self, error: &ApiError) {
        self.status = Status::Failed;
        self.error = Some(Failure {
            code: code(error.kind),
            message: error.message.clone(),
        });
    }
}

/// The vendor's words for a response that failed, and the one that agents look for.
fn code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ContextLength => "context_length_exceeded",
        ErrorKind::QueueFull => "rate_limit_exceeded",
        ErrorKind::BadRequest => "invalid_prompt",
        _ => "server_error",
    }
}
