//! A gap in a text, for models that were trained to fill one.
//!
//! It owns the order of the parts around the gap (prefix, suffix, middle: the one that the file's
//! tokens are for). It must not know which dialect asks.

use shimmy_engine::{FillInTheMiddle, Prompt, PromptPart};

use crate::error::ApiError;
use crate::model::LoadedModel;

/// A text with a gap. All of it is the user's: names of special tokens in it stay text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gap {
    /// What helps to fill it: other files.
    pub(crate) context: String,
    /// In front of the gap.
    pub(crate) before: String,
    /// Behind it.
    pub(crate) after: String,
    /// How the filling begins.
    pub(crate) begun: String,
    /// The request's field that asks for this, for the complaint.
    pub(crate) field: &'static str,
}

impl Gap {
    /// What a model reads, or why it cannot.
    pub(crate) fn prompt(&self, model: &LoadedModel) -> Result<Prompt, ApiError> {
        let Some(tokens) = model.session.tokenizer().fill_in_the_middle() else {
            let reason = format!(
                "needs a model that was trained to fill in the middle, and {} was not",
                model.name
            );
            return Err(ApiError::field(self.field, reason));
        };
        Ok(self.around(tokens))
    }

    fn around(&self, tokens: FillInTheMiddle) -> Prompt {
        let text = |text: &str| (!text.is_empty()).then(|| PromptPart::Literal(text.to_owned()));
        let token = |token| Some(PromptPart::Tokens(vec![token]));
        let parts = [
            text(&self.context),
            token(tokens.prefix),
            text(&self.before),
            token(tokens.suffix),
            text(&self.after),
            token(tokens.middle),
            text(&self.begun),
        ];
        Prompt {
            parts: parts.into_iter().flatten().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_last_and_the_users_text_stays_text() {
        let gap = Gap {
            context: "// other\n".to_owned(),
            before: "fn <|fim_middle|>".to_owned(),
            after: "}".to_owned(),
            begun: String::new(),
            field: "suffix",
        };
        let tokens = FillInTheMiddle {
            prefix: 7,
            suffix: 8,
            middle: 9,
        };
        let literal = |text: &str| PromptPart::Literal(text.to_owned());
        assert_eq!(
            gap.around(tokens).parts,
            [
                literal("// other\n"),
                PromptPart::Tokens(vec![7]),
                literal("fn <|fim_middle|>"),
                PromptPart::Tokens(vec![8]),
                literal("}"),
                PromptPart::Tokens(vec![9]),
            ]
        );
    }
}
