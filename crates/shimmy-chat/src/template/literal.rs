//! Keeps the text of special tokens that a user wrote from becoming special tokens.
//!
//! Before rendering, each such text in the user's strings is replaced by one character that the
//! request does not contain (a *stand-in*, from Unicode's private-use planes). Afterwards the
//! rendered text is cut at the stand-ins: what they stood for is [`PromptPart::Literal`], the rest
//! is [`PromptPart::Marked`]. One character cannot be cut apart, trimmed or escaped by a template.
//!
//! A user could also spread a token's text over two strings that a template writes side by side
//! (`<|im_st` and `art|>`). [`Depth::Fragments`] replaces the first and last characters of such
//! pieces too. It hides a little more text from the template's own logic, so the caller uses it
//! only where it makes a difference; see `ChatTemplate::render`.
//!
//! This file must not know templates or messages: strings go in, parts come out.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use shimmy_engine::PromptPart;

/// How much of a user's text is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The whole text of special tokens.
    Whole,
    /// Also the outer characters of pieces that could be put together to one.
    Fragments,
}

/// A prefix tree over characters.
#[derive(Debug, Default)]
struct Trie {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<char, usize>,
    is_end: bool,
}

/// How far a text follows a trie, in characters.
struct Walk {
    /// The longest text of the trie that was passed.
    whole: Option<usize>,
    /// The deepest node that was reached.
    depth: usize,
}

impl Trie {
    fn new(texts: impl Iterator<Item = impl Iterator<Item = char>>) -> Self {
        let mut nodes = vec![Node::default()];
        for text in texts {
            let mut at = 0;
            for c in text {
                let next = nodes.len();
                at = *nodes[at].children.entry(c).or_insert(next);
                if at == next {
                    nodes.push(Node::default());
                }
            }
            nodes[at].is_end = true;
        }
        Self { nodes }
    }

    fn walk(&self, text: impl Iterator<Item = char>) -> Walk {
        let mut walk = Walk {
            whole: None,
            depth: 0,
        };
        let mut at = 0;
        for c in text {
            let Some(&next) = self.nodes[at].children.get(&c) else {
                break;
            };
            at = next;
            walk.depth += 1;
            if self.nodes[at].is_end {
                walk.whole = Some(walk.depth);
            }
        }
        walk
    }
}

/// The texts of a vocabulary's special tokens, ready to be found in other texts.
#[derive(Debug)]
pub(super) struct Specials {
    forwards: Trie,
    backwards: Trie,
}

impl Specials {
    /// Empty texts are ignored: they would be found everywhere.
    pub(super) fn new(texts: &[String]) -> Self {
        let texts = || texts.iter().filter(|text| !text.is_empty());
        Self {
            forwards: Trie::new(texts().map(|text| text.chars())),
            backwards: Trie::new(texts().map(|text| text.chars().rev())),
        }
    }

    /// The special texts in `text`, leftmost and longest first, in order.
    pub(super) fn found_in<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut found = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let whole = self.whole_at(rest);
            found.extend(whole);
            rest = &rest[whole.map_or(first.len_utf8(), str::len)..];
        }
        found
    }

    fn whole_at<'t>(&self, text: &'t str) -> Option<&'t str> {
        let length = self.forwards.walk(text.chars()).whole?;
        let end = text
            .char_indices()
            .nth(length)
            .map_or(text.len(), |(at, _)| at);
        Some(&text[..end])
    }

    /// Whether the first character of `rest` begins a piece of a special text.
    ///
    /// A single character counts only where nothing but blanks follows, because a template can
    /// trim those; elsewhere nearly every `<` would count.
    fn begins_fragment(&self, rest: &str) -> bool {
        let depth = self.forwards.walk(rest.chars()).depth;
        depth >= 2 || depth == 1 && rest.chars().skip(1).all(char::is_whitespace)
    }

    /// Whether the last character of `before` ends a piece of a special text.
    fn ends_fragment(&self, before: &str) -> bool {
        let depth = self.backwards.walk(before.chars().rev()).depth;
        depth >= 2 || depth == 1 && before.chars().rev().skip(1).all(char::is_whitespace)
    }
}

/// The stand-ins of one rendering.
#[derive(Debug)]
pub(super) struct Literals<'s> {
    specials: &'s Specials,
    depth: Depth,
    taken: &'s HashSet<char>,
    unused: StandIns,
    stand_ins: HashMap<String, char>,
    meanings: HashMap<char, String>,
    is_exhausted: bool,
}

