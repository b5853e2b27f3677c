//! A model that is ready to answer, as one request sees it.
//!
//! It must not know where models come from, which backend computes them, or any dialect.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use shimmy_chat::{
    ChatPlan, ChatRequest, ChatTemplate, Message, TemplateError, Thinking, ToolChoice,
};
use shimmy_engine::{AdapterScale, Constraint, Prompt, SamplingParams, Session};

use crate::adapters::Adapters;
use crate::model_info::ModelInfo;

/// A model that is ready to answer, as one request sees it. Cheap to clone.
#[derive(Clone)]
pub struct LoadedModel {
    /// The name it answers under: its own, which `info` has too, or that of the adapter that the
    /// request named.
    pub name: String,
    /// Its tokenizer and its engine.
    pub session: Session,
    /// How its messages become a prompt.
    pub template: Arc<ChatTemplate>,
    /// What is known of it.
    pub info: ModelInfo,
    /// How tokens are chosen where a request does not say.
    pub default_sampling: SamplingParams,
    /// What else holds where a request does not say.
    pub preset: Arc<Preset>,
    /// Which adapters apply where the request does not say.
    pub default_adapters: Vec<AdapterScale>,
    /// The adapters loaded into its engine.
    pub adapters: Arc<Adapters>,
    /// How long it took to load.
    pub load_time: Duration,
    /// Which engine computes it, by its name.
    pub engine: &'static str,
    /// Where its layers are computed, in words.
    pub placement: String,
    /// Keeps it in memory for as long as this request needs it.
    pub hold: Hold,
}

/// Keeps a model in memory until the last clone is dropped: whoever lends a model out learns by its
/// own type's `Drop` that it is back. The default keeps nothing.
#[derive(Clone, Default)]
pub struct Hold(Option<Arc<dyn Any + Send + Sync>>);

impl Hold {
    /// A hold that drops `lease` with its last clone.
    pub fn new(lease: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(lease)))
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.0.is_some()).finish()
    }
}

impl LoadedModel {
    /// Whether the request named an adapter instead of the model.
    pub fn is_named_by_adapter(&self) -> bool {
        self.name != self.info.name
    }

    /// What an answer to a conversation takes, with what the model's maker has put before it.
    pub fn plan(&self, request: &ChatRequest<'_>) -> Result<ChatPlan, TemplateError> {
        let request = ChatRequest {
            messages: &self.preset.before(request.messages),
            ..*request
        };
        self.template.plan(&request, self.session.tokenizer())
    }

    /// The same for a text that is no conversation: one user message, after the system's if there
    /// is one, where the model has a chat template, and the text itself where it has none.
    pub fn plan_lone(
        &self,
        system: Option<&str>,
        text: &str,
        thinking: &Thinking,
        shape: Option<&Constraint>,
    ) -> Result<ChatPlan, TemplateError> {
        if !self.template.is_chat_model() {
            let system = self.preset.system_under(system);
            let system = system.map_or_else(String::new, |system| format!("{system}\n\n"));
            let prompt = Prompt::marked(format!("{system}{text}"));
            return Ok(ChatPlan::of_prompt(prompt, shape.cloned()));
        }
        let system = system.map(|system| Message::new("system", system));
        let messages = system.into_iter().chain([Message::new("user", text)]);
        self.plan(&ChatRequest {
            messages: &messages.collect::<Vec<_>>(),
            tools: &[],
            tool_choice: &ToolChoice::Auto,
            parallel_calls: true,
            thinking,
            shape,
            add_generation_prompt: true,
            kwargs: &Map::new(),
        })
    }
}

/// What a model's maker wants of requests that do not say it themselves: it lies under what is their
/// own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preset {
    /// What it is told before every conversation that brings no such words of its own.
    pub system: Option<String>,
    /// Messages that every conversation goes on from.
    pub messages: Vec<Message>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Tokens of an answer at most.
    pub max_tokens: Option<u32>,
}

impl Preset {
    /// The system text of a request with this one.
    pub fn system_under<'a>(&'a self, own: Option<&'a str>) -> Option<&'a str> {
        own.or(self.system.as_deref())
    }

    /// The stop texts of a request with these.
    pub fn stop_under(&self, own: Vec<String>) -> Vec<String> {
        match own.is_empty() {
            true => self.stop.clone(),
            false => own,
        }
    }

    /// The most tokens of an answer, for a request with this limit.
    pub fn max_tokens_under(&self, own: Option<u32>) -> Option<u32> {
        own.or(self.max_tokens)
    }

    /// A request's conversation with what belongs before it.
    fn before<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        let is_system = |message: &Message| matches!(&*message.role, "system" | "developer");
        let system = self.system.as_ref();
        let system = system.filter(|_| !messages.iter().any(is_system));
        if system.is_none() && self.messages.is_empty() {
            return Cow::Borrowed(messages);
        }
        let system = system.map(|system| Message::new("system", system));
        let before = system.into_iter().chain(self.messages.iter().cloned());
        before.chain(messages.iter().cloned()).collect()
    }
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedModel")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
