//! Chat messages to prompts, through the model's own template.
//!
//! This crate owns the step between a conversation and the text that a model reads: it renders
//! Jinja chat templates as Hugging Face does, makes every order of roles fit the template at hand
//! and keeps a user's text from spelling special tokens. It is pure: it must not know HTTP, wire
//! JSON, any backend or the engine's loop.

mod answer;
mod error;
mod message;
mod plan;
mod request;
mod template;

pub use answer::{AnswerFormat, AnswerParser, Delta};
pub use error::TemplateError;
pub use message::Message;
pub use plan::ChatPlan;
pub use request::{ChatRequest, Thinking, Tool, ToolChoice};
pub use template::{ChatTemplate, Clock, Family, Origin, RenderRequest, TemplateVocabulary};
