//! `POST /api/generate` as Ollama's clients know it.

use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use shimmy_engine::Prompt;
use utoipa::ToSchema;

pub(crate) use super::answer::GenerateLine;
use super::answer::{Shape, answered, load_or_unload};
use super::messages::refuse_images;
use super::options::AllOptions;
use super::request::{Common, CommonFields};
use crate::answer::Input;
use crate::error::ApiError;
use crate::gap::Gap;
use crate::limits::JsonBody;
use crate::state::AppState;

/// What a client sends.
#[derive(Debug, ToSchema)]
#[schema(as = OllamaGenerateRequest)]
#[expect(dead_code, reason = "only described; the parts are read one by one")]
pub(crate) struct GenerateRequest {
    #[serde(flatten)]
    common: CommonFields,
    #[serde(flatten)]
    fields: GenerateFields,
    #[serde(flatten)]
    options: GenerateOptions,
}

#[derive(Debug, ToSchema)]
#[schema(as = OllamaGenerateOptions)]
#[expect(dead_code, reason = "only described")]
struct GenerateOptions {
    options: Option<AllOptions>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OllamaGenerateFields)]
struct GenerateFields {
    /// Without one, the model is only loaded, or with a `keep_alive` of zero unloaded.
    prompt: Option<String>,
    /// What follows the gap that the answer fills.
    suffix: Option<String>,
    system: Option<String>,
    /// Whether the prompt goes to the model as it is, without its template.
    raw: Option<bool>,
    template: Option<String>,
    images: Option<Vec<Value>>,
    context: Option<Vec<Value>>,
}

/// Answers one request.
pub(crate) async fn generate(state: &AppState, body: &JsonBody) -> Result<Response, ApiError> {
    let fields: GenerateFields = body.read()?;
    let common = Common::read(body)?;
    fields.refuse_unsupported()?;
    let Some(input) = fields.input(&common) else {
        return load_or_unload(state, &common, Shape::Generate).await;
    };
    answered(state, common, input, body, Shape::Generate).await
}

impl GenerateFields {
    /// What would change the meaning of the answer is refused, never left out in silence.
    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        refuse_images("images", self.images.as_ref())?;
        if says(self.template.as_ref()) {
            let reason = "is not supported: the model's own template is used, or with `raw` none";
            return Err(ApiError::field("template", reason));
        }
        if self.context.as_ref().is_some_and(|list| !list.is_empty()) {
            let reason = "is not supported: send the conversation to /api/chat";
            return Err(ApiError::field("context", reason));
        }
        // As there: with both, one of them would be lost.
        if self.raw == Some(true) && says(self.system.as_ref()) {
            return Err(ApiError::field("system", "cannot be combined with `raw`"));
        }
        Ok(())
    }

    /// What the model answers to; `None` where nothing is asked.
    fn input(self, common: &Common) -> Option<Input> {
        let text = self.prompt.filter(|prompt| !prompt.is_empty());
        if let Some(suffix) = self.suffix.filter(|suffix| !suffix.is_empty()) {
            return Some(Input::Gap(Gap {
                before: text.unwrap_or_default(),
                after: suffix,
                field: "suffix",
                ..Gap::default()
            }));
        }
        let text = text?;
        Some(match self.raw {
            Some(true) => Input::Raw(Prompt::marked(text)),
            _ => Input::Prompt {
                system: self.system.filter(|text| !text.is_empty()),
                text,
                thinking: common.thinking.clone(),
            },
        })
    }
}

fn says(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}
