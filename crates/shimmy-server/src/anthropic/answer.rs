//! The message that answers, its blocks and its counts.

use serde::Serialize;
use serde_json::{Map, Value, json};
use shimmy_chat::Delta;
use shimmy_engine::{FinishReason, Usage};
use utoipa::ToSchema;

use super::request::Style;
use crate::answer::Ending;
use crate::lead::Lead;
use crate::report;
use crate::thoughts::seal;

/// An answer, whole or about to begin.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnthropicAnswer)]
pub(super) struct Answer<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block>,
    #[serde(flatten)]
    stop: Stop,
    #[schema(schema_with = crate::openapi::null)]
    container: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_management: Option<Edits>,
    usage: UsageBody,
}

/// Why an answer ended; all null while it has not.
#[derive(Debug, Default, Clone, Serialize, ToSchema)]
#[schema(as = AnthropicStop)]
pub(super) struct Stop {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<String>,
    #[schema(schema_with = crate::openapi::null)]
    stop_details: Option<()>,
}

/// What was done to the context on the client's behalf: nothing, ever.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = AnthropicEdits)]
pub(super) struct Edits {
    #[schema(schema_with = crate::openapi::empty)]
    applied_edits: [(); 0],
}

impl Edits {
    /// For those who asked.
    pub(super) fn of(style: Style) -> Option<Self> {
        style.tells_edits.then_some(Self { applied_edits: [] })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = AnthropicBlock)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    Text {
        text: String,
        #[schema(schema_with = crate::openapi::null)]
        citations: Option<()>,
    },
    Thinking {
        thinking: String,
        signature: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
}

impl Block {
    /// A text, so far.
    pub(super) fn text(text: String) -> Self {
        Block::Text {
            text,
            citations: None,
        }
    }

    /// The beginning of a call; it has an id of its own.
    pub(super) fn call(name: &str) -> Self {
        Block::ToolUse {
            id: report::unique_id("toolu_"),
            name: name.to_owned(),
            input: Value::Object(Map::new()),
        }
    }
}

/// The signature of thoughts, which the vendor's clients will not return without one. Thoughts
/// that are not shown travel in it.
pub(super) fn signature(thoughts: &str, style: Style) -> String {
    seal(if style.omits_thoughts { thoughts } else { "" })
}

impl<'a> Answer<'a> {
    /// An answer to which nothing has been computed.
    pub(super) fn begun(id: &'a str, model: &'a str, prompt_tokens: usize, style: Style) -> Self {
        let usage = UsageBody {
            input_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
            ..UsageBody::new(Usage::default(), 0)
        };
        Self {
            id,
            kind: "message",
            role: "assistant",
            model,
            content: Vec::new(),
            stop: Stop::default(),
            container: None,
            context_management: Edits::of(style),
            usage,
        }
    }

    /// The same with all that came of it.
    pub(super) fn complete(self, content: Vec<Block>, ending: &Ending) -> Self {
        Self {
            content,
            stop: Stop::of(ending),
            usage: UsageBody::new(ending.finish.usage, ending.reasoning_tokens),
            ..self
        }
    }
}

impl Stop {
    /// Why an answer ended.
    pub(super) fn of(ending: &Ending) -> Self {
        let finish = &ending.finish;
        let reason = match finish.reason {
            FinishReason::Length => "max_tokens",
            _ if finish.stop.is_some() => "stop_sequence",
            _ if ending.calls > 0 => "tool_use",
            FinishReason::Stop | FinishReason::Cancelled => "end_turn",
        };
        Self {
            stop_reason: Some(reason),
            stop_sequence: finish.stop.clone(),
            stop_details: None,
        }
    }
}

/// Tokens in this dialect's words: those of the prompt that were not computed again are counted
/// by themselves.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = AnthropicUsage)]
pub(super) struct UsageBody {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    cache_creation: CacheCreation,
    output_tokens: u32,
    output_tokens_details: OutputDetails,
    #[schema(schema_with = crate::openapi::null)]
    server_tool_use: Option<()>,
    service_tier: &'static str,
    #[schema(schema_with = crate::openapi::null)]
    inference_geo: Option<()>,
    #[schema(schema_with = crate::openapi::null)]
    speed: Option<()>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[schema(as = AnthropicCacheCreation)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u32,
    ephemeral_1h_input_tokens: u32,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = AnthropicOutputDetails)]
struct OutputDetails {
    thinking_tokens: u32,
}

/// What a stream says of the counts at its end.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = AnthropicLastUsage)]
pub(super) struct LastUsage {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
    output_tokens_details: OutputDetails,
    #[schema(schema_with = crate::openapi::null)]
    server_tool_use: Option<()>,
}

impl UsageBody {
    /// The counts of an answer.
    pub(super) fn new(usage: Usage, thinking_tokens: u32) -> Self {
        Self {
            input_tokens: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: usage.cached_tokens,
            cache_creation: CacheCreation::default(),
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputDetails { thinking_tokens },
            server_tool_use: None,
            service_tier: "standard",
            inference_geo: None,
            speed: None,
        }
    }

    /// The part of them that ends a stream.
    pub(super) fn last(self) -> LastUsage {
        LastUsage {
            input_tokens: self.input_tokens,
            cache_creation_input_tokens: self.cache_creation_input_tokens,
            cache_read_input_tokens: self.cache_read_input_tokens,
            output_tokens: self.output_tokens,
            output_tokens_details: self.output_tokens_details,
            server_tool_use: None,
        }
    }
}

/// An answer's blocks while they are collected.
#[derive(Debug, Default)]
pub(super) struct Draft {
    style: Style,
    blocks: Vec<Block>,
    lead: Lead,
    /// The arguments of the last call.
    arguments: String,
}

impl Draft {
    /// No block yet.
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            ..Self::default()
        }
    }

    /// More of the answer.
    pub(super) fn push(&mut self, delta: Delta) {
        match (delta, self.blocks.last_mut()) {
            (Delta::Content(more), Some(Block::Text { text, .. })) => text.push_str(&more),
            (Delta::Content(more), _) => {
                if let Some(text) = self.lead.admit(&more) {
                    self.begin(Block::text(text));
                }
            }
            (Delta::Reasoning(more), Some(Block::Thinking { thinking, .. })) => {
                thinking.push_str(&more);
            }
            (Delta::Reasoning(thinking), _) => self.begin(Block::Thinking {
                thinking,
                signature: String::new(),
            }),
            (Delta::ToolCall { name, .. }, _) => self.begin(Block::call(&name)),
            (Delta::ToolArguments { json, .. }, _) => self.arguments.push_str(&json),
        }
    }

    /// The blocks; nothing follows.
    pub(super) fn finish(mut self) -> Vec<Block> {
        self.end();
        let lead = self.lead.take();
        if self.blocks.is_empty() && !lead.is_empty() {
            self.blocks.push(Block::text(lead));
        }
        self.blocks
    }

    fn begin(&mut self, block: Block) {
        self.end();
        self.lead.take();
        self.blocks.push(block);
    }

    /// Ends the last block.
    fn end(&mut self) {
        let style = self.style;
        match self.blocks.last_mut() {
            Some(Block::ToolUse { input, .. }) => {
                // Arguments that were cut by the limit, which the stop reason says, are no JSON.
                let arguments = std::mem::take(&mut self.arguments);
                *input = serde_json::from_str(&arguments).unwrap_or_else(|_| json!({}));
            }
            Some(Block::Thinking {
                thinking,
                signature: signed,
            }) => {
                *signed = signature(thinking, style);
                if style.omits_thoughts {
                    thinking.clear();
                }
            }
            _ => {}
        }
    }
}
