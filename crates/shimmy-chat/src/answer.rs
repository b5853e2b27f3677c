//! A model's text to the parts of a message: content, thoughts, calls of tools.
//!
//! Pure and incremental: every character is looked at once, in order, so the parts do not depend
//! on how the text was cut. What marks what is data, in `notation` and `thinking`; the files below
//! know the few ways in which such marks are put together.

mod blocks;
mod call;
mod draft;
mod elements;
mod headed;
mod json;
mod marks;
mod object;
mod offered;
mod python;
mod sections;
mod voice;

use std::sync::Arc;

use crate::notation::{Form, Notation};
use crate::request::Tool;
use crate::thinking::ThoughtMarks;
use blocks::{BlockMarks, BlocksReader};
use call::Rules;
use offered::Offered;
use sections::SectionsReader;

/// Arguments are told of piece by piece. But a call that is malformed is text, and what has been
/// told cannot be taken back, so a call first has to read well for so many bytes or to its end.
const ENOUGH: usize = 128;

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
pub struct AnswerFormat(Option<Arc<Shape>>);

/// What is in a format that is not plain.
#[derive(Debug)]
enum Shape {
    Blocks(BlockMarks, Rules),
    Sections(&'static crate::notation::Sections, Option<Rules>),
}

/// What an answer may hold beside text.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// How calls are written.
    pub(crate) notation: &'static Notation,
    /// What may be called; nothing is a call where it is empty.
    pub(crate) tools: &'a [Tool],
    pub(crate) only_one_call: bool,
    /// Whether the text is forced to be well-formed.
    pub(crate) is_forced: bool,
    /// Whether a call is required: there is nothing else then, beside thoughts, and what must be
    /// called is not called twice with the same arguments.
    pub(crate) must_call: bool,
    pub(crate) thoughts: Option<&'static ThoughtMarks>,
    pub(crate) are_thoughts_open: bool,
    /// Marks that are control tokens.
    pub(crate) certain: Vec<&'static str>,
}

impl AnswerFormat {
    /// Answers that are all content: those to raw prompts.
    pub fn plain() -> Self {
        Self::default()
    }

    pub(crate) fn new(parts: Parts<'_>) -> Self {
        let rules = (!parts.tools.is_empty()).then(|| Rules {
            offered: Arc::new(Offered::new(parts.tools)),
            enough: if parts.is_forced { 0 } else { ENOUGH },
            only_one: parts.only_one_call,
            must_call: parts.must_call,
        });
        let shape = match &parts.notation.form {
            Form::Sections(sections) => Shape::Sections(sections, rules),
            Form::Blocks(_) if rules.is_none() && parts.thoughts.is_none() => {
                return Self::plain();
            }
            Form::Blocks(blocks) => {
                let marks = BlockMarks {
                    calls: rules.is_some().then_some(blocks),
                    thoughts: parts.thoughts,
                    are_thoughts_open: parts.are_thoughts_open,
                    certain: parts.certain,
                };
                Shape::Blocks(marks, rules.unwrap_or_else(Rules::of_nothing))
            }
        };
        Self(Some(Arc::new(shape)))
    }

    /// A reader of one answer.
    pub fn parser(&self) -> AnswerParser {
        AnswerParser(match self.0.as_deref() {
            None => Machine::Plain,
            Some(Shape::Blocks(marks, rules)) => {
                Machine::Blocks(Box::new(BlocksReader::new(marks.clone(), rules.clone())))
            }
            Some(Shape::Sections(marks, rules)) => {
                Machine::Sections(Box::new(SectionsReader::new(marks, rules.clone())))
            }
        })
    }
}

/// Reads one answer.
#[derive(Debug)]
pub struct AnswerParser(Machine);

#[derive(Debug)]
enum Machine {
    Plain,
    Blocks(Box<BlocksReader>),
    Sections(Box<SectionsReader>),
}

impl AnswerParser {
    /// Takes more text and appends the parts that nothing can take back.
    pub fn push(&mut self, text: &str, out: &mut Vec<Delta>) {
        match &mut self.0 {
            Machine::Plain if text.is_empty() => {}
            Machine::Plain => out.push(Delta::Content(text.to_owned())),
            Machine::Blocks(reader) => text.chars().for_each(|c| reader.push(c, out)),
            Machine::Sections(reader) => text.chars().for_each(|c| reader.push(c, out)),
        }
    }

    /// Takes the end of the text: what was held back is told as what it turned out to be.
    pub fn finish(&mut self, out: &mut Vec<Delta>) {
        match &mut self.0 {
            Machine::Plain => {}
            Machine::Blocks(reader) => reader.finish(out),
            Machine::Sections(reader) => reader.finish(out),
        }
    }

    /// Whether the model is thinking where the text has come to.
    pub fn is_thinking(&self) -> bool {
        match &self.0 {
            Machine::Plain => false,
            Machine::Blocks(reader) => reader.is_thinking(),
            Machine::Sections(reader) => reader.is_thinking(),
        }
    }

    /// Whether the answer has all that is wanted of it, so that more text would be passed over.
    pub fn is_over(&self) -> bool {
        match &self.0 {
            Machine::Plain => false,
            Machine::Blocks(reader) => reader.is_over(),
            Machine::Sections(reader) => reader.is_over(),
        }
    }
}

#[cfg(test)]
mod tests;
