//! What can be known of a grammar's rules before it is translated: what they begin with, what may
//! follow, and whether they can be used at all.

use super::{Body, Characters, DEPTH, Grammar, Item, SIZE};

/// What is known of each rule, by its number.
pub(super) struct Facts {
    pub(super) rules: Vec<Fact>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fact {
    /// It can be the empty text.
    pub(super) is_nullable: bool,
    /// There is a text that it describes: not all of it goes on for ever.
    pub(super) is_finite: bool,
    /// No rule that it needs needs itself.
    is_regular: bool,
    /// The characters that it can begin with, that it can hold, and that may come after it.
    first: Characters,
    pub(super) all: Characters,
    follow: Characters,
    /// The characters that can make more of something that already is complete; for regular ones.
    more: Characters,
    /// It can have more than one character; for regular ones.
    is_long: bool,
    /// How many characters it describes with its repetitions written out; for regular ones.
    size: u64,
}

impl Fact {
    /// Whether it can be read as one word: there is an end to it that can be seen.
    pub(super) fn is_word(&self) -> bool {
        self.is_regular && !self.more.meets(self.follow)
    }
}

/// Learns about a grammar all of whose rules are defined.
pub(super) fn analyse(grammar: &Grammar) -> Result<Facts, String> {
    let order = innermost_first(grammar)?;
    let mut facts = Facts {
        rules: vec![Fact::default(); grammar.rules.len()],
    };
    facts.learn(&order, |facts, rule| facts.inner(grammar, rule));
    refuse_left_recursion(grammar, &facts)?;
    if !facts.rules[grammar.root].is_finite {
        return Err("allows no answer at all: `root` never comes to an end".to_owned());
    }
    for &rule in &order {
        if facts.rules[rule].is_regular {
            facts.measure(grammar, rule)?;
        }
    }
    let outermost_first: Vec<usize> = order.into_iter().rev().collect();
    facts.learn(&outermost_first, |facts, rule| facts.outer(grammar, rule));
    Ok(facts)
}

impl Facts {
    /// Takes rounds through the rules until nothing new comes up.
    fn learn(&mut self, order: &[usize], mut visit: impl FnMut(&mut Self, usize) -> bool) {
        loop {
            let news = order.iter().filter(|&&rule| visit(self, rule)).count();
            if news == 0 {
                return;
            }
        }
    }

    /// Learns about a rule from the rules in it; whether there was anything new.
    fn inner(&mut self, grammar: &Grammar, rule: usize) -> bool {
        let mut fact = self.rules[rule];
        match &grammar.rules[rule].body {
            Body::Text(text) => {
                (fact.is_finite, fact.is_regular) = (true, true);
                fact.is_nullable = text.is_empty();
                fact.all = Characters::of(text);
                let first = text.chars().next();
                fact.first = first.map_or_else(Characters::default, |c| Characters::range(c, c));
            }
            Body::Set(_, characters) => {
                (fact.is_finite, fact.is_regular) = (true, true);
                (fact.first, fact.all) = (*characters, *characters);
            }
            Body::Choice(sequences) => {
                let mut items = grammar.rules[rule].items();
                fact.is_regular = items.all(|item| self.rules[item.rule].is_regular);
                for sequence in sequences {
                    let (first, is_nullable) = self.begin(sequence);
                    fact.first = fact.first.with(first);
                    fact.is_nullable |= is_nullable;
                    fact.is_finite |= sequence.iter().all(|&item| self.can_end(item));
                    for item in sequence {
                        fact.all = fact.all.with(self.rules[item.rule].all);
                    }
                }
            }
        }
        let old = std::mem::replace(&mut self.rules[rule], fact);
        let told = |fact: &Fact| (fact.is_nullable, fact.is_finite, fact.is_regular);
        (told(&old), old.first, old.all) != (told(&fact), fact.first, fact.all)
    }

    /// What a sequence can begin with, and whether it can be empty.
    fn begin(&self, sequence: &[Item]) -> (Characters, bool) {
        let mut first = Characters::default();
        for item in sequence {
            first = first.with(self.rules[item.rule].first);
            if !self.can_skip(*item) {
                return (first, false);
            }
        }
        (first, true)
    }

    /// Whether an item can be left behind by a text that comes to an end.
    pub(super) fn can_end(&self, item: Item) -> bool {
        item.least == 0 || self.rules[item.rule].is_finite
    }

    /// Whether two rules can begin with the same character.
    pub(super) fn begin_alike(&self, one: usize, other: usize) -> bool {
        self.rules[one].first.meets(self.rules[other].first)
    }

    /// Whether a rule can go on with what may come after another.
    pub(super) fn leads_past(&self, rule: usize, other: usize) -> bool {
        let fact = &self.rules[rule];
        fact.is_long && fact.all.meets(self.rules[other].follow)
    }

    pub(super) fn can_skip(&self, item: Item) -> bool {
        item.least == 0 || self.rules[item.rule].is_nullable
    }

    /// Tells the rules in a rule what may follow them; whether that was new to any.
    fn outer(&mut self, grammar: &Grammar, rule: usize) -> bool {
        let Body::Choice(sequences) = &grammar.rules[rule].body else {
            return false;
        };
        let mut is_new = false;
        for sequence in sequences {
            let mut follow = self.rules[rule].follow;
            for &item in sequence.iter().rev() {
                let fact = &mut self.rules[item.rule];
                let mut here = fact.follow.with(follow);
                if item.is_repeated() {
                    here = here.with(fact.first);
                }
                is_new |= here != fact.follow;
                fact.follow = here;
                let first = fact.first;
                follow = if self.can_skip(item) {
                    follow.with(first)
                } else {
                    first
                };
            }
        }
        is_new
    }

