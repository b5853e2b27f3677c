//! A model's text to the parts of a message: content, thoughts, calls of tools.
//!
//! Pure and incremental: the parts do not depend on how the text was cut.

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// More of what is said to the user; never empty.
    Content(String),
    /// More of what the model thinks; never empty.
    Reasoning(String),
    /// A call begins. Calls are numbered from 0 in the order of the answer.
    ToolCall {
        /// Which call.
        index: usize,
        /// The function.
        name: String,
    },
    /// More of the arguments of a call that has begun: pieces of the text of one JSON object.
    ToolArguments {
        /// Which call.
        index: usize,
        /// The piece; never empty.
        json: String,
    },
}

/// How a model writes its answers, as far as its template tells. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AnswerFormat {}

impl AnswerFormat {
    /// Answers that are all content: those to raw prompts.
    pub fn plain() -> Self {
        Self::default()
    }

    /// A reader of one answer.
    pub fn parser(&self) -> AnswerParser {
        AnswerParser {}
    }
}

/// Reads one answer.
#[derive(Debug)]
pub struct AnswerParser {}

impl AnswerParser {
    /// Takes more text and appends the parts that nothing can take back.
    pub fn push(&mut self, text: &str, out: &mut Vec<Delta>) {
        if !text.is_empty() {
            out.push(Delta::Content(text.to_owned()));
        }
    }

    /// Takes the end of the text: what was held back is told as what it turned out to be.
    pub fn finish(&mut self, _out: &mut Vec<Delta>) {}
}
