//! What an answer is held to: calls that are required, arguments that must fit, a shape beside
//! thoughts, all in the model's own notation.
//!
//! Nothing here is Lark by hand; `shimmy_engine::lark` puts it together. What a schema asks and
//! cannot be enforced is found when the constraint is compiled.

use serde_json::{Map, Value, json};
use shimmy_engine::lark::{Expression, Grammar};
use shimmy_engine::{Constraint, Token};

use crate::notation::{Blocks, Body, Form, Notation, Sections, Spelling};
use crate::plan::HeldSchema;
use crate::request::{Tool, ToolChoice};
use crate::thinking::ThoughtMarks;

/// Most calls of one answer where calls are required. A small model has no sense of when to end.
const MOST_CALLS: u32 = 8;

/// What an answer may be held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) notation: &'static Notation,
    /// What may be called.
    pub(crate) tools: &'a [Tool],
    pub(crate) choice: &'a ToolChoice,
    pub(crate) only_one_call: bool,
    /// The shape of the text.
    pub(crate) shape: Option<&'a Constraint>,
    pub(crate) thoughts: Thoughts,
    /// Whether the model is asked to think. Thoughts may be endless, so what must have a shape has
    /// none that nobody asked for.
    pub(crate) wants_thoughts: bool,
    /// The control tokens among the marks.
    pub(crate) tokens: &'a [(String, Token)],
}

/// The thoughts that an answer may begin with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Thoughts {
    None,
    /// The prompt has opened them.
    Open(&'static ThoughtMarks),
    /// They may come.
    Possible(&'static ThoughtMarks),
}

/// What an answer is held to.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) constraint: Constraint,
    /// Whether it makes calls well-formed.
    pub(crate) covers_calls: bool,
    /// The schemas that are parts of it.
    pub(crate) schemas: Vec<HeldSchema>,
}

impl Wish<'_> {
    /// The constraint; none where the answer is free.
    pub(crate) fn hold(&self) -> Option<Hold> {
        let must_call = self.choice.is_a_must();
        let may_call = !self.tools.is_empty();
        let is_strict = may_call && (must_call || self.tools.iter().any(|tool| tool.strict));
        let is_free = self.shape.is_none() && !is_strict;
        if is_free {
            return None;
        }
        if let (Some(Constraint::Grammar(_) | Constraint::Regex(_)), false) =
            (self.shape, must_call)
        {
            // A grammar of the request's own says all that may be in the answer.
            return self.alone();
        }
        let has_thoughts = !matches!(self.thoughts, Thoughts::None)
            || matches!(self.notation.form, Form::Sections(_));
        if !may_call && !has_thoughts {
            return self.alone();
        }
        let mut writer = Writer {
            wish: *self,
            grammar: Grammar::default(),
            arguments: Vec::new(),
            schemas: Vec::new(),
        };
        let rest = match (must_call, may_call) {
            (true, _) => writer.calls(),
            (false, true) if self.shape.is_some() => {
                Expression::one_of([writer.calls(), writer.text()])
            }
            (false, true) => Expression::one_of([writer.calls_after_text(), writer.text()]),
            (false, false) => writer.text(),
        };
        let thoughts = writer.thoughts();
        let start = Expression::sequence(thoughts.into_iter().chain([rest]));
        Some(Hold {
            constraint: writer.grammar.finish(start),
            covers_calls: may_call,
            schemas: writer.schemas,
        })
    }

    /// The shape and nothing beside it.
    fn alone(&self) -> Option<Hold> {
        self.shape.cloned().map(|constraint| Hold {
            constraint,
            covers_calls: false,
            schemas: Vec::new(),
        })
    }
}

struct Writer<'a> {
    wish: Wish<'a>,
    grammar: Grammar,
    /// What the arguments of each tool must be, once a call has been written.
    arguments: Vec<Expression>,
    schemas: Vec<HeldSchema>,
}

