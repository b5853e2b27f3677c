//! From a request to everything that its answer takes: the prompt, the constraint, the reader.

use serde_json::Value;
use shimmy_engine::{Constraint, Prompt};

use crate::answer::AnswerFormat;
use crate::error::TemplateError;
use crate::request::{ChatRequest, Tool, ToolChoice};
use crate::template::{ChatTemplate, RenderRequest};

/// What an answer takes.
#[derive(Debug, Clone)]
pub struct ChatPlan {
    /// What the model reads.
    pub prompt: Prompt,
    /// What it may write.
    pub constraint: Option<Constraint>,
    /// How its text becomes a message.
    pub format: AnswerFormat,
}

impl ChatTemplate {
    /// Plans an answer.
    pub fn plan(&self, request: &ChatRequest<'_>) -> Result<ChatPlan, TemplateError> {
        let tools: Vec<Value> = match request.tool_choice {
            ToolChoice::None => Vec::new(),
            _ => request.tools.iter().map(Tool::definition).collect(),
        };
        let tools = (!tools.is_empty()).then_some(Value::Array(tools));
        let prompt = self.render(&RenderRequest {
            messages: request.messages,
            add_generation_prompt: true,
            tools: tools.as_ref(),
            kwargs: request.kwargs,
        })?;
        Ok(ChatPlan {
            prompt,
            constraint: request.shape.cloned(),
            format: AnswerFormat::plain(),
        })
    }
}
