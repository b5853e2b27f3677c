//! Jinja as Hugging Face's `apply_chat_template` sets it up, with limits on what it may use.
//!
//! A template comes with a model that anyone may have made, so it gets no loader, no way to other
//! files and a budget for time and memory. This file owns those settings and the functions that
//! templates are given; it must not know messages, roles or special tokens.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat;

use super::go;
use super::json::tojson;
use crate::error::TemplateError;

/// Tells the time to templates that ask for today's date; a function, so that tests can fix it.
pub type Clock = fn() -> jiff::Zoned;

const NAME: &str = "chat";

/// Nesting a value once more takes at least seven steps, and freeing it at most 500 bytes of stack
/// without optimisation. Only what is used becomes memory.
const STACK_BYTES_PER_FUEL: usize = 128;

/// What one rendering may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Steps; 64 bytes of text cost as much as one. Bounds time and memory.
    pub(super) fuel: u64,
    /// Bytes of rendered text.
    pub(super) output: usize,
}

/// A compiled template.
#[derive(Debug)]
pub(super) struct Program {
    environment: Environment<'static>,
}

impl Program {
    pub(super) fn compile(source: &str, clock: Clock) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|error| syntax_error(&error))?,
        );
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(python_method);
        // Shows the whole context, which Jinja2 does not offer either.
        environment.remove_global("debug");
        // Walks nested values again at every level, unpaid; no template prints for people.
        environment.remove_filter("pprint");
        environment.add_filter("tojson", tojson);
        environment.add_test("sequence", is_sequence);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", move |format: &str| {
            strftime(&clock(), format)
        });
        go::add_to(&mut environment);
        environment
            .add_template_owned(NAME, prepare(source))
            .map_err(|error| syntax_error(&error))?;
        Ok(Self { environment })
    }

    /// The names of the variables that the template reads and does not set itself.
    pub(super) fn variables(&self) -> HashSet<String> {
        self.environment
            .get_template(NAME)
            .map(|template| template.undeclared_variables(false))
            .unwrap_or_default()
    }

    /// Renders once, on a thread with a stack for the worst that the budget can buy.
    ///
    /// A template can nest a list in a list as long as its fuel lasts, and the engine walks and
    /// frees values by recursion: on a server's own thread that would end the process.
    pub(super) fn run(&self, context: Value, budget: Budget) -> Result<String, TemplateError> {
        let stack = usize::try_from(budget.fuel).unwrap_or(usize::MAX);
        let stack = stack.saturating_mul(STACK_BYTES_PER_FUEL);
        let failed = |reason: &str| TemplateError::Render {
            reason: reason.to_owned(),
        };
        thread::scope(|scope| {
            thread::Builder::new()
                .name("chat-template".to_owned())
                .stack_size(stack)
                .spawn_scoped(scope, || self.run_here(context, budget))
                .map_err(|_| failed("there is no memory for the template's stack"))?
                .join()
                .map_err(|_| failed("the template engine failed"))?
        })
    }

    fn run_here(&self, context: Value, budget: Budget) -> Result<String, TemplateError> {
        // The budget belongs to a rendering, but is set on the environment; a clone shares all
        // that is large.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(budget.fuel));
        let mut out = Capped {
            bytes: Vec::new(),
            limit: budget.output,
            is_over: false,
        };
        let result = environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(context, &mut out).map(drop));
        if out.is_over {
            return Err(TemplateError::TooLong {
                limit: budget.output,
            });
        }
        result.map_err(|error| render_error(&error))?;
        String::from_utf8(out.bytes).map_err(|error| TemplateError::Render {
            reason: error.to_string(),
        })
    }
}

/// Source in the form that the engine takes: Jinja2 reads every line ending as `\n`, and Hugging
/// Face's `generation` blocks mark text for training without changing it.
fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let inner_end = tag.find("%}").unwrap_or(tag.len());
        let inner = &tag[2..inner_end];
        // A block that is always taken keeps the tag's own whitespace control at work.
        match inner.trim_matches(['-', '+']).trim() {
            "generation" => out.push_str(&format!("{{%{}", inner.replace("generation", "if true"))),
            "endgeneration" => {
                out.push_str(&format!("{{%{}", inner.replace("endgeneration", "endif")));
            }
            _ => out.push_str(&tag[..inner_end]),
        }
        rest = &tag[inner_end..];
    }
    out.push_str(rest);
    out
}

/// Marks errors that the template raised itself, whose text is passed on as it is.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
}

fn strftime(now: &jiff::Zoned, format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, now)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// In Python everything with a length and an index is a sequence, strings included.
fn is_sequence(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map | ValueKind::String
    )
}

/// Python's methods of strings, lists and dicts; those that can make much of little pay first.
fn python_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match method {
            "join" => return join(state, text, args),
            "replace" => charge(state, replaced_length(text, args))?,
            "format" => refuse_wide_fields(text)?,
            // The others visit every byte, most of them also copy.
            _ => charge(state, text.len())?,
        }
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

fn charge(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

/// `separator.join(strings)`. Python refuses anything but strings, which also keeps nested lists
/// from being spelled out at length.
fn join(state: &State<'_, '_>, separator: &str, args: &[Value]) -> Result<Value, Error> {
    let (values,): (&Value,) = minijinja::value::from_args(args)?;
    let mut out = String::new();
    for (index, value) in values.try_iter()?.enumerate() {
        let Some(text) = value.as_str() else {
            let reason = format!("join needs strings, got a value of type {}", value.kind());
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        };
        state.consume_fuel(((text.len() + separator.len()) as u64).div_ceil(64))?;
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(text);
    }
    Ok(Value::from(out))
}

/// An upper bound for the length of `text.replace(old, new)`.
fn replaced_length(text: &str, args: &[Value]) -> usize {
    let length = |at: usize| args.get(at).and_then(Value::as_str).map_or(0, str::len);
    let matches = match args.first().and_then(Value::as_str) {
        Some("") => text.len() + 1,
        Some(old) => text.matches(old).count(),
        None => 0,
    };
    text.len().saturating_add(matches.saturating_mul(length(1)))
}

/// `'{:999999999}'.format(x)` would fill memory with blanks before it can be charged for.
fn refuse_wide_fields(text: &str) -> Result<(), Error> {
    let has_long_number = text
        .split(|c: char| !c.is_ascii_digit())
        .any(|digits| digits.len() > 3);
    if has_long_number && text.contains('{') || text.contains(":{") {
        let reason = "format fields cannot be wider than 999";
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    Ok(())
}

fn syntax_error(error: &Error) -> TemplateError {
    TemplateError::Syntax {
        line: error.line().unwrap_or(1),
        reason: describe(error).into_owned(),
    }
}

fn render_error(error: &Error) -> TemplateError {
    if error.kind() == ErrorKind::OutOfFuel {
        return TemplateError::OutOfFuel;
    }
    let mut reason = describe(error).into_owned();
    let source = std::error::Error::source(error);
    let raised = source
        .and_then(|source| source.downcast_ref::<Raised>())
        .is_some();
    if let (false, Some(line)) = (raised, error.line()) {
        reason = format!("{reason} (line {line})");
    }
    TemplateError::Render { reason }
}

/// The particular if there is any, else the general.
fn describe(error: &Error) -> Cow<'_, str> {
    match error.detail() {
        Some(detail) => Cow::Borrowed(detail),
        None => Cow::Owned(error.kind().to_string()),
    }
}

/// Refuses to grow past a limit.
struct Capped {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.is_over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