    /// Learns how long a regular rule can get, and how it can go on where it could end; the rules
    /// in it have been measured.
    fn measure(&mut self, grammar: &Grammar, rule: usize) -> Result<(), String> {
        let mut fact = self.rules[rule];
        match &grammar.rules[rule].body {
            Body::Text(text) => {
                fact.size = text.len() as u64;
                fact.is_long = text.chars().nth(1).is_some();
            }
            Body::Set(..) => fact.size = 1,
            Body::Choice(sequences) => {
                let mut firsts = Characters::default();
                for sequence in sequences {
                    let (first, more) = (self.begin(sequence).0, self.more(sequence));
                    fact.more = fact.more.with(more);
                    if firsts.meets(first) {
                        // One alternative may be the beginning of another.
                        fact.more = fact.more.with(fact.all);
                    }
                    firsts = firsts.with(first);
                    let letters = |item: &&Item| !self.rules[item.rule].all.is_empty();
                    fact.is_long |= sequence.iter().filter(letters).nth(1).is_some();
                    for item in sequence {
                        fact.is_long |= self.rules[item.rule].is_long || item.is_repeated();
                        let times = u64::from(item.most.unwrap_or(item.least).max(1));
                        let size = self.rules[item.rule].size.saturating_mul(times);
                        fact.size = fact.size.saturating_add(size).saturating_add(1);
                    }
                }
            }
        }
        if fact.size > SIZE {
            return Err(format!(
                "is too big: {} stands for more than {SIZE} characters when its repetitions are \
                 written out",
                grammar.rules[rule].shown()
            ));
        }
        self.rules[rule] = fact;
        Ok(())
    }

    fn more(&self, sequence: &[Item]) -> Characters {
        let (mut more, mut all) = (Characters::default(), Characters::default());
        for item in sequence {
            let fact = &self.rules[item.rule];
            all = all.with(fact.all);
            let mut own = fact.more;
            let is_open = item.is_repeated() && item.most != Some(item.least);
            if is_open || item.least == 0 {
                own = own.with(fact.first);
            }
            if item.is_repeated() && (fact.is_nullable || fact.more.meets(fact.first)) {
                own = own.with(fact.all);
            }
            // Where it cannot be seen what ends and what begins, anything may be meant.
            let is_unclear = more.meets(fact.first);
            more = if self.can_skip(*item) {
                more.with(own).with(fact.first)
            } else {
                own
            };
            if is_unclear {
                more = more.with(all);
            }
        }
        more
    }
}

/// The rules that `root` needs, each after those that it needs, as far as there is such an order.
fn innermost_first(grammar: &Grammar) -> Result<Vec<usize>, String> {
    let mut order = Vec::new();
    let mut is_known = vec![false; grammar.rules.len()];
    let visit = |rule: usize| (rule, grammar.rules[rule].items().collect::<Vec<_>>());
    is_known[grammar.root] = true;
    let mut path = vec![visit(grammar.root)];
    while let Some((rule, left)) = path.last_mut() {
        let Some(item) = left.pop() else {
            order.push(*rule);
            path.pop();
            continue;
        };
        if !is_known[item.rule] {
            is_known[item.rule] = true;
            if path.len() >= DEPTH {
                return Err(format!(
                    "is too deep: {} is more than {DEPTH} rules and groups away from `root`",
                    grammar.rules[item.rule].shown()
                ));
            }
            path.push(visit(item.rule));
        }
    }
    Ok(order)
}

/// A rule that can begin with itself is refused, as llama.cpp refuses it.
fn refuse_left_recursion(grammar: &Grammar, facts: &Facts) -> Result<(), String> {
    let begins_with = |rule: usize| {
        let Body::Choice(sequences) = &grammar.rules[rule].body else {
            return Vec::new();
        };
        let mut begins = Vec::new();
        for sequence in sequences {
            for item in sequence {
                begins.push(item.rule);
                if !facts.can_skip(*item) {
                    break;
                }
            }
        }
        begins
    };
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        OnPath,
        Done,
    }
    let mut seen = vec![Seen::Not; grammar.rules.len()];
    for start in 0..grammar.rules.len() {
        if seen[start] != Seen::Not {
            continue;
        }
        seen[start] = Seen::OnPath;
        let mut path = vec![(start, begins_with(start))];
        while let Some((rule, left)) = path.last_mut() {
            let rule = *rule;
            let Some(next) = left.pop() else {
                seen[rule] = Seen::Done;
                path.pop();
                continue;
            };
            match seen[next] {
                Seen::Done => {}
                Seen::Not => {
                    seen[next] = Seen::OnPath;
                    path.push((next, begins_with(next)));
                }
                Seen::OnPath => {
                    let circle = path.iter().skip_while(|(on_path, _)| *on_path != next);
                    let mut named = circle.map(|&(on_path, _)| &grammar.rules[on_path]);
                    let rule = named.find(|rule| rule.name.is_some());
                    return Err(format!(
                        "is left-recursive, which is not supported: {} can begin with itself",
                        rule.unwrap_or(&grammar.rules[next]).shown()
                    ));
                }
            }
        }
    }
    Ok(())
}
