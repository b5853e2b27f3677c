//! Grammars put together from pieces, each of which is quoted where it is made.
//!
//! Whoever needs a language that depends on foreign text (names of tools, their schemas, a
//! model's markers) builds it here and never writes Lark by hand. What comes out is checked like
//! any other grammar when it is compiled; see <https://github.com/guidance-ai/llguidance> for the
//! language.

use std::fmt::Write as _;

use llguidance::regex_to_lark;
use serde_json::Value;

use crate::constraint::compact;
use crate::params::Constraint;
use crate::runner::Token;

/// Rules that belong together. Make [`Expression`]s, name some of them, and [`finish`] with the
/// one that the whole answer must fit.
///
/// ```
/// use shimmy_engine::lark::{Expression, Grammar};
///
/// let mut grammar = Grammar::default();
/// let arguments = grammar.rule(Expression::schema(&serde_json::json!({ "type": "object" })));
/// let thoughts = grammar.text_until("</think>");
/// let call = Expression::sequence([
///     Expression::literal("<tool_call>{\"name\": \"weather\", \"arguments\": "),
///     arguments,
///     Expression::literal("}</tool_call>"),
/// ]);
/// let constraint = grammar.finish(Expression::sequence([thoughts, call]));
/// ```
///
/// [`finish`]: Self::finish
#[derive(Debug, Clone, Default)]
pub struct Grammar {
    rules: String,
    count: usize,
}

impl Grammar {
    /// Gives an expression a name, and returns a reference to it: for what is used more than
    /// once, and for what is deep, since groups may be nested some 25 deep only.
    pub fn rule(&mut self, expression: Expression) -> Expression {
        self.define("rule", "", &expression.text)
    }

    /// Any text up to and including the first occurrence of `end`.
    ///
    /// This is for a place where nothing else may come, but for
    /// [`text_without`](Self::text_without) the same text: an answer is read a word of the grammar
    /// at a time, as long a one as can be, and free text outlasts whatever it begins with.
    pub fn text_until(&mut self, end: &str) -> Expression {
        let suffix = format!("[suffix={}]", quoted(end));
        self.define("rule", &suffix, ANY_TEXT)
    }

    /// Any text, also none, in which none of these occurs: the end of an answer, for it takes
    /// what would follow for itself. Text with calls in it is
    /// `(text_until("<call>") call)* text_without(["<call>"])`.
    pub fn text_without<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) -> Expression {
        let texts: Vec<String> = texts
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(|text| format!("({ANY_TEXT} {} {ANY_TEXT})", quoted(text)))
            .collect();
        // What does not occur in valid text might in bytes that are none.
        let body = match texts.as_slice() {
            [] => ANY_TEXT.to_owned(),
            texts => format!("{ANY_TEXT} & ~({})", texts.join(" | ")),
        };
        self.define("TEXT", "", &body)
    }

    fn define(&mut self, kind: &str, attributes: &str, body: &str) -> Expression {
        let name = format!("{kind}_{}", self.count);
        self.count += 1;
        // A `String` takes whatever is written.
        let _ = writeln!(self.rules, "{name}{attributes}: {body}");
        Expression::atom(name)
    }

    /// The constraint of an answer that fits `start`.
    pub fn finish(self, start: Expression) -> Constraint {
        Constraint::Grammar(format!("start: {}\n{}", start.text, self.rules))
    }
}

/// Any text at all; a dot alone stops at a line's end.
const ANY_TEXT: &str = r"/(.|\n)*/";

/// A part of a grammar: what may come at one place of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    text: String,
    binding: Binding,
}

/// How tightly an expression holds together, loosest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Choice,
    Sequence,
    Repetition,
    Atom,
}

impl Expression {
    fn new(text: String, binding: Binding) -> Self {
        Self { text, binding }
    }

    fn atom(text: impl Into<String>) -> Self {
        Self::new(text.into(), Binding::Atom)
    }

    /// The expression where something that holds at least so tightly must stand.
    fn within(self, binding: Binding) -> String {
        if self.binding >= binding {
            self.text
        } else {
            format!("({})", self.text)
        }
    }

    /// Exactly this text, whatever is in it. Control tokens are no text; see
    /// [`token`](Self::token).
    pub fn literal(text: &str) -> Self {
        Self::atom(quoted(text))
    }

    /// Text that matches a regular expression from its first to its last character.
    pub fn regex(pattern: &str) -> Self {
        if pattern.is_empty() {
            // Two slashes with nothing between them begin a comment.
            return Self::literal("");
        }
        Self::atom(format!("/{}/", regex_to_lark(pattern, "")))
    }

    /// JSON that fits a schema, laid out as with [`Constraint::JsonSchema`].
    pub fn schema(schema: &Value) -> Self {
        Self::atom(format!("%json {}", compact(schema.clone())))
    }

    /// This very token, which may be a control token.
    pub fn token(token: Token) -> Self {
        Self::atom(format!("<[{token}]>"))
    }

    /// Any text, also none.
    pub fn text() -> Self {
        Self::atom(ANY_TEXT)
    }

    /// One after the other; none is the empty text.
    pub fn sequence(parts: impl IntoIterator<Item = Expression>) -> Self {
        Self::joined(parts, Binding::Sequence, " ")
    }

    /// One of these; of none, the empty text.
    pub fn one_of(alternatives: impl IntoIterator<Item = Expression>) -> Self {
        Self::joined(alternatives, Binding::Choice, " | ")
    }

    fn joined(
        parts: impl IntoIterator<Item = Expression>,
        binding: Binding,
        separator: &str,
    ) -> Self {
        let mut parts: Vec<Expression> = parts.into_iter().collect();
        match (parts.pop(), parts.is_empty()) {
            (None, _) => Self::literal(""),
            (Some(only), true) => only,
            (Some(last), false) => {
                parts.push(last);
                let parts: Vec<String> = parts.into_iter().map(|p| p.within(binding)).collect();
                Self::new(parts.join(separator), binding)
            }
        }
    }

    /// This or nothing.
    pub fn optional(self) -> Self {
        self.repeated(0, Some(1))
    }

    /// This at least `least` times, and at most `most` times if there is a limit.
    pub fn repeated(self, least: u32, most: Option<u32>) -> Self {
        let operator = match (least, most) {
            // A count of zero is an error in Lark.
            (_, Some(0)) => return Self::literal(""),
            (0, Some(1)) => "?".to_owned(),
            (0, None) => "*".to_owned(),
            (1, None) => "+".to_owned(),
            (least, None) => format!("{{{least},}}"),
            (least, Some(most)) => format!("{{{least},{most}}}"),
        };
        let text = self.within(Binding::Atom) + &operator;
        Self::new(text, Binding::Repetition)
    }
}

/// A string as Lark reads it: JSON's syntax, with DEL escaped too.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', r"\u007f")
}

#[cfg(all(test, feature = "stub"))]
mod tests;
