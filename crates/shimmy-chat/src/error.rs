//! What can go wrong with a chat template, in words fit for the user who sent the request.
//!
//! This file must not know statuses or wire formats; it only promises that no text here shows
//! anything but the template, the request and the limits.

/// Why a conversation did not become a prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template is not valid Jinja; the model's file is at fault.
    #[error("the chat template has a syntax error on line {line}: {reason}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// The parser's words.
        reason: String,
    },
    /// The template refused the conversation, in its own order and in every folded one.
    #[error("the chat template refused the conversation: {reason}")]
    Render {
        /// What the template said about the messages as they came.
        reason: String,
    },
    /// The rendered text passed the limit.
    #[error("the chat template wrote more than {limit} bytes")]
    TooLong {
        /// The limit, in bytes; it grows with the request.
        limit: usize,
    },
    /// The template did more work than any conversation of this size needs.
    #[error("the chat template took too many steps for a conversation of this size")]
    OutOfFuel,
    /// A template argument of the request has a name that the template gets from us.
    #[error("`{0}` cannot be set through chat_template_kwargs: the server sets it itself")]
    ReservedKwarg(String),
}

impl TemplateError {
    /// Whether another order of the same messages may still succeed.
    ///
    /// Running into a limit is final: trying again would multiply the time that the limit allows.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Render { .. })
    }
}
