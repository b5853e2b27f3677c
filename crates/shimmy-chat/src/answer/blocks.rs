//! Answers in which thoughts and calls stand between marks, and all else is said to the user.

use super::Delta;
use super::call::{Call, Rules, Told, append_arguments};
use super::draft::Progress;
use super::marks::Finder;
use super::voice::{Ear, Voice};
use crate::notation::{Blocks, Body};
use crate::thinking::ThoughtMarks;

/// What an answer in blocks is made of.
#[derive(Debug, Clone)]
pub(super) struct BlockMarks {
    /// None where there is nothing to call.
    pub(super) calls: Option<&'static Blocks>,
    pub(super) thoughts: Option<&'static ThoughtMarks>,
    /// Whether the prompt has opened thoughts.
    pub(super) are_thoughts_open: bool,
    /// Marks of calls that are control tokens. They cannot be mentioned, so they mean what they
    /// mean even within thoughts.
    pub(super) certain: Vec<&'static str>,
}

/// Reads one answer.
#[derive(Debug)]
pub(super) struct BlocksReader {
    marks: BlockMarks,
    rules: Rules,
    voice: Voice,
    finder: Finder,
    place: Place,
    /// Calls that have been told of.
    calls: Told,
    in_text: Vec<(&'static str, Mark)>,
    in_thoughts: Vec<(&'static str, Mark)>,
    after_call: Vec<(&'static str, Mark)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    ThoughtsOpen,
    ThoughtsClose,
    Wrap,
    /// The beginning of a block.
    Block,
    /// The beginning of a call, by its body's place in the table.
    Call(usize),
    /// What follows a call.
    Close,
}

#[derive(Debug)]
enum Place {
    Text,
    Thoughts,
    /// After the mark of a block; what has been read of it.
    Block {
        held: String,
        in_list: bool,
    },
    Call {
        call: Box<Call>,
        in_list: bool,
        is_bare: bool,
    },
    /// After a call; whether it stands in a list, and whether its block is over.
    AfterCall {
        in_list: bool,
        is_over: bool,
        is_bare: bool,
    },
    /// A call that has been told of and does not read well: the rest of it goes where its
    /// beginning went, so that nothing is lost.
    Spoilt(usize),
    /// Nothing more is wanted.
    Over,
}

impl BlocksReader {
    pub(super) fn new(marks: BlockMarks, rules: Rules) -> Self {
        let of_calls = call_marks(marks.calls);
        let mut in_text = of_calls.clone();
        let mut in_thoughts = of_calls.clone();
        in_thoughts.retain(|(text, _)| marks.certain.contains(text));
        if let Some(thoughts) = marks.thoughts {
            in_text.push((thoughts.open, Mark::ThoughtsOpen));
            in_text.extend(thoughts.wraps.iter().map(|wrap| (*wrap, Mark::Wrap)));
            in_thoughts.push((thoughts.close, Mark::ThoughtsClose));
        }
        let closes = marks.calls.map_or(&[][..], |calls| calls.closes);
        let mut after_call = of_calls;
        after_call.extend(closes.iter().map(|close| (*close, Mark::Close)));
        let mut voice = Voice::new(rules.must_call);
        let place = match marks.are_thoughts_open {
            true => {
                voice.turn();
                Place::Thoughts
            }
            false => Place::Text,
        };
        Self {
            marks,
            rules,
            voice,
            finder: Finder::default(),
            place,
            calls: Told::default(),
            in_text,
            in_thoughts,
            after_call,
        }
    }

    /// Whether the text that came last is, so far, thought and not said.
    pub(super) fn is_thinking(&self) -> bool {
        matches!(self.place, Place::Thoughts)
    }

    /// Whether what follows will be passed over.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.place, Place::Over)
    }

    pub(super) fn push(&mut self, c: char, out: &mut Vec<Delta>) {
        match &mut self.place {
            Place::Text => self.text(c, out),
            Place::Thoughts => self.thoughts(c, out),
            Place::Block { .. } => self.block(c, out),
            Place::Call { .. } => self.call(c, out),
            Place::AfterCall { .. } => self.after_call(c, out),
            Place::Spoilt(index) => {
                let index = *index;
                self.spoilt(index, c, out);
            }
            Place::Over => {}
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Delta>) {
        let held = self.finder.take();
        match std::mem::replace(&mut self.place, Place::Over) {
            Place::Text | Place::AfterCall { .. } => {
                self.voice.say(Ear::User, &held, out);
                self.voice.finish(Ear::User, out);
            }
            Place::Thoughts => {
                self.voice.say(Ear::Nobody, &held, out);
                self.voice.finish(Ear::Nobody, out);
            }
            // What the finder holds is in there too.
            Place::Block { held, .. } => {
                self.voice.say(Ear::User, &held, out);
                self.voice.finish(Ear::User, out);
            }
            Place::Call { mut call, .. } => {
                if !call.finish(&self.rules, &mut self.calls, out) {
                    self.voice.say(Ear::User, &call.into_text(), out);
                    self.voice.finish(Ear::User, out);
                }
            }
            Place::Spoilt(index) => append_arguments(index, &held, out),
            Place::Over => {}
        }
    }

    fn again(&mut self, text: &str, out: &mut Vec<Delta>) {
        text.chars().for_each(|c| self.push(c, out));
    }

    fn bodies(&self) -> &'static [Body] {
        self.marks.calls.map_or(&[], |calls| calls.bodies)
    }

    fn text(&mut self, c: char, out: &mut Vec<Delta>) {
        let may_be_bare = self.marks.calls.is_some_and(|calls| calls.bare)
            && !self.voice.has_spoken
            && self.calls.count == 0
            && self.finder.held().is_empty();
        if may_be_bare && matches!(c, '{' | '[') {
            self.place = Place::Block {
                held: String::new(),
                in_list: false,
            };
            return self.block(c, out);
        }
        let (released, found) = find(&mut self.finder, c, &self.in_text);
        self.voice.say(Ear::User, &released, out);
        match found {
            None => {}
            // Thoughts come first; later on somebody speaks of the mark.
            Some((_, Mark::ThoughtsOpen)) if !self.voice.has_spoken && self.calls.count == 0 => {
                self.voice.turn();
                self.place = Place::Thoughts;
            }
            Some((_, Mark::Wrap)) => self.voice.turn(),
            Some((text, mark)) => self.begin(text, mark, out),
        }
    }

    fn thoughts(&mut self, c: char, out: &mut Vec<Delta>) {
        let (released, found) = find(&mut self.finder, c, &self.in_thoughts);
        self.voice.say(Ear::Nobody, &released, out);
        match found {
            None => {}
            Some((_, Mark::ThoughtsClose)) => {
                self.voice.turn();
                self.place = Place::Text;
            }
            Some((text, mark)) => {
                self.voice.turn();
                self.begin(text, mark, out);
            }
        }
    }

    /// What a mark in the text begins.
    fn begin(&mut self, text: &'static str, mark: Mark, out: &mut Vec<Delta>) {
        match mark {
            Mark::Block => {
                self.place = Place::Block {
                    held: text.to_owned(),
                    in_list: false,
                };
            }
            Mark::Call(body) => self.begin_call(body, text.to_owned(), false, false),
            Mark::ThoughtsOpen | Mark::ThoughtsClose | Mark::Wrap | Mark::Close => {
                self.voice.say(Ear::User, text, out);
            }
        }
    }

    fn begin_call(&mut self, body: usize, held: String, in_list: bool, is_bare: bool) {
        let Some(body) = self.bodies().get(body) else {
            return;
        };
        self.place = Place::Call {
            call: Box::new(Call::new(body, is_bare, held)),
            in_list,
            is_bare,
        };
    }

    /// Between the mark of a block and its first call.
    fn block(&mut self, c: char, out: &mut Vec<Delta>) {
        let bodies = self.bodies();
        let Place::Block { held, in_list } = &mut self.place else {
            return;
        };
        let starts = body_starts(bodies);
        let begins_start = starts.iter().any(|(start, _)| start.starts_with(c));
        if !self.finder.held().is_empty() || (begins_start && !*in_list) {
            held.push(c);
            let (released, found) = find(&mut self.finder, c, &starts);
            match found {
                Some((_, Mark::Call(body))) => {
                    let held = std::mem::take(held);
                    self.begin_call(body, held, false, false);
                }
                _ if released.is_empty() => {}
                _ => self.no_call(out),
            }
            return;
        }
        let can_list = |body: &Body| matches!(body, Body::Object(_) | Body::Python);
        let body = match c {
            '{' => bodies
                .iter()
                .position(|body| matches!(body, Body::Object(_))),
            _ if begins_name(c) && *in_list => is_python(bodies),
            _ if may_begin_name(c) => bodies.iter().position(begins_with_name),
            _ => None,
        };
        match body {
            Some(body) => {
                let is_bare = self.marks.calls.is_some_and(|calls| calls.bare)
                    && matches!(held.trim_start_matches('[').trim(), "");
                let (held, in_list) = (std::mem::take(held), *in_list);
                self.begin_call(body, held, in_list, is_bare);
                self.call(c, out);
            }
            None if c.is_whitespace() => held.push(c),
            None if c == '[' && !*in_list && bodies.iter().any(can_list) => {
                held.push(c);
                *in_list = true;
            }
            None => {
                held.push(c);
                self.no_call(out);
            }
        }
    }

    fn call(&mut self, c: char, out: &mut Vec<Delta>) {
        let Place::Call {
            call,
            in_list,
            is_bare,
        } = &mut self.place
        else {
            return;
        };
        let was_told = call.told().is_some();
        let mut deltas = Vec::new();
        let progress = call.push(c, &self.rules, &mut self.calls, &mut deltas);
        if !was_told && call.told().is_some() {
            self.voice.note_call();
        }
        merge(deltas, out);
        match progress {
            Progress::More => {}
            Progress::Done if call.is_last(&self.rules) => self.place = Place::Over,
            Progress::Done => {
                self.place = Place::AfterCall {
                    in_list: *in_list,
                    is_over: *is_bare,
                    is_bare: *is_bare,
                };
            }
            Progress::Failed => match call.told() {
                Some(index) => {
                    self.place = Place::Spoilt(index);
                    self.spoilt(index, c, out);
                }
                None => self.no_call(out),
            },
        }
    }

    /// What was taken for a call is text. Its last character may be the beginning of something.
    fn no_call(&mut self, out: &mut Vec<Delta>) {
        self.finder.take();
        let mut text = match std::mem::replace(&mut self.place, Place::Text) {
            Place::Block { held, .. } => held,
            Place::Call { call, .. } => call.into_text(),
            _ => return,
        };
        // One character alone would be taken for the same beginning again.
        let last = text.pop();
        if text.is_empty() {
            text.extend(last);
            return self.voice.say(Ear::User, &text, out);
        }
        self.voice.say(Ear::User, &text, out);
        self.voice.has_spoken = true;
        if let Some(last) = last {
            self.text(last, out);
        }
    }

    fn after_call(&mut self, c: char, out: &mut Vec<Delta>) {
        let bodies = self.bodies();
        let Place::AfterCall {
            in_list,
            is_over,
            is_bare,
        } = &mut self.place
        else {
            return;
        };
        if self.finder.held().is_empty() {
            let (list, bare) = (*in_list, *is_bare);
            let may_go_on = list || !*is_over;
            let body = match c {
                '{' if may_go_on => bodies
                    .iter()
                    .position(|body| matches!(body, Body::Object(_))),
                _ if begins_name(c) && may_go_on => is_python(bodies),
                _ => None,
            };
            match c {
                _ if let Some(body) = body => {
                    self.begin_call(body, String::new(), list, bare);
                    return self.call(c, out);
                }
                ']' if list => {
                    *in_list = false;
                    *is_over |= bare;
                    return;
                }
                ',' | ';' if list || bare => {
                    *is_over = false;
                    return;
                }
                _ => {}
            }
        }
        let (released, found) = find(&mut self.finder, c, &self.after_call);
        match found {
            Some((_, Mark::Close)) => {
                *is_over = true;
                *in_list = false;
            }
            Some((text, mark)) => self.begin(text, mark, out),
            // Layout, until something else shows that it was not.
            None if released.trim().is_empty() => self.voice.say(Ear::User, &released, out),
            None => {
                let held = self.finder.take();
                self.place = Place::Text;
                self.again(&(released + &held), out);
            }
        }
    }

    fn spoilt(&mut self, index: usize, c: char, out: &mut Vec<Delta>) {
        let (released, found) = find(&mut self.finder, c, &self.after_call);
        append_arguments(index, &released, out);
        match found {
            None => {}
            Some(_) if self.rules.only_one => self.place = Place::Over,
            Some((_, Mark::Close)) => {
                self.place = Place::AfterCall {
                    in_list: false,
                    is_over: true,
                    is_bare: false,
                };
            }
            Some((text, mark)) => self.begin(text, mark, out),
        }
    }
}

type Marks = Vec<(&'static str, Mark)>;

/// The marks that begin a block or a call.
fn call_marks(calls: Option<&'static Blocks>) -> Marks {
    let Some(calls) = calls else {
        return Vec::new();
    };
    let blocks = calls.opens.iter().map(|open| (*open, Mark::Block));
    blocks.chain(body_starts(calls.bodies)).collect()
}

fn body_starts(bodies: &'static [Body]) -> Marks {
    let bodies = bodies.iter().enumerate();
    bodies
        .filter_map(|(index, body)| Some((body.start()?, Mark::Call(index))))
        .collect()
}

fn find(
    finder: &mut Finder,
    c: char,
    marks: &[(&'static str, Mark)],
) -> (String, Option<(&'static str, Mark)>) {
    let mut released = String::new();
    let found = finder.push(c, marks.iter().map(|(text, _)| *text), &mut released);
    (released, found.and_then(|found| marks.get(found).copied()))
}

fn begins_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

/// The same of tools whose names are no identifiers.
fn may_begin_name(c: char) -> bool {
    c.is_alphanumeric() || "_-".contains(c)
}

fn begins_with_name(body: &Body) -> bool {
    !matches!(body, Body::Object(_)) && body.start().is_none()
}

fn is_python(bodies: &[Body]) -> Option<usize> {
    bodies.iter().position(|body| matches!(body, Body::Python))
}

/// Appends deltas, joining pieces that belong together.
fn merge(deltas: Vec<Delta>, out: &mut Vec<Delta>) {
    for delta in deltas {
        match delta {
            Delta::ToolArguments { index, json } => append_arguments(index, &json, out),
            other => out.push(other),
        }
    }
}
