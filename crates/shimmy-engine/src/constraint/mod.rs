//! Answers of a prescribed shape: JSON, a JSON schema, a grammar.
//!
//! The language is compiled on the caller's thread; the engine only asks, token by token, what
//! may come next. `llguidance` does both.

use std::sync::{Arc, OnceLock};

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use crate::error::InvalidParameter;
use crate::params::Constraint;
use crate::runner::{Specials, Token, Tokenizer};

/// Compiles constraints for one vocabulary.
pub(crate) struct Compiler {
    tokenizer: Arc<dyn Tokenizer>,
    /// Built on first use: it takes tens of milliseconds, and most models never need it.
    factory: OnceLock<Result<ParserFactory, String>>,
}

/// Follows one answer.
pub(crate) struct Follower(Matcher);

impl Clone for Follower {
    /// A follower of another answer, which shares nothing with this one.
    fn clone(&self) -> Self {
        Self(self.0.deep_clone())
    }
}

impl Compiler {
    pub(crate) fn new(tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self {
            tokenizer,
            factory: OnceLock::new(),
        }
    }

    /// A follower at the beginning of an answer, or what is wrong with the constraint.
    pub(crate) fn compile(&self, constraint: &Constraint) -> Result<Follower, InvalidParameter> {
        let (field, grammar) = match constraint {
            Constraint::JsonObject => ("format", json(serde_json::json!({ "type": "object" }))),
            Constraint::JsonSchema(schema) => ("format", json(schema.clone())),
            Constraint::Grammar(text) if text.contains("::=") => {
                let reason = "is written in GBNF, which is not supported; write it in Lark";
                return Err(InvalidParameter::new("grammar", reason));
            }
            Constraint::Grammar(text) => ("grammar", TopLevelGrammar::from_lark(text.clone())),
        };
        let refused = |reason: String| {
            InvalidParameter::new(field, format!("cannot be used: {}", first_line(&reason)))
        };
        let factory = self
            .factory
            .get_or_init(|| build_factory(self.tokenizer.as_ref()))
            .as_ref()
            .map_err(|reason| refused(reason.clone()))?;
        let matcher = Matcher::new(factory.create_parser(grammar));
        match matcher.get_error() {
            Some(reason) => Err(refused(reason)),
            None => Ok(Follower(matcher)),
        }
    }
}

fn json(schema: serde_json::Value) -> TopLevelGrammar {
    TopLevelGrammar::from_json_schema(compact(schema))
}

/// A schema whose JSON has at most one space after a comma or a colon: where any white space may
/// stand, small models write it without end.
pub(crate) fn compact(mut schema: serde_json::Value) -> serde_json::Value {
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

/// llguidance's errors go on with the grammar and the parser's state.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn build_factory(tokenizer: &dyn Tokenizer) -> Result<ParserFactory, String> {
    let vocabulary = tokenizer.vocabulary() as Token;
    let ends: Vec<Token> = (0..vocabulary)
        .filter(|&token| tokenizer.is_end_of_generation(token))
        .collect();
    let end = tokenizer
        .end_of_sequence()
        .or(ends.first().copied())
        .ok_or("the model has no end-of-sequence token")?;
    let words: Vec<Vec<u8>> = (0..vocabulary)
        .map(|token| {
            let mut word = Vec::new();
            if tokenizer.is_control(token) {
                // Marked, so that no text of the language can be matched by a control token.
                word.push(TokTrie::SPECIAL_TOKEN_MARKER);
                tokenizer.append_piece(token, Specials::Parse, &mut word);
            } else {
                tokenizer.append_piece(token, Specials::Literal, &mut word);
            }
            word
        })
        .collect();
    let mut trie = TokTrie::from(&TokRxInfo::new(vocabulary, end), &words);
    if !ends.is_empty() {
        trie = trie.with_eos_tokens(&ends);
    }
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new_simple(&environment).map_err(|error| error.to_string())?;
    factory.quiet();
    Ok(factory)
}

impl Follower {
    /// Forbids, in `logits`, every token that may not come next.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let allowed = self
            .0
            .compute_mask_or_eos()
            .map_err(|error| error.to_string())?;
        allowed.iter_unset_entries(|token| {
            if let Some(logit) = logits.get_mut(token) {
                *logit = f32::NEG_INFINITY;
            }
        });
        Ok(())
    }

    /// Takes the token that was chosen.
    pub(crate) fn accept(&mut self, token: Token) -> Result<(), String> {
        self.0
            .consume_token(token)
            .map_err(|error| error.to_string())
    }

    /// Whether nothing can follow any more.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.is_stopped()
    }
}

#[cfg(all(test, feature = "stub"))]
mod tests {
    use super::*;
    use crate::stub::StubTokenizer;

    fn compile(constraint: &Constraint) -> Result<Follower, InvalidParameter> {
        Compiler::new(Arc::new(StubTokenizer::default())).compile(constraint)
    }

    /// The greedy answer of a model that always prefers the tokens of `wish`, in order.
    fn forced(mut follower: Follower, wish: &str) -> String {
        let mut said = Vec::new();
        for byte in wish.bytes() {
            let mut logits = vec![0.0; 259];
            logits[byte as usize] = 1.0;
            follower.mask(&mut logits).expect("a mask");
            let best = logits
                .iter()
                .enumerate()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .expect("one");
            let token = best.0 as Token;
            if token >= 256 {
                break;
            }
            said.push(token as u8);
            follower.accept(token).expect("an allowed token");
            if follower.is_complete() {
                break;
            }
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    #[test]
    fn what_fits_passes_and_what_does_not_is_forbidden() {
        let schema = serde_json::json!({
            "type": "object",
            "properties": { "n": { "enum": ["a", "b"] } },
            "required": ["n"],
            "additionalProperties": false,
        });
        let follower = compile(&Constraint::JsonSchema(schema)).expect("a good schema");
        assert_eq!(forced(follower, r#"{"n":"b"}"#), r#"{"n":"b"}"#);
        let follower = compile(&Constraint::JsonObject).expect("any object");
        assert!(forced(follower, "plain text").starts_with('{'));
    }

    #[test]
    fn a_schema_that_makes_no_sense_is_refused_by_name() {
        let error = compile(&Constraint::JsonSchema(serde_json::json!({ "type": 3 })));
        assert_eq!(error.err().expect("a refusal").field, "format");
        let error = compile(&Constraint::Grammar("start: (".to_owned()));
        assert_eq!(error.err().expect("a refusal").field, "grammar");
    }
}
