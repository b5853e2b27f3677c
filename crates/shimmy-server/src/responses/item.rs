//! The items that answers are made of, as they go out.

use serde::Serialize;
use utoipa::ToSchema;

use super::tools::Named;
use crate::openai::logprobs::finite;
use crate::report;

/// How far an item, or a whole answer, has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ResponseStatus)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ResponseItem)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Message {
        id: String,
        status: Status,
        role: &'static str,
        content: Vec<Part>,
    },
    Reasoning {
        id: String,
        status: Status,
        summary: Vec<Part>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Part>,
        encrypted_content: Option<String>,
    },
    FunctionCall {
        id: String,
        status: Status,
        call_id: String,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        arguments: String,
    },
    CustomToolCall {
        id: String,
        status: Status,
        call_id: String,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        input: String,
    },
}

/// A part of an item, by what its text is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ResponsePart)]
#[serde(tag = "type")]
pub(super) enum Part {
    #[serde(rename = "output_text")]
    Output {
        text: String,
        #[schema(schema_with = crate::openapi::empty)]
        annotations: [(); 0],
        logprobs: Vec<WireLogprobs>,
    },
    #[serde(rename = "reasoning_text")]
    Reasoning { text: String },
    #[serde(rename = "summary_text")]
    Summary { text: String },
}

/// A token with its probability.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ResponseLogprob)]
pub(super) struct WireLogprobs {
    #[serde(flatten)]
    pub(super) chosen: WireLogprob,
    pub(super) top_logprobs: Vec<WireLogprob>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ResponseTokenProbability)]
pub(super) struct WireLogprob {
    pub(super) token: String,
    pub(super) logprob: f32,
    pub(super) bytes: Vec<u8>,
}

impl From<&shimmy_engine::Logprob> for WireLogprob {
    fn from(from: &shimmy_engine::Logprob) -> Self {
        Self {
            token: String::from_utf8_lossy(&from.bytes).into_owned(),
            logprob: finite(from),
            bytes: from.bytes.clone(),
        }
    }
}

impl From<&shimmy_engine::TokenLogprobs> for WireLogprobs {
    fn from(from: &shimmy_engine::TokenLogprobs) -> Self {
        Self {
            chosen: (&from.chosen).into(),
            top_logprobs: from.top.iter().map(WireLogprob::from).collect(),
        }
    }
}

impl Part {
    /// A text that is said.
    pub(super) fn output(text: String, logprobs: Vec<WireLogprobs>) -> Self {
        Part::Output {
            text,
            annotations: [],
            logprobs,
        }
    }
}

impl Item {
    /// A message that begins.
    pub(super) fn message() -> Self {
        Item::Message {
            id: report::unique_id("msg_"),
            status: Status::InProgress,
            role: "assistant",
            content: Vec::new(),
        }
    }

    /// Thoughts that begin.
    pub(super) fn reasoning() -> Self {
        Item::Reasoning {
            id: report::unique_id("rs_"),
            status: Status::InProgress,
            summary: Vec::new(),
            content: Vec::new(),
            encrypted_content: None,
        }
    }

    /// A call that begins.
    pub(super) fn call(named: &Named) -> Self {
        let (name, namespace) = (named.name.clone(), named.namespace.clone());
        let call_id = report::unique_id("call_");
        let status = Status::InProgress;
        if named.custom {
            return Item::CustomToolCall {
                id: report::unique_id("ctc_"),
                status,
                call_id,
                name,
                namespace,
                input: String::new(),
            };
        }
        Item::FunctionCall {
            id: report::unique_id("fc_"),
            status,
            call_id,
            name,
            namespace,
            arguments: String::new(),
        }
    }

    /// What events and later requests call it.
    pub(super) fn id(&self) -> &str {
        match self {
            Item::Message { id, .. }
            | Item::Reasoning { id, .. }
            | Item::FunctionCall { id, .. }
            | Item::CustomToolCall { id, .. } => id,
        }
    }
}