impl Writer<'_> {
    /// A text with its control tokens.
    fn marked(&self, text: &str) -> Expression {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((at, name, token)) = self.first_token(rest) {
            if at > 0 {
                parts.push(Expression::literal(&rest[..at]));
            }
            parts.push(Expression::token(token));
            rest = &rest[at + name.len()..];
        }
        if !rest.is_empty() {
            parts.push(Expression::literal(rest));
        }
        Expression::sequence(parts)
    }

    /// The first control token in a text, the longest of those that begin there.
    fn first_token(&self, text: &str) -> Option<(usize, &str, Token)> {
        let tokens = self.wish.tokens.iter();
        let found = tokens.filter_map(|(name, token)| Some((text.find(name)?, name, *token)));
        let (at, name, token) =
            found.min_by_key(|(at, name, _)| (*at, std::cmp::Reverse(name.len())))?;
        Some((at, name, token))
    }

    /// Any text up to `end`, and `end`.
    fn text_to(&mut self, end: &str) -> Expression {
        match self.first_token(end).map(|(at, ..)| at) {
            Some(0) => Expression::sequence([Expression::text(), self.marked(end)]),
            at => {
                let (head, tail) = end.split_at(at.unwrap_or(end.len()));
                let head = self.grammar.text_until(head);
                Expression::sequence([head, self.marked(tail)])
            }
        }
    }

    /// The thoughts in front, if there can be any.
    fn thoughts(&mut self) -> Option<Expression> {
        let wants_thoughts = self.wish.wants_thoughts;
        if let Form::Sections(Sections {
            thoughts: Some((open, close)),
            ..
        }) = self.wish.notation.form
            && wants_thoughts
        {
            let rest = self.text_to(close);
            return Some(Expression::sequence([self.marked(open), rest]).optional());
        }
        match self.wish.thoughts {
            Thoughts::None => None,
            Thoughts::Open(marks) => Some(self.end_of_thoughts(marks)),
            Thoughts::Possible(_) if !wants_thoughts => None,
            Thoughts::Possible(marks) => {
                let rest = self.end_of_thoughts(marks);
                Some(Expression::sequence([self.marked(marks.open), rest]).optional())
            }
        }
    }

    fn end_of_thoughts(&mut self, marks: &ThoughtMarks) -> Expression {
        let thoughts = self.text_to(marks.close);
        let blank = Expression::regex(r"\s{0,2}");
        let wrap = marks.wraps.first().map(|wrap| self.marked(wrap).optional());
        Expression::sequence([thoughts, blank].into_iter().chain(wrap))
    }

    /// What is said to the user where nothing is called.
    fn text(&mut self) -> Expression {
        let text = match self.wish.shape {
            Some(Constraint::JsonObject) => Expression::schema(&json!({ "type": "object" })),
            Some(Constraint::JsonSchema(schema)) => self.held(None, schema.clone()),
            // One of these is never written with anything else.
            Some(Constraint::Grammar(_) | Constraint::Regex(_)) | None => self.free_text(),
        };
        match &self.wish.notation.form {
            Form::Sections(sections) => Expression::sequence([self.marked(sections.text), text]),
            Form::Blocks(_) => text,
        }
    }

    /// JSON that fits a schema, which is noted.
    fn held(&mut self, tool: Option<String>, schema: Value) -> Expression {
        let expression = Expression::schema(&schema);
        self.schemas.push(HeldSchema { tool, schema });
        expression
    }

    /// Text that begins no call.
    fn free_text(&mut self) -> Expression {
        match &self.wish.notation.form {
            Form::Sections(sections) => self.grammar.text_without(sections.starts.iter().copied()),
            // The first character decides whether it is a call.
            Form::Blocks(blocks) if blocks.bare => Expression::regex(r"(\s*[^\s\[{](.|\n)*)?"),
            Form::Blocks(blocks) => self.grammar.text_without(marks(blocks)),
        }
    }

    /// The calls, and nothing else.
    fn calls(&mut self) -> Expression {
        let open = self.wish.notation.spelling.open;
        let first = self.call(open, "");
        self.more_calls(first)
    }

    /// Calls with or without text in front of them.
    fn calls_after_text(&mut self) -> Expression {
        let spelling = self.wish.notation.spelling;
        let lead = match &self.wish.notation.form {
            Form::Sections(_) => None,
            Form::Blocks(blocks) => {
                let beginning = format!("{}{}", spelling.open, spelling.call);
                marks(blocks).find(|mark| beginning.starts_with(mark))
            }
        };
        let Some(mark) = lead else {
            return self.calls();
        };
        let text = self.text_to(mark);
        let first = self.call(spelling.open, mark);
        let calls = self.more_calls(first);
        Expression::sequence([text, calls])
    }

    /// The first call, and more where there may be more.
    fn more_calls(&mut self, first: Expression) -> Expression {
        let spelling = self.wish.notation.spelling;
        let mut parts = vec![first];
        if let Some(between) = spelling.between
            && !self.wish.only_one_call
        {
            let next = self.call(between, "");
            parts.push(next.repeated(0, Some(MOST_CALLS - 1)));
        }
        parts.push(self.marked(spelling.close));
        Expression::sequence(parts)
    }

    /// One call of any tool that may be called, after `lead`; without `said`, which has been said.
    fn call(&mut self, lead: &str, said: &str) -> Expression {
        if self.arguments.is_empty() {
            let schemas = self
                .callable()
                .map(|tool| (tool.name.clone(), self.schema(tool)));
            for (tool, schema) in schemas.collect::<Vec<_>>() {
                let arguments = self.held(Some(tool), schema);
                self.arguments.push(self.grammar.rule(arguments));
            }
        }
        let calls = self.callable().zip(&self.arguments);
        let calls: Vec<Expression> = calls
            .map(|(tool, arguments)| self.call_of(&tool.name, arguments, lead, said))
            .collect();
        self.grammar.rule(Expression::one_of(calls))
    }

    /// The tools that may be called.
    fn callable(&self) -> impl Iterator<Item = &Tool> {
        let named = match self.wish.choice {
            ToolChoice::Named(name) => Some(name),
            _ => None,
        };
        let tools = self.wish.tools.iter();
        tools.filter(move |tool| named.is_none_or(|name| *name == tool.name))
    }

    fn call_of(&self, name: &str, arguments: &Expression, lead: &str, said: &str) -> Expression {
        let call = self.wish.notation.spelling.call;
        let (before, rest) = call.split_once(Spelling::NAME).unwrap_or((call, ""));
        let (between, after) = rest.split_once(Spelling::ARGUMENTS).unwrap_or((rest, ""));
        let before = format!("{lead}{before}");
        let before = before.strip_prefix(said).unwrap_or(&before);
        // As in a JSON string, where most notations have it; other names need no escapes.
        let name = Value::from(name).to_string();
        let name = Expression::literal(name.trim_matches('"'));
        Expression::sequence([
            self.marked(before),
            name,
            self.marked(between),
            arguments.clone(),
            self.marked(after),
        ])
    }

    /// What the arguments must be: all that the schema asks where calls are required, or the tool
    /// wants it; else any object.
    fn schema(&self, tool: &Tool) -> Value {
        if !self.wish.choice.is_a_must() && !tool.strict {
            return json!({ "type": "object" });
        }
        let mut schema = tool.parameters.clone();
        if let Some(schema) = schema.as_object_mut() {
            // Arguments are an object, whatever else the schema leaves open.
            schema.insert("type".to_owned(), json!("object"));
            if names_all(schema) {
                schema.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        schema
    }
}

/// Whether a tool's arguments are those that its schema lists. To JSON Schema an object that does not
/// say otherwise may have any others too; to a function they are arguments that it does not take.
fn names_all(schema: &Map<String, Value>) -> bool {
    let Some(listed) = schema.get("properties").and_then(Value::as_object) else {
        return false;
    };
    let mut required = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let is_listed = |name: &Value| name.as_str().is_some_and(|name| listed.contains_key(name));
    required.all(is_listed) && !NAMES_ELSEWHERE.iter().any(|key| schema.contains_key(*key))
}

/// Where a schema says or may say what else an object has.
const NAMES_ELSEWHERE: &[&str] = &[
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
];

/// The marks that begin a call.
fn marks(blocks: &Blocks) -> impl Iterator<Item = &'static str> {
    let starts = blocks.bodies.iter().filter_map(Body::start);
    blocks.opens.iter().copied().chain(starts)
}

#[cfg(test)]
mod tests;
