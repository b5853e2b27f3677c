//! Rules as Lark: words as terminals, in capitals, and everything else as rules.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::analysis::Facts;
use super::{Body, Grammar, Item};
use crate::lark::quoted;

/// Writes the rules that `root` needs.
pub(super) fn write(grammar: &Grammar, facts: &Facts, is_word: &[bool]) -> String {
    let mut writer = Writer {
        grammar,
        facts,
        is_word,
        text: String::new(),
        known: HashSet::new(),
        waiting: Vec::new(),
    };
    let root = writer.in_rule(Item::once(grammar.root));
    let start = format!("start: {root}\n");
    while let Some(definition) = writer.waiting.pop() {
        writer.define(definition);
    }
    start + &writer.text
}

struct Writer<'a> {
    grammar: &'a Grammar,
    facts: &'a Facts,
    is_word: &'a [bool],
    text: String,
    known: HashSet<Definition>,
    waiting: Vec<Definition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Definition {
    Rule(usize),
    Terminal(usize),
    /// A terminal without the empty text: Lark's rules want words to have letters.
    NotEmpty(usize),
}

impl Writer<'_> {
    fn refer(&mut self, definition: Definition) -> String {
        if self.known.insert(definition) {
            self.waiting.push(definition);
        }
        match definition {
            Definition::Rule(rule) => format!("r{rule}"),
            Definition::Terminal(rule) => format!("T{rule}"),
            Definition::NotEmpty(rule) => format!("N{rule}"),
        }
    }

    fn define(&mut self, definition: Definition) {
        let name = self.refer(definition);
        let body = match definition {
            Definition::Rule(rule) => self.body(rule, Self::in_rule),
            Definition::Terminal(rule) => self.body(rule, Self::in_terminal),
            Definition::NotEmpty(rule) => {
                let terminal = self.in_terminal(Item::once(rule));
                format!(r"{terminal} & /(.|\n)+/")
            }
        };
        // A `String` takes whatever is written.
        let _ = writeln!(self.text, "{name}: {body}");
    }

    fn body(&mut self, rule: usize, mut item: impl FnMut(&mut Self, Item) -> String) -> String {
        match &self.grammar.rules[rule].body {
            Body::Text(text) => quoted(text),
            Body::Set(pattern, _) => format!("/{pattern}/"),
            Body::Choice(sequences) => {
                let mut alternatives = Vec::with_capacity(sequences.len());
                for sequence in sequences {
                    // What never comes to an end would lead an answer astray.
                    if !sequence.iter().all(|&item| self.facts.can_end(item)) {
                        continue;
                    }
                    let facts = self.facts;
                    let finite = sequence
                        .iter()
                        .filter(|item| facts.rules[item.rule].is_finite);
                    let items: Vec<String> = finite.map(|&i| item(self, i)).collect();
                    alternatives.push(match items.is_empty() {
                        true => quoted(""),
                        false => items.join(" "),
                    });
                }
                alternatives.join(" | ")
            }
        }
    }

    /// An item of a rule, which is a word if it can be.
    fn in_rule(&mut self, item: Item) -> String {
        let fact = &self.facts.rules[item.rule];
        if fact.all.is_empty() && fact.is_nullable {
            return quoted("");
        }
        let one = match (self.is_word[item.rule], fact.is_nullable) {
            (false, _) => self.refer(Definition::Rule(item.rule)),
            (true, false) => self.in_terminal(Item::once(item.rule)),
            (true, true) => format!("({}?)", self.refer(Definition::NotEmpty(item.rule))),
        };
        repeated(one, item)
    }

    fn in_terminal(&mut self, item: Item) -> String {
        let one = match &self.grammar.rules[item.rule].body {
            Body::Text(text) => quoted(text),
            Body::Set(pattern, _) => format!("/{pattern}/"),
            Body::Choice(_) => self.refer(Definition::Terminal(item.rule)),
        };
        repeated(one, item)
    }
}

fn repeated(one: String, item: Item) -> String {
    match (item.least, item.most) {
        (1, Some(1)) => one,
        // Lark refuses a count of zero.
        (_, Some(0)) => quoted(""),
        (0, Some(1)) => format!("{one}?"),
        (0, None) => format!("{one}*"),
        (1, None) => format!("{one}+"),
        (least, None) => format!("{one}{{{least},}}"),
        (least, Some(most)) => format!("{one}{{{least},{most}}}"),
    }
}
