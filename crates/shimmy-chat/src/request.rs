//! What a conversation asks of a model, beyond its messages: tools, thinking, a shape.
//!
//! The dialects of the server translate into these types; they must not know theirs.

use serde_json::{Map, Value, json};
use shimmy_engine::Constraint;

use crate::message::Message;

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// What calls name.
    pub name: String,
    /// What it is for, in words for the model.
    pub description: Option<String>,
    /// The JSON schema of its arguments: an object.
    pub parameters: Value,
    /// Whether every call must fit the schema.
    pub strict: bool,
}

impl Tool {
    /// The definition in OpenAI's shape, which templates read.
    pub fn definition(&self) -> Value {
        let mut function = Map::new();
        function.insert("name".to_owned(), json!(self.name));
        if let Some(description) = &self.description {
            function.insert("description".to_owned(), json!(description));
        }
        function.insert("parameters".to_owned(), self.parameters.clone());
        json!({ "type": "function", "function": function })
    }
}

/// Whether and which tools are to be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None: the model is not told of them.
    None,
    /// At least one, whichever.
    Required,
    /// This one.
    Named(String),
}

impl ToolChoice {
    /// Whether the answer has to be a call.
    pub fn is_a_must(&self) -> bool {
        matches!(self, Self::Required | Self::Named(_))
    }
}

/// How much a model is to think before it answers, where it can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thinking {
    /// On or off; the model's own habit where nothing is said.
    pub enabled: Option<bool>,
    /// `minimal`, `low`, `medium`, `high` or whatever else the model's template knows.
    pub effort: Option<String>,
}

impl Thinking {
    /// Whether thoughts are asked for.
    pub(crate) fn is_wanted(&self) -> bool {
        self.enabled.unwrap_or(self.effort.is_some())
    }
}

/// A conversation and what is asked of its next message.
#[derive(Debug, Clone)]
pub struct ChatRequest<'a> {
    /// Oldest first.
    pub messages: &'a [Message],
    /// What the model may call.
    pub tools: &'a [Tool],
    /// Whether it has to.
    pub tool_choice: &'a ToolChoice,
    /// Whether it may call several at once.
    pub parallel_calls: bool,
    /// How much it is to think.
    pub thinking: &'a Thinking,
    /// The shape that its text must have.
    pub shape: Option<&'a Constraint>,
    /// Whether the prompt ends with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Further variables for the template, such as `enable_thinking`.
    pub kwargs: &'a Map<String, Value>,
}
