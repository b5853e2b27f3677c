//! llama.cpp's GBNF, translated to Lark.
//!
//! GBNF matches character by character; Lark's rules are read in words of its terminals, each as
//! long as can be. So the translation has to say what the words are: the largest parts of the
//! grammar without recursion that cannot swallow what may follow them or another word. A grammar
//! without any recursion is one such word.
//!
//! The language is that of llama.cpp's `grammars/README.md`. Nothing here recurses: a grammar is
//! foreign text.

mod analysis;
mod characters;
mod parse;
mod words;
mod write;

use characters::Characters;

/// Most rules of a grammar; groups, repetitions and the letters of texts count too.
const RULES: usize = 100_000;

/// How deep rules may refer to rules.
const DEPTH: usize = 1000;

/// Most characters of what a part without recursion describes, with its repetitions written out.
const SIZE: u64 = 200_000;

/// Most repetitions of one part.
const REPETITIONS: u32 = 10_000;

/// Whether a grammar is GBNF: its first rule is defined by `::=`.
///
/// Lark defines its rules by `:`, and begins with a rule or with a `%` directive, so the two can
/// be told apart by the first definition.
pub(super) fn is_gbnf(text: &str) -> bool {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    while rest.starts_with('#') || rest.starts_with("//") {
        let end = rest.find('\n').unwrap_or(rest.len());
        rest = rest[end..].trim_start();
    }
    let after = rest.trim_start_matches(parse::is_of_name);
    after.len() < rest.len() && after.trim_start().starts_with("::=")
}

/// The same language in Lark, or what is wrong, as the end of a sentence.
pub(super) fn to_lark(text: &str) -> Result<String, String> {
    let grammar = parse::parse(text)?;
    let facts = analysis::analyse(&grammar)?;
    let is_word = words::choose(&grammar, &facts);
    Ok(write::write(&grammar, &facts, &is_word))
}

/// Rules by number; groups and repetitions are rules without a name.
struct Grammar {
    rules: Vec<Rule>,
    root: usize,
}

struct Rule {
    name: Option<String>,
    /// Where it begins, counted from 1.
    line: usize,
    body: Body,
}

enum Body {
    /// This text, of one character or none: that of longer ones is a sequence.
    Text(String),
    /// One character of this regular expression.
    Set(String, Characters),
    /// One of these sequences.
    Choice(Vec<Vec<Item>>),
}

/// A rule in a sequence, repeated.
#[derive(Clone, Copy)]
struct Item {
    rule: usize,
    least: u32,
    most: Option<u32>,
}

impl Item {
    fn once(rule: usize) -> Self {
        Self {
            rule,
            least: 1,
            most: Some(1),
        }
    }

    fn is_repeated(self) -> bool {
        self.most.is_none_or(|most| most > 1)
    }
}

impl Rule {
    fn items(&self) -> impl Iterator<Item = Item> {
        let sequences = match &self.body {
            Body::Choice(sequences) => sequences.as_slice(),
            Body::Text(_) | Body::Set(..) => &[],
        };
        sequences.iter().flatten().copied()
    }

    /// How a message names it.
    fn shown(&self) -> String {
        match &self.name {
            Some(name) => format!("the rule `{name}` (line {})", self.line),
            None => format!("the group in line {}", self.line),
        }
    }
}

#[cfg(test)]
mod tests;