impl<'s> Literals<'s> {
    /// `taken` are the private-use characters that occur in the request and the template.
    pub(super) fn new(specials: &'s Specials, depth: Depth, taken: &'s HashSet<char>) -> Self {
        Self {
            specials,
            depth,
            taken,
            unused: stand_ins(),
            stand_ins: HashMap::new(),
            meanings: HashMap::new(),
            is_exhausted: false,
        }
    }

    /// Whether the characters ran out; then the replaced strings must not be used.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }

    /// The text with stand-ins.
    pub(super) fn protect(&mut self, text: &str) -> String {
        self.protect_at(text, self.depth)
    }

    /// The text with stand-ins, at another depth than usual.
    pub(super) fn protect_at(&mut self, text: &str, depth: Depth) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            let end = at + c.len_utf8();
            if let Some(whole) = self.specials.whole_at(rest) {
                out.push(self.stand_in(whole));
                at += whole.len();
                continue;
            }
            let is_edge = depth == Depth::Fragments
                && (self.specials.begins_fragment(rest)
                    || self.specials.ends_fragment(&text[..end]));
            out.push(if is_edge {
                self.stand_in(&text[at..end])
            } else {
                c
            });
            at = end;
        }
        out
    }

    /// The value with stand-ins in all its strings, keys included.
    pub(super) fn protect_value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.protect(text)),
            Value::Array(items) => items.iter().map(|item| self.protect_value(item)).collect(),
            Value::Object(map) => Value::Object(self.protect_map(map)),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// See [`Self::protect_value`].
    pub(super) fn protect_map(&mut self, map: &Map<String, Value>) -> Map<String, Value> {
        map.iter()
            .map(|(key, value)| (self.protect(key), self.protect_value(value)))
            .collect()
    }

    fn stand_in(&mut self, text: &str) -> char {
        if let Some(&known) = self.stand_ins.get(text) {
            return known;
        }
        let Some(c) = self.unused.find(|c| !self.taken.contains(c)) else {
            self.is_exhausted = true;
            return char::REPLACEMENT_CHARACTER;
        };
        self.stand_ins.insert(text.to_owned(), c);
        self.meanings.insert(c, text.to_owned());
        c
    }

    /// The rendered text as parts, none of them empty and no two of a kind in a row.
    pub(super) fn split(&self, rendered: &str) -> Vec<PromptPart> {
        let mut parts = Vec::new();
        let mut rest = rendered;
        while let Some((at, c)) = rest
            .char_indices()
            .find(|(_, c)| self.meanings.contains_key(c))
        {
            push_marked(&mut parts, &rest[..at]);
            push_literal(&mut parts, &self.meanings[&c]);
            rest = &rest[at + c.len_utf8()..];
        }
        push_marked(&mut parts, rest);
        parts
    }
}

fn push_marked(parts: &mut Vec<PromptPart>, text: &str) {
    if !text.is_empty() {
        parts.push(PromptPart::Marked(text.to_owned()));
    }
}

fn push_literal(parts: &mut Vec<PromptPart>, text: &str) {
    match parts.last_mut() {
        Some(PromptPart::Literal(last)) => last.push_str(text),
        _ => parts.push(PromptPart::Literal(text.to_owned())),
    }
}

type StandIns = std::iter::Chain<RangeInclusive<char>, RangeInclusive<char>>;

/// The two private-use planes, without the last two code points of each, which are no characters.
fn stand_ins() -> StandIns {
    ('\u{F0000}'..='\u{FFFFD}').chain('\u{100000}'..='\u{10FFFD}')
}

/// Adds the characters of `text` that could be mistaken for stand-ins.
pub(super) fn note_taken(text: &str, taken: &mut HashSet<char>) {
    taken.extend(text.chars().filter(|&c| c >= '\u{F0000}'));
}

/// See [`note_taken`]; looks at every string of the value, keys included.
pub(super) fn note_taken_value(value: &Value, taken: &mut HashSet<char>) {
    match value {
        Value::String(text) => note_taken(text, taken),
        Value::Array(items) => items.iter().for_each(|item| note_taken_value(item, taken)),
        Value::Object(map) => {
            for (key, value) in map {
                note_taken(key, taken);
                note_taken_value(value, taken);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
