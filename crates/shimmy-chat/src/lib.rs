//! Chat messages to prompts, through the model's own template.
//!
//! This crate owns the step between a conversation and the text that a model reads: it renders
//! Jinja chat templates as Hugging Face does, makes every order of roles fit the template at hand
//! and keeps a user's text from spelling special tokens. It also owns the way back: it takes the
//! text that a model writes apart into content, thoughts and calls of tools, as the model's family
//! writes them. It is pure: it must not know HTTP, wire JSON, any backend or the engine's loop.

mod answer;
mod error;
mod grammar;
mod message;
mod notation;
mod plan;
mod request;
mod taught;
mod template;
mod thinking;

pub use answer::{AnswerFormat, AnswerParser, Delta};
pub use error::TemplateError;
pub use message::Message;
pub use plan::{ChatPlan, HeldSchema};
pub use request::{ChatRequest, Thinking, Tool, ToolChoice};
pub use template::{
    ChatTemplate, Clock, Family, GoTemplateError, Origin, RenderRequest, TemplateVocabulary,
    jinja_of_go,
};
pub use thinking::Unheard;
