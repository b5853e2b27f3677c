//! A request, whatever its dialect, and the prompts that it means.

use serde_json::{Map, Value};
use shimmy_chat::{ChatPlan, ChatRequest, Message, TemplateError, Thinking, Tool, ToolChoice};
use shimmy_engine::{Constraint, Prompt, PromptPart};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::fields::Params;
use crate::gap::Gap;
use crate::loader::KeepAlive;
use crate::model::LoadedModel;

/// What the model answers to.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A prompt as it is, special tokens and all.
    Raw(Prompt),
    /// Several of these; each gets as many answers as a single one would, its own before the
    /// next one's.
    Several(Vec<Prompt>),
    /// A text with a gap to fill.
    Gap(Gap),
    /// One user message where the model has a chat template, the text itself where it has none.
    Prompt {
        system: Option<String>,
        text: String,
        thinking: Thinking,
    },
    /// A conversation.
    Chat(Chat),
}

/// A conversation, and what is asked of its next message.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_choice: ToolChoice,
    pub(crate) parallel_calls: bool,
    pub(crate) thinking: Thinking,
    /// The words that the answer has already begun with; it goes on after them.
    pub(crate) opening: Option<String>,
    /// Whether the prompt ends with the beginning of an answer.
    pub(crate) add_generation_prompt: bool,
    /// Further variables for the model's template.
    pub(crate) kwargs: Map<String, Value>,
}

/// What rules out that an answer goes on from words that it has already begun with: each has a say
/// in how it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// The answer is held to a shape.
    Shape,
    /// A call is required.
    Choice,
    /// Thoughts come first.
    Thinking,
}

impl Chat {
    /// Lets the answer go on from `opening`.
    pub(crate) fn go_on_from(&mut self, opening: String, has_shape: bool) -> Result<(), Hindrance> {
        if has_shape {
            return Err(Hindrance::Shape);
        }
        if self.tool_choice.is_a_must() {
            return Err(Hindrance::Choice);
        }
        if self.thinking.enabled == Some(true) {
            return Err(Hindrance::Thinking);
        }
        self.thinking.enabled = Some(false);
        self.opening = Some(opening);
        Ok(())
    }

    /// A conversation that asks for nothing but an answer.
    pub(crate) fn of(messages: Vec<Message>) -> Self {
        Self {
            messages,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_calls: true,
            thinking: Thinking::default(),
            opening: None,
            add_generation_prompt: true,
            kwargs: Map::new(),
        }
    }

    /// What an answer to this takes; `shape` is what the request wants its text to be.
    pub(crate) fn plan(
        &self,
        model: &LoadedModel,
        shape: Option<&Constraint>,
    ) -> Result<ChatPlan, TemplateError> {
        let request = ChatRequest {
            messages: &self.messages,
            tools: &self.tools,
            tool_choice: &self.tool_choice,
            parallel_calls: self.parallel_calls,
            thinking: &self.thinking,
            shape,
            add_generation_prompt: self.add_generation_prompt,
            kwargs: &self.kwargs,
        };
        let mut plan = model.plan(&request)?;
        let opening = self.opening.clone().map(PromptPart::Literal);
        plan.prompt.parts.extend(opening);
        Ok(plan)
    }
}

/// A request, whatever its dialect.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) model: Option<String>,
    pub(crate) input: Input,
    pub(crate) params: Params,
    /// How many answers, at least one.
    pub(crate) choices: usize,
    /// Size of the request's body, tools, schemas and all: how long preparing it may take.
    pub(crate) bytes: usize,
    /// Who asks.
    pub(crate) caller: Caller,
    /// How long the model stays in memory afterwards.
    pub(crate) keep_alive: KeepAlive,
}

impl Input {
    /// What the answers to this take, prompt by prompt; `shape` is what the request wants their
    /// text to be.
    pub(crate) fn plan(
        self,
        model: &LoadedModel,
        shape: Option<Constraint>,
    ) -> Result<Vec<ChatPlan>, ApiError> {
        let prompts = match self {
            Input::Raw(prompt) => vec![prompt],
            Input::Several(prompts) => prompts,
            Input::Gap(gap) => vec![gap.prompt(model)?],
            Input::Prompt {
                system,
                text,
                thinking,
            } => {
                let system = system.as_deref();
                return Ok(vec![model.plan_lone(
                    system,
                    &text,
                    &thinking,
                    shape.as_ref(),
                )?]);
            }
            Input::Chat(chat) => return Ok(vec![chat.plan(model, shape.as_ref())?]),
        };
        let plan = |prompt| ChatPlan::of_prompt(prompt, shape.clone());
        Ok(prompts.into_iter().map(plan).collect())
    }
}
