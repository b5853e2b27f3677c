//! Answers of a prescribed shape: JSON, a JSON schema, a regular expression, a grammar.
//!
//! The language is checked and compiled on the caller's thread, and kept for the next request that
//! asks for it; the engine only asks, token by token, what may come next. `llguidance` does both.
//! It recurses over what it is given, so what it is given is bounded first, and it runs on stacks
//! of a known size.

mod cache;
mod gbnf;
mod grammar;
mod numbers;
mod pattern;
mod schema;
mod vocabulary;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ScopedJoinHandle;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};

use self::cache::{Cache, Key};
use crate::error::InvalidParameter;
use crate::params::Constraint;
use crate::runner::{Token, Tokenizer};

/// The stack of threads that compile or follow constraints. Only what is used of it takes memory;
/// the bounds of what is compiled leave each level of recursion some kilobytes.
pub(crate) const STACK: usize = 64 << 20;

/// Letters of a compiler's message that are shown.
const MESSAGE: usize = 200;

/// Compiles constraints for one vocabulary.
pub(crate) struct Compiler {
    tokenizer: Arc<dyn Tokenizer>,
    /// Built on first use: it takes tens of milliseconds, and most models never need it.
    factory: OnceLock<Result<ParserFactory, String>>,
    /// Held for a look-up only, never while something is compiled.
    cache: Mutex<Cache>,
}

/// Follows one answer.
pub(crate) struct Follower(Matcher);

impl Clone for Follower {
    /// A follower of another answer, which shares nothing with this one. Takes microseconds at the
    /// beginning of an answer.
    fn clone(&self) -> Self {
        Self(self.0.deep_clone())
    }
}

impl Compiler {
    pub(crate) fn new(tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self {
            tokenizer,
            factory: OnceLock::new(),
            cache: Mutex::default(),
        }
    }

    /// A follower at the beginning of an answer, or what is wrong with the constraint.
    pub(crate) fn compile(&self, constraint: &Constraint) -> Result<Follower, InvalidParameter> {
        let field = match constraint {
            Constraint::JsonObject | Constraint::JsonSchema(_) => "format",
            Constraint::Regex(_) => "regex",
            Constraint::Grammar(_) => "grammar",
        };
        let refused = |reason| InvalidParameter::new(field, reason);
        // Before the key is made, which recurses over a schema.
        let grammar = checked(constraint).map_err(refused)?;
        let key = Key::of(constraint);
        if let Some(follower) = self.cache().get(&key) {
            return Ok(follower);
        }
        let follower = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK);
            let compiling = thread.spawn_scoped(scope, || self.compile_checked(grammar));
            let compiled = compiling.map(ScopedJoinHandle::join);
            compiled.unwrap_or_else(|error| Ok(Err(format!("cannot be compiled now: {error}"))))
        });
        let follower = follower
            .unwrap_or_else(|_| Err("cannot be used: the compiler failed".to_owned()))
            .map_err(refused)?;
        self.cache().insert(key, follower.clone());
        Ok(follower)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Whoever panicked under the lock left a cache that is at worst less full than it says.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile_checked(&self, grammar: TopLevelGrammar) -> Result<Follower, String> {
        let unusable = |reason: &str| format!("cannot be used: {}", shown(reason));
        let factory = self
            .factory
            .get_or_init(|| build_factory(&self.tokenizer))
            .as_ref()
            .map_err(|reason| unusable(reason))?;
        let mut matcher = Matcher::new(factory.create_parser(grammar));
        // What cannot even begin is found now, and what the first mask needs is made only once.
        if matcher.is_error() || matcher.compute_mask().is_err() {
            let reason = matcher.get_error().unwrap_or_default();
            return Err(match shown(&reason).as_str() {
                "NoExtensionBias" => "allows no answer at all".to_owned(),
                reason => unusable(reason),
            });
        }
        Ok(Follower(matcher))
    }
}

