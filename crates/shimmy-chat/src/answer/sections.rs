//! Answers that are sections, each with a heading that says what it is.

use super::Delta;
use super::call::{Call, Rules, Told, append_arguments};
use super::draft::Progress;
use super::marks::Finder;
use super::voice::{Ear, Voice};
use crate::notation::{Section, Sections};

/// Longest heading; what is longer is none.
const HEADING_BYTES: usize = 256;

/// Reads one answer.
#[derive(Debug)]
pub(super) struct SectionsReader {
    marks: &'static Sections,
    /// None where there is nothing to call.
    rules: Option<Rules>,
    voice: Voice,
    finder: Finder,
    place: Place,
    /// Calls that have been told of.
    calls: Told,
    /// Whether any heading has been read.
    has_sections: bool,
}

#[derive(Debug)]
enum Place {
    Heading(String),
    Text(Ear),
    Call(Box<Call>),
    /// After a call.
    AfterCall,
    /// See the same in answers with blocks.
    Spoilt(usize),
    Over,
}

impl SectionsReader {
    pub(super) fn new(marks: &'static Sections, rules: Option<Rules>) -> Self {
        Self {
            marks,
            voice: Voice::new(rules.as_ref().is_some_and(|rules| rules.must_call)),
            rules,
            finder: Finder::default(),
            place: Place::Heading(String::new()),
            calls: Told::default(),
            has_sections: false,
        }
    }

    /// Whether the text that came last is, so far, thought and not said.
    pub(super) fn is_thinking(&self) -> bool {
        matches!(self.place, Place::Text(Ear::Nobody))
    }

    /// Whether what follows will be passed over.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.place, Place::Over)
    }

    pub(super) fn push(&mut self, c: char, out: &mut Vec<Delta>) {
        match &mut self.place {
            Place::Heading(_) => self.heading(c, out),
            Place::Text(_) | Place::AfterCall | Place::Spoilt(_) => self.within(c, out),
            Place::Call(_) => self.call(c, out),
            Place::Over => {}
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Delta>) {
        let held = self.finder.take();
        match std::mem::replace(&mut self.place, Place::Over) {
            // A heading that nothing follows, as where the next message was about to begin.
            Place::Heading(_) if self.has_sections => self.voice.finish(Ear::User, out),
            Place::Heading(text) => {
                self.voice.say(Ear::User, &text, out);
                self.voice.finish(Ear::User, out);
            }
            Place::Text(ear) => {
                self.voice.say(ear, &held, out);
                self.voice.finish(ear, out);
            }
            Place::Call(mut call) => {
                let (rules, calls) = (self.rules.as_ref(), &mut self.calls);
                if !rules.is_some_and(|rules| call.finish(rules, calls, out)) {
                    self.voice.say(Ear::User, &call.into_text(), out);
                }
            }
            Place::Spoilt(index) => append_arguments(index, &held, out),
            Place::AfterCall | Place::Over => {}
        }
    }

    fn heading(&mut self, c: char, out: &mut Vec<Delta>) {
        let Place::Heading(text) = &mut self.place else {
            return;
        };
        text.push(c);
        let is_whole = text.ends_with(self.marks.heading_end);
        if !is_whole && text.len() <= HEADING_BYTES {
            return;
        }
        let text = std::mem::take(text);
        let heading = text.strip_suffix(self.marks.heading_end);
        let section = heading.and_then(self.marks.read);
        self.has_sections |= section.is_some();
        self.place = match section {
            Some(Section::Content) => self.turn(Ear::User),
            Some(Section::Reasoning) => self.turn(Ear::Nobody),
            Some(Section::Call(name)) => match Call::of(name, text.clone()) {
                Some(call) if self.rules.is_some() => Place::Call(Box::new(call)),
                _ => self.plain(&text, out),
            },
            None => self.plain(&text, out),
        };
    }

    fn turn(&mut self, ear: Ear) -> Place {
        self.voice.turn();
        Place::Text(ear)
    }

    /// Text that is no heading.
    fn plain(&mut self, text: &str, out: &mut Vec<Delta>) -> Place {
        self.voice.say(Ear::User, text, out);
        Place::Text(Ear::User)
    }

    /// Inside a section, or behind a call: until the next heading.
    fn within(&mut self, c: char, out: &mut Vec<Delta>) {
        let marks = self.marks.starts.iter().chain(self.marks.ends).copied();
        let mut released = String::new();
        let found = self.finder.push(c, marks, &mut released);
        match &mut self.place {
            Place::Text(ear) => self.voice.say(*ear, &released, out),
            Place::Spoilt(index) => append_arguments(*index, &released, out),
            Place::AfterCall if !released.trim().is_empty() => {
                self.place = self.plain(&released, out);
            }
            _ => {}
        }
        if found.is_some() {
            self.place = match self.rules.as_ref().is_some_and(|rules| rules.only_one) {
                true if self.calls.count > 0 => Place::Over,
                _ => Place::Heading(String::new()),
            };
        }
    }

    fn call(&mut self, c: char, out: &mut Vec<Delta>) {
        let (Place::Call(call), Some(rules)) = (&mut self.place, &self.rules) else {
            return;
        };
        match call.push(c, rules, &mut self.calls, out) {
            Progress::More => {}
            Progress::Done if call.is_last(rules) => self.place = Place::Over,
            Progress::Done => {
                self.voice.note_call();
                self.place = Place::AfterCall;
            }
            Progress::Failed => match call.told() {
                Some(index) => {
                    self.place = Place::Spoilt(index);
                    self.within(c, out);
                }
                None => {
                    let Place::Call(call) = std::mem::replace(&mut self.place, Place::AfterCall)
                    else {
                        return;
                    };
                    let mut text = call.into_text();
                    // The next mark may begin with it.
                    let last = text.pop();
                    self.place = self.plain(&text, out);
                    if let Some(last) = last {
                        self.within(last, out);
                    }
                }
            },
        }
    }
}
