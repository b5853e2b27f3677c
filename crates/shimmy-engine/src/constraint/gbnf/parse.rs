//! The text of a GBNF grammar to its rules.

use std::collections::HashMap;

use super::{Body, Characters, Grammar, Item, REPETITIONS, RULES, Rule};

/// Whether a rule's name may hold this character.
pub(super) fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Reads a grammar whose rules are all defined, once, and one of which is `root`.
pub(super) fn parse(text: &str) -> Result<Grammar, String> {
    let mut parser = Parser {
        rest: text.trim_start_matches('\u{feff}'),
        line: 1,
        rules: Vec::new(),
        names: HashMap::new(),
    };
    parser.skip(true);
    while !parser.rest.is_empty() {
        parser.definition()?;
        parser.skip(true);
    }
    parser.finish()
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    /// None while a rule is only referred to.
    rules: Vec<Slot>,
    names: HashMap<&'a str, usize>,
}

enum Slot {
    Known(Rule),
    /// Referred to in this line.
    Wanted(usize),
}

/// A group that is not closed yet; the outermost is the rule itself.
struct Open {
    line: usize,
    sequences: Vec<Vec<Item>>,
}

impl Open {
    fn new(line: usize) -> Self {
        Self {
            line,
            sequences: vec![Vec::new()],
        }
    }

