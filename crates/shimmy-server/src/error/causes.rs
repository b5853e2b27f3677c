//! What fails below this crate, as an error that its client may read: the engine, the templates, and
//! whoever loads models and keeps them.
//!
//! Causes that only the server's owner can do something about are logged here, in full.

use shimmy_chat::TemplateError;
use shimmy_engine::{EmbedError, GenerateError, InvalidParameter, SubmitError};

use super::{ApiError, ErrorKind};
use crate::adapters::AdapterFailure;
use crate::loader::LoadError;
use crate::public::without_folders;
use crate::store::StoreError;

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        let message = error.to_string();
        match error {
            LoadError::NotFound { suggestions, .. } => {
                // The text itself is part of the contract; the names go beside it.
                let mut error =
                    Self::new(ErrorKind::ModelNotFound, message).with("suggestions", suggestions);
                error.param = Some("model".to_owned());
                error
            }
            LoadError::Ambiguous { candidates, .. } => {
                let message = format!("{message}: it may be {}", candidates.join(", "));
                let mut error =
                    Self::new(ErrorKind::BadRequest, message).with("candidates", candidates);
                error.param = Some("model".to_owned());
                error
            }
            LoadError::NoModel { hint } => {
                Self::new(ErrorKind::ModelNotFound, format!("{message}: {hint}"))
            }
            LoadError::NoDefault { names } => {
                let message = format!("{message}: name one of {}", names.join(", "));
                let mut error = Self::new(ErrorKind::BadRequest, message).with("models", names);
                error.param = Some("model".to_owned());
                error
            }
            LoadError::Failed { name, reason } => {
                tracing::error!(model = ?name, ?reason, "a model cannot be loaded");
                let error = Self::new(ErrorKind::LoadFailed, without_folders(&message));
                match without_folders(&name) {
                    // A load that broke off has no name to give.
                    name if name.is_empty() => error,
                    name => error.with("model", name),
                }
            }
            LoadError::TooBig {
                name,
                needed_bytes,
                budget_bytes,
                ..
            } => Self::new(ErrorKind::LoadFailed, message)
                .with("model", name)
                .with("needed_bytes", needed_bytes)
                .with("budget_bytes", budget_bytes),
            LoadError::Busy { name } => Self::new(ErrorKind::Busy, message).with("model", name),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let kind = match error {
            StoreError::Invalid { field, reason } => return Self::field(field, reason),
            StoreError::Unsupported { .. } => ErrorKind::NotImplemented,
            StoreError::NotFound { .. } => ErrorKind::ModelNotFound,
            StoreError::NoBlob { .. } => ErrorKind::NotFound,
            StoreError::WrongContent { .. } | StoreError::CutShort { .. } => ErrorKind::BadRequest,
            StoreError::Failed { reason } => {
                tracing::error!(?reason, "the store failed");
                return Self::new(ErrorKind::Internal, without_folders(&reason));
            }
        };
        Self::new(kind, message)
    }
}

impl From<AdapterFailure> for ApiError {
    fn from(failure: AdapterFailure) -> Self {
        let message = failure.to_string();
        match failure {
            AdapterFailure::NotFound { .. } => Self::new(ErrorKind::ModelNotFound, message),
            AdapterFailure::Taken { .. } => {
                Self::field("lora_name", "is taken by another adapter or by a model")
            }
            AdapterFailure::Path { reason } => Self::field("lora_path", without_folders(&reason)),
            AdapterFailure::Foreign { .. } => {
                Self::new(ErrorKind::BadRequest, without_folders(&message))
            }
            AdapterFailure::Ambiguous { candidates, .. } => {
                let message = format!("{message}: name one of {}", candidates.join(", "));
                let mut error =
                    Self::new(ErrorKind::BadRequest, message).with("candidates", candidates);
                error.param = Some("model".to_owned());
                error
            }
            AdapterFailure::Failed { name, reason } => {
                tracing::error!(adapter = ?name, ?reason, "an adapter cannot be loaded");
                Self::new(ErrorKind::LoadFailed, without_folders(&message))
            }
            AdapterFailure::Model(error) => error.into(),
        }
    }
}

impl From<InvalidParameter> for ApiError {
    fn from(error: InvalidParameter) -> Self {
        Self::field(error.field, error.reason)
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let message = error.to_string();
        match error {
            SubmitError::QueueFull { limit } => {
                Self::new(ErrorKind::QueueFull, message).with("queue", limit)
            }
            SubmitError::PromptTooLong { got, limit } => {
                Self::new(ErrorKind::ContextLength, message)
                    .with("prompt_tokens", got)
                    .with("context_length", limit)
            }
            // What nobody has counted is no number for a field.
            SubmitError::PromptFarTooLong { limit, .. }
            | SubmitError::TextFarTooLong { limit, .. } => {
                Self::new(ErrorKind::ContextLength, message).with("context_length", limit)
            }
            SubmitError::TextTooLong { got, limit } => Self::new(ErrorKind::ContextLength, message)
                .with("prompt_tokens", got)
                .with("context_length", limit),
            SubmitError::CannotGenerate => {
                Self::field("model", "does not generate text; it only makes embeddings")
            }
            SubmitError::PromptEmpty => Self::field("prompt", "is empty"),
            SubmitError::Invalid(invalid) => invalid.into(),
            SubmitError::Tokenize(_) => Self::new(ErrorKind::BadRequest, message),
            SubmitError::ShuttingDown => Self::new(ErrorKind::Unavailable, message),
        }
    }
}

impl From<GenerateError> for ApiError {
    fn from(error: GenerateError) -> Self {
        let message = error.to_string();
        if matches!(error, GenerateError::Backend(_)) {
            tracing::error!(error = ?message, "the backend failed");
        }
        let kind = match error {
            GenerateError::Backend(_) | GenerateError::Constraint(_) => ErrorKind::GenerationFailed,
            GenerateError::CacheExhausted { .. } => ErrorKind::ContextLength,
            GenerateError::QueueTimeout { .. } | GenerateError::OutOfTime { .. } => ErrorKind::Busy,
            GenerateError::EngineStopped => ErrorKind::Unavailable,
        };
        Self::new(kind, without_folders(&message))
    }
}

impl From<EmbedError> for ApiError {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Submit(error) => error.into(),
            EmbedError::Generate(error) => error.into(),
            EmbedError::Unsupported(_) => Self::new(ErrorKind::BadRequest, error.to_string()),
        }
    }
}

impl From<TemplateError> for ApiError {
    fn from(error: TemplateError) -> Self {
        let mut api = Self::new(ErrorKind::BadRequest, error.to_string());
        if matches!(error, TemplateError::ReservedKwarg(_)) {
            api.param = Some("chat_template_kwargs".to_owned());
        }
        api
    }
}
