//! One call on its way from the model's text to deltas.

use std::sync::Arc;

use super::Delta;
use super::draft::{Draft, Progress};
use super::elements::ElementsReader;
use super::headed::HeadedReader;
use super::object::ObjectReader;
use super::offered::Offered;
use super::python::PythonReader;
use crate::notation::Body;

/// What all calls of an answer have in common.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) offered: Arc<Offered>,
    /// Bytes of arguments that are read before a call is told of that is not complete.
    pub(super) enough: usize,
    /// Whether one call is the most that is wanted.
    pub(super) only_one: bool,
    /// Whether a call is required: there is nothing else then, beside thoughts, and a call that
    /// repeats the one before it ends the answer, and is not told of.
    pub(super) must_call: bool,
}

impl Rules {
    /// Those of an answer without calls.
    pub(super) fn of_nothing() -> Self {
        Self {
            offered: Arc::default(),
            enough: 0,
            only_one: false,
            must_call: false,
        }
    }
}

/// The calls of an answer that have been told of.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) count: usize,
    /// The last one's name and arguments, where a repeat of it would end the answer.
    last: Option<(String, String)>,
}

impl Told {
    /// Whether a call that has come so far says nothing that the last one does not say.
    fn is_repeated_by(&self, name: &str, arguments: &str) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|(last, said)| last == name && said.starts_with(arguments))
    }
}

/// A call that is being read.
#[derive(Debug)]
pub(super) struct Call {
    reader: Reader,
    draft: Draft,
    /// Whether it may only name a tool that is offered.
    must_be_known: bool,
    /// Its number, once it has been told of.
    told: Option<usize>,
    /// All its text, marks included, as long as it may turn out to be no call.
    held: String,
}

#[derive(Debug)]
enum Reader {
    Object(ObjectReader),
    Headed(HeadedReader),
    Elements(ElementsReader),
    Python(PythonReader),
}

impl Call {
    /// A call after `held`, which is what marked it.
    pub(super) fn new(body: &Body, must_be_known: bool, held: String) -> Self {
        let reader = match *body {
            Body::Object(keys) => Reader::Object(ObjectReader::new(keys)),
            Body::Headed(headed) => Reader::Headed(HeadedReader::new(headed.name)),
            Body::Elements(marks) => Reader::Elements(ElementsReader::new(marks)),
            Body::Python => Reader::Python(PythonReader::new()),
        };
        Self {
            reader,
            draft: Draft::default(),
            must_be_known,
            told: None,
            held,
        }
    }

    /// A call of this tool, whose arguments follow. `None` where that cannot be a name.
    pub(super) fn of(name: &str, held: String) -> Option<Self> {
        let mut draft = Draft::default();
        draft.set_name(name).then(|| Self {
            reader: Reader::Headed(HeadedReader::new(|_| None)),
            draft,
            must_be_known: false,
            told: None,
            held,
        })
    }

    /// Its number, once it has been told of.
    pub(super) fn told(&self) -> Option<usize> {
        self.told
    }

    /// Its text, where it turned out to be no call.
    pub(super) fn into_text(self) -> String {
        self.held
    }

    /// Takes a character; `calls` are those that have been told of.
    pub(super) fn push(
        &mut self,
        c: char,
        rules: &Rules,
        calls: &mut Told,
        out: &mut Vec<Delta>,
    ) -> Progress {
        if self.told.is_none() {
            self.held.push(c);
        }
        let progress = match &mut self.reader {
            Reader::Object(reader) => reader.push(c, &mut self.draft),
            Reader::Headed(reader) => reader.push(c, &mut self.draft),
            Reader::Elements(reader) => reader.push(c, &rules.offered, &mut self.draft),
            Reader::Python(reader) => reader.push(c, &mut self.draft),
        };
        let is_unknown = || {
            self.draft
                .name()
                .is_some_and(|name| !rules.offered.has(name))
        };
        if progress == Progress::Failed || (self.must_be_known && is_unknown()) {
            return Progress::Failed;
        }
        self.tell(rules, calls, out);
        progress
    }

    /// Whether no more calls are wanted when this one is done.
    pub(super) fn is_last(&self, rules: &Rules) -> bool {
        // What is done and has not been told of was held back as a repeat.
        rules.only_one || self.told.is_none()
    }

    /// Takes the end of the answer; false where this was no call.
    pub(super) fn finish(&mut self, rules: &Rules, calls: &mut Told, out: &mut Vec<Delta>) -> bool {
        if let Reader::Elements(reader) = &mut self.reader
            && reader.finish(&mut self.draft)
        {
            self.tell(rules, calls, out);
        }
        if rules.must_call {
            // It was cut, for there is nothing else that it could have become.
            self.draft.cut();
            self.tell(rules, calls, out);
        }
        self.told.is_some() || self.repeats(calls)
    }

    /// Whether all that has come is what the call before it says, too.
    pub(super) fn repeats(&self, calls: &Told) -> bool {
        let name = self.draft.name();
        name.is_some_and(|name| calls.is_repeated_by(name, self.draft.untold()))
    }

    fn tell(&mut self, rules: &Rules, calls: &mut Told, out: &mut Vec<Delta>) {
        if self.told.is_none()
            && self.draft.is_ripe(rules.enough)
            && let Some(name) = self.draft.name()
            && !calls.is_repeated_by(name, self.draft.untold())
        {
            out.push(Delta::ToolCall {
                index: calls.count,
                name: name.to_owned(),
            });
            self.told = Some(calls.count);
            calls.count += 1;
            if rules.must_call {
                calls.last = Some((name.to_owned(), String::new()));
            }
            self.held.clear();
        }
        if let Some(index) = self.told {
            let arguments = self.draft.take_arguments();
            if let Some((_, last)) = &mut calls.last {
                last.push_str(&arguments);
            }
            append_arguments(index, &arguments, out);
        }
    }
}

/// More of the arguments of a call that has been told of.
pub(super) fn append_arguments(index: usize, text: &str, out: &mut Vec<Delta>) {
    if text.is_empty() {
        return;
    }
    match out.last_mut() {
        Some(Delta::ToolArguments { index: last, json }) if *last == index => json.push_str(text),
        _ => out.push(Delta::ToolArguments {
            index,
            json: text.to_owned(),
        }),
    }
}