    fn sequence(&mut self) -> &mut Vec<Item> {
        if self.sequences.is_empty() {
            self.sequences.push(Vec::new());
        }
        let last = self.sequences.len() - 1;
        &mut self.sequences[last]
    }
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, problem: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("is not valid GBNF: line {}: {problem}", self.line))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn take(&mut self, wanted: &str) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Skips blanks and comments, and line breaks where the grammar may go on behind them.
    fn skip(&mut self, breaks: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => {}
                '\r' | '\n' if breaks => {}
                '#' => {
                    let end = self.rest.find(['\r', '\n']).unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                    continue;
                }
                _ => return,
            }
            self.next();
        }
    }

    fn name(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c| !is_of_name(c));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        (!name.is_empty()).then_some(name)
    }

    /// `name ::= alternatives`, up to the line's end.
    fn definition(&mut self) -> Result<(), String> {
        let line = self.line;
        let Some(name) = self.name() else {
            return self.fail("the name of a rule is missing");
        };
        self.skip(false);
        if !self.take("::=") {
            return self.fail(format_args!("`::=` is missing after `{name}`"));
        }
        self.skip(true);
        let sequences = self.alternatives()?;
        let rule = Rule {
            name: Some(name.to_owned()),
            line,
            body: Body::Choice(sequences),
        };
        let number = self.named(name)?;
        if matches!(self.rules[number], Slot::Known(_)) {
            return Err(format!(
                "is not valid GBNF: line {line}: the rule `{name}` is defined a second time"
            ));
        }
        self.rules[number] = Slot::Known(rule);
        Ok(())
    }

    fn alternatives(&mut self) -> Result<Vec<Vec<Item>>, String> {
        let mut open = vec![Open::new(self.line)];
        loop {
            let is_nested = open.len() > 1;
            self.skip(is_nested);
            let (Some(group), next) = (open.last_mut(), self.peek()) else {
                return Ok(Vec::new());
            };
            match next {
                None if is_nested => {
                    let line = group.line;
                    return self.fail(format_args!("`(` of line {line} is not closed"));
                }
                None => return Ok(std::mem::take(&mut group.sequences)),
                Some('\r' | '\n') => {
                    // The rule ends here, unless the next line goes on with an alternative.
                    let (rest, line) = (self.rest, self.line);
                    self.skip(true);
                    if self.peek() != Some('|') {
                        (self.rest, self.line) = (rest, line);
                        return Ok(std::mem::take(&mut group.sequences));
                    }
                }
                Some('|') => {
                    self.next();
                    self.skip(true);
                    group.sequences.push(Vec::new());
                }
                Some('(') => {
                    self.next();
                    open.push(Open::new(self.line));
                }
                Some(')') => {
                    self.next();
                    let closed = open.pop();
                    let (Some(closed), Some(outer)) = (closed, open.last_mut()) else {
                        return self.fail("`)` closes nothing");
                    };
                    let rule = self.unnamed(closed.line, closed.sequences)?;
                    outer.sequence().push(Item::once(rule));
                }
                Some('*' | '+' | '?' | '{') => {
                    let (least, most) = self.repetition()?;
                    let Some(item) = group.sequence().pop() else {
                        return self.fail("there is nothing to repeat");
                    };
                    let item = Item {
                        least,
                        most,
                        ..item
                    };
                    let rule = self.unnamed(self.line, vec![vec![item]])?;
                    group.sequence().push(Item::once(rule));
                }
                Some(_) => {
                    let rule = self.symbol()?;
                    group.sequence().push(Item::once(rule));
                }
            }
        }
    }

    /// A text, a set of characters or the name of a rule.
    fn symbol(&mut self) -> Result<usize, String> {
        match self.peek() {
            Some('"') => {
                self.next();
                let text = self.text()?;
                self.spelled(&text)
            }
            Some('[') => {
                self.next();
                let (pattern, characters) = self.set()?;
                self.leaf(Body::Set(pattern, characters))
            }
            Some('.') => {
                self.next();
                let pattern = r"(.|\n)".to_owned();
                self.leaf(Body::Set(pattern, Characters::ALL))
            }
            Some('<' | '!') => {
                let end = self.rest.find('>').map_or(self.rest.len(), |end| end + 1);
                let token: String = self.rest[..end].chars().take(60).collect();
                self.fail(format_args!(
                    "references to tokens are not supported: {token}"
                ))
            }
            found => match self.name() {
                Some(name) => self.named(name),
                None => self.fail(format_args!("{:?} is unexpected", found.unwrap_or(' '))),
            },
        }
    }

    /// `*`, `+`, `?`, `{n}`, `{n,}` or `{n,m}`.
    fn repetition(&mut self) -> Result<(u32, Option<u32>), String> {
        match self.next() {
            Some('*') => return Ok((0, None)),
            Some('+') => return Ok((1, None)),
            Some('?') => return Ok((0, Some(1))),
            _ => {}
        }
        self.skip(false);
        let Some(least) = self.number()? else {
            return self.fail("a number must follow `{`");
        };
        self.skip(false);
        let mut most = Some(least);
        if self.take(",") {
            self.skip(false);
            most = self.number()?;
            self.skip(false);
        }
        if !self.take("}") {
            return self.fail("`}` is missing");
        }
        if most.is_some_and(|most| most < least) {
            return self.fail("the second number of a repetition is less than the first");
        }
        Ok((least, most))
    }

    fn number(&mut self) -> Result<Option<u32>, String> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit());
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if digits.is_empty() {
            return Ok(None);
        }
        match digits.parse() {
            Ok(number) if number <= REPETITIONS => Ok(Some(number)),
            _ => self.fail(format_args!(
                "more than {REPETITIONS} repetitions are not supported, got {digits:.20}"
            )),
        }
    }

    /// What stands in quotes.
    fn text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                Some(c) => text.push(c),
                None => return self.fail("a text is not closed"),
            }
        }
    }

    /// What stands in brackets, as a regular expression.
    fn set(&mut self) -> Result<(String, Characters), String> {
        let is_negated = self.take("^");
        let mut pattern = if is_negated { "[^" } else { "[" }.to_owned();
        let mut characters = Characters::default();
        while !self.take("]") {
            let first = self.of_set()?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let last = if is_range {
                self.next();
                self.of_set()?
            } else {
                first
            };
            if last < first {
                return self.fail(format_args!("the range {first:?} to {last:?} is empty"));
            }
            pattern += &format!("\\x{{{:x}}}-\\x{{{:x}}}", first as u32, last as u32);
            characters = characters.with(Characters::range(first, last));
        }
        match (characters.is_empty(), is_negated) {
            (true, true) => Ok((r"(.|\n)".to_owned(), Characters::ALL)),
            (true, false) => self.fail("`[]` allows no character"),
            (false, true) => Ok((pattern + "]", characters.negated())),
            (false, false) => Ok((pattern + "]", characters)),
        }
    }

    fn of_set(&mut self) -> Result<char, String> {
        match self.next() {
            Some('\\') => self.escaped(),
            Some(c) => Ok(c),
            None => self.fail("`[` is not closed"),
        }
    }

    /// The character that an escape stands for; its backslash has been read.
    fn escaped(&mut self) -> Result<char, String> {
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some(c) if c.is_ascii_punctuation() => return Ok(c),
            Some(c) => return self.fail(format_args!("`\\{c}` is no escape")),
            None => return self.fail("a text ends in a backslash"),
        };
        let code = self.rest.get(..digits);
        let code = code.filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(code) = code else {
            return self.fail(format_args!("an escape needs {digits} hexadecimal digits"));
        };
        self.rest = &self.rest[digits..];
        let number = u32::from_str_radix(code, 16).ok();
        match number.and_then(char::from_u32) {
            Some(c) => Ok(c),
            None => self.fail(format_args!("{code} is no character's number")),
        }
    }

    /// The rule of this name, defined or not.
    fn named(&mut self, name: &'a str) -> Result<usize, String> {
        if let Some(&number) = self.names.get(name) {
            return Ok(number);
        }
        let number = self.add(Slot::Wanted(self.line))?;
        self.names.insert(name, number);
        Ok(number)
    }

    fn unnamed(&mut self, line: usize, sequences: Vec<Vec<Item>>) -> Result<usize, String> {
        self.add(Slot::Known(Rule {
            name: None,
            line,
            body: Body::Choice(sequences),
        }))
    }

    /// A text, letter by letter.
    fn spelled(&mut self, text: &str) -> Result<usize, String> {
        let mut letters = Vec::new();
        for letter in text.chars() {
            let leaf = self.leaf(Body::Text(letter.to_string()))?;
            letters.push(Item::once(leaf));
        }
        match letters.as_slice() {
            [] => self.leaf(Body::Text(String::new())),
            [only] => Ok(only.rule),
            _ => self.unnamed(self.line, vec![letters]),
        }
    }

    fn leaf(&mut self, body: Body) -> Result<usize, String> {
        self.add(Slot::Known(Rule {
            name: None,
            line: self.line,
            body,
        }))
    }

    fn add(&mut self, slot: Slot) -> Result<usize, String> {
        if self.rules.len() >= RULES {
            return self.fail(format_args!(
                "more than {RULES} rules, groups and letters are not supported"
            ));
        }
        self.rules.push(slot);
        Ok(self.rules.len() - 1)
    }

    fn finish(self) -> Result<Grammar, String> {
        let names: HashMap<usize, &str> = self.names.iter().map(|(&name, &n)| (n, name)).collect();
        let mut rules = Vec::with_capacity(self.rules.len());
        for (number, slot) in self.rules.into_iter().enumerate() {
            match slot {
                Slot::Known(rule) => rules.push(rule),
                Slot::Wanted(line) => {
                    let name = names.get(&number).copied().unwrap_or_default();
                    return Err(format!(
                        "is not valid GBNF: line {line}: the rule `{name}` is not defined"
                    ));
                }
            }
        }
        match self.names.get("root") {
            Some(&root) => Ok(Grammar { rules, root }),
            None => Err("is not valid GBNF: there is no rule `root`".to_owned()),
        }
    }
}
