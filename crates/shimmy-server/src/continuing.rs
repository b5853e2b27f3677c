//! Where a prompt ends: as other servers' clients say it.
//!
//! Usually with the beginning of an answer; on request after the last message, or within it.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::{Chat, Hindrance};
use crate::error::ApiError;

const FIELD: &str = "continue_final_message";

/// Read beside the other fields of a conversation.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct Continuing {
    /// Whether the prompt ends with the beginning of the answer; it does unless told not to.
    add_generation_prompt: Option<bool>,
    /// Whether the answer goes on from the assistant's message at the end of `messages`.
    continue_final_message: Option<bool>,
}

impl Continuing {
    /// Lets the prompt of `chat` end so; `format` is the field that asks for a shape, if one does.
    pub(crate) fn apply(self, chat: &mut Chat, format: Option<&str>) -> Result<(), ApiError> {
        let refused = |reason: String| Err(ApiError::field(FIELD, reason));
        if self.continue_final_message != Some(true) {
            chat.add_generation_prompt = self.add_generation_prompt.unwrap_or(true);
            return Ok(());
        }
        if self.add_generation_prompt == Some(true) {
            return refused("cannot be combined with `add_generation_prompt`".to_owned());
        }
        let last = chat.messages.pop();
        let Some(last) = last.filter(|last| last.role == "assistant" && last.tool_calls.is_none())
        else {
            return refused("needs an assistant's text at the end of `messages`".to_owned());
        };
        let outcome = chat.go_on_from(last.content, format.is_some());
        outcome.or_else(|hindrance| {
            let by = match hindrance {
                Hindrance::Shape => format.unwrap_or_default(),
                Hindrance::Choice => "tool_choice",
                Hindrance::Thinking => "chat_template_kwargs.enable_thinking",
            };
            refused(format!("cannot be combined with `{by}`"))
        })
    }
}