/// What llguidance is to compile, if it is safe to.
fn checked(constraint: &Constraint) -> Result<TopLevelGrammar, String> {
    Ok(match constraint {
        Constraint::JsonObject => json(serde_json::json!({ "type": "object" })),
        Constraint::JsonSchema(schema) => {
            schema::check(schema)?;
            json(schema.clone())
        }
        Constraint::Regex(text) => {
            pattern::check(text)?;
            if text.is_empty() {
                return Err("is empty".to_owned());
            }
            TopLevelGrammar::from_regex(text)
        }
        Constraint::Grammar(text) if text.len() > grammar::BYTES => {
            return Err(format!("has more than {} bytes", grammar::BYTES));
        }
        Constraint::Grammar(text) if gbnf::is_gbnf(text) => {
            TopLevelGrammar::from_lark(gbnf::to_lark(text)?)
        }
        Constraint::Grammar(text) => {
            grammar::check(text)?;
            TopLevelGrammar::from_lark(text.clone())
        }
    })
}

fn json(schema: serde_json::Value) -> TopLevelGrammar {
    TopLevelGrammar::from_json_schema(compact(schema))
}

/// A schema whose JSON has at most one space after a comma or a colon: where any white space may
/// stand, small models write it without end.
pub(crate) fn compact(schema: serde_json::Value) -> serde_json::Value {
    let mut schema = schema::enforceable(schema);
    if let Some(object) = schema.as_object_mut() {
        let layout = serde_json::json!({
            "whitespace_flexible": false,
            "item_separator": ", ?",
            "key_separator": ": ?",
        });
        object.insert("x-guidance".to_owned(), layout);
    }
    schema
}

/// The part of llguidance's message that says what is wrong; the grammar, the parser's state and
/// a picture of the place stand around it, and the name of a step in front.
fn shown(message: &str) -> String {
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default();
    let line = lines.find_map(|line| line.strip_prefix("error: "));
    let line = line.unwrap_or(first);
    let reason = line.split_once("failed to compile JSON schema: ");
    let reason = reason.map_or(line, |(_, reason)| reason);
    reason.chars().take(MESSAGE).collect()
}

fn build_factory(tokenizer: &Arc<dyn Tokenizer>) -> Result<ParserFactory, String> {
    let environment = vocabulary::environment(tokenizer)?;
    let mut factory = ParserFactory::new_simple(&environment).map_err(|error| error.to_string())?;
    factory.quiet();
    factory.limits_mut().verbose_errors = false;
    Ok(factory)
}

impl Follower {
    /// Forbids, in `logits`, every token that may not come next; returns the only one that may, if
    /// there is just one.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<Option<Token>, String> {
        let allowed = self
            .0
            .compute_mask_or_eos()
            .map_err(|error| shown(&error.to_string()))?;
        allowed.iter_unset_entries(|token| {
            if let Some(logit) = logits.get_mut(token) {
                *logit = f32::NEG_INFINITY;
            }
        });
        let only = allowed.first_bit_set().filter(|_| allowed.num_set() == 1);
        Ok(only.map(|token| token as Token))
    }

    /// Takes the token that was chosen.
    pub(crate) fn accept(&mut self, token: Token) -> Result<(), String> {
        self.0
            .consume_token(token)
            .map_err(|error| shown(&error.to_string()))
    }

    /// The tokens that come next because nothing else can: each of them is the only one that
    /// [`mask`](Self::mask) would allow in its turn.
    pub(crate) fn forced(&mut self) -> Vec<Token> {
        self.0.compute_ff_tokens()
    }

    /// How many of these tokens may come next, one after the other.
    pub(crate) fn allowed(&mut self, tokens: &[Token]) -> usize {
        // One that cannot be followed is told so by the next mask.
        self.0.validate_tokens(tokens).unwrap_or(0)
    }

    /// Whether nothing can follow any more.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.is_stopped()
    }
}

#[cfg(all(test, feature = "stub"))]
pub(crate) mod tests;
