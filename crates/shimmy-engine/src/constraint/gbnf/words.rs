//! Which parts of a grammar are read as one word.
//!
//! A reader that takes the longest word it can must never be led past the end of another word that
//! was meant. That can happen where two words may come at the same place, begin alike, and one
//! goes on with what may follow the other; then the one that goes on is taken apart.

use std::collections::HashSet;

use super::analysis::Facts;
use super::{Body, Grammar, Item};

/// Rounds of taking apart; after the last one, every word that is in the way has been.
const ROUNDS: usize = 12;

/// Most words, and most places with their own choice of words, that are compared.
const WORDS: usize = 3000;
const PLACES: usize = 3000;

/// A set of words by their numbers.
type Set = Vec<u64>;

/// Whether each rule is a word, as far as rules are needed.
pub(super) fn choose(grammar: &Grammar, facts: &Facts) -> Vec<bool> {
    let mut is_word: Vec<bool> = facts
        .rules
        .iter()
        .map(super::analysis::Fact::is_word)
        .collect();
    for _ in 0..ROUNDS {
        let Some(in_the_way) = Places::new(grammar, facts, &is_word).in_the_way() else {
            break;
        };
        if in_the_way.is_empty() {
            break;
        }
        for rule in in_the_way {
            is_word[rule] = false;
        }
    }
    is_word
}

/// Which words may come at the same place.
struct Places<'a> {
    facts: &'a Facts,
    /// The rules that are words, where they are needed.
    words: Vec<usize>,
    start: Set,
    /// What may come after each word.
    next: Vec<Set>,
}

impl<'a> Places<'a> {
    fn new(grammar: &Grammar, facts: &'a Facts, is_word: &[bool]) -> Self {
        let (words, order) = needed(grammar, is_word);
        if words.len() > WORDS {
            // Too many to compare. What is given still fits the grammar.
            return Self {
                facts,
                words: Vec::new(),
                start: Set::new(),
                next: Vec::new(),
            };
        }
        let empty = vec![0; words.len().div_ceil(64)];
        let mut first = vec![Set::new(); grammar.rules.len()];
        let mut follow = vec![Set::new(); grammar.rules.len()];
        for &rule in words.iter().chain(&order) {
            (first[rule], follow[rule]) = (empty.clone(), empty.clone());
        }
        for (number, &rule) in words.iter().enumerate() {
            first[rule][number / 64] |= 1 << (number % 64);
        }
        let sequences = |rule: usize| match &grammar.rules[rule].body {
            Body::Choice(sequences) => sequences.as_slice(),
            Body::Text(_) | Body::Set(..) => &[],
        };
        let mut is_new = true;
        while is_new {
            is_new = false;
            for &rule in &order {
                for sequence in sequences(rule) {
                    for &item in sequence {
                        let begin = first[item.rule].clone();
                        is_new |= add(&mut first[rule], &begin);
                        if !facts.can_skip(item) {
                            break;
                        }
                    }
                }
            }
        }
        let mut is_new = true;
        while is_new {
            is_new = false;
            for &rule in order.iter().rev() {
                for sequence in sequences(rule) {
                    let mut after = follow[rule].clone();
                    for &item in sequence.iter().rev() {
                        let begin = first[item.rule].clone();
                        is_new |= add(&mut follow[item.rule], &after);
                        if Item::is_repeated(item) {
                            is_new |= add(&mut follow[item.rule], &begin);
                        }
                        if !facts.can_skip(item) {
                            after.clone_from(&empty);
                        }
                        add(&mut after, &begin);
                    }
                }
            }
        }
        let next = words.iter().map(|&rule| std::mem::take(&mut follow[rule]));
        Self {
            facts,
            next: next.collect(),
            start: std::mem::take(&mut first[grammar.root]),
            words,
        }
    }

    /// The rules that would lead a reader past the end of a word; none if there are too many
    /// places to look at.
    fn in_the_way(&self) -> Option<HashSet<usize>> {
        let mut found = HashSet::new();
        let mut known = HashSet::from([self.start.clone()]);
        let mut places = vec![self.start.clone()];
        while let Some(place) = places.pop() {
            let members: Vec<usize> = members(&place).collect();
            for &one in &members {
                let mut after = vec![0; place.len()];
                for &other in &members {
                    let (a, b) = (self.words[one], self.words[other]);
                    if !self.facts.begin_alike(a, b) {
                        continue;
                    }
                    // Either may be what was read.
                    add(&mut after, &self.next[other]);
                    if one != other && self.facts.leads_past(b, a) {
                        found.insert(b);
                    }
                }
                if known.len() < PLACES && known.insert(after.clone()) {
                    places.push(after);
                }
            }
        }
        (known.len() < PLACES).then_some(found)
    }
}

/// The words that `root` needs, and the other rules, innermost first as far as there is an order.
fn needed(grammar: &Grammar, is_word: &[bool]) -> (Vec<usize>, Vec<usize>) {
    let (mut words, mut order) = (Vec::new(), Vec::new());
    let mut is_known = vec![false; grammar.rules.len()];
    let mut path = vec![(grammar.root, false)];
    while let Some((rule, is_left)) = path.pop() {
        if is_left {
            order.push(rule);
        } else if !std::mem::replace(&mut is_known[rule], true) {
            if is_word[rule] {
                words.push(rule);
            } else {
                path.push((rule, true));
                path.extend(grammar.rules[rule].items().map(|item| (item.rule, false)));
            }
        }
    }
    (words, order)
}

/// Adds a set to another; whether that was new to it.
fn add(set: &mut Set, more: &Set) -> bool {
    let mut is_new = false;
    for (words, more) in set.iter_mut().zip(more) {
        is_new |= more & !*words != 0;
        *words |= more;
    }
    is_new
}

fn members(set: &Set) -> impl Iterator<Item = usize> {
    let blocks = set.iter().enumerate();
    blocks.flat_map(|(block, &bits)| {
        let set = (0..64).filter(move |bit| bits >> bit & 1 == 1);
        set.map(move |bit| block * 64 + bit)
    })
}
