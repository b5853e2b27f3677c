//! Templates in Go's language, as Ollama's packages have them, written anew in Jinja.
//!
//! So they render as all others do: with the same limits, the same care for special tokens and the
//! same ways to tell tools and thoughts. This folder owns what Ollama's templates are given and what
//! their functions mean (<https://github.com/ollama/ollama/blob/main/docs/template.mdx>); it must
//! not know how a conversation becomes a template's variables.
//!
//! What of Go's language no template of a model needs (definitions, formats of `printf`) is an
//! error, and never written as something else.

mod functions;
mod lex;
mod parse;
#[cfg(test)]
mod tests;
mod tree;
mod write;

pub(super) use self::functions::add_to;

/// The same template in Jinja. A source that is Jinja already stays as it is: Go's language has no
/// `{%`.
pub fn jinja_of_go(source: &str) -> Result<String, GoTemplateError> {
    if source.contains("{%") {
        return Ok(source.to_owned());
    }
    let nodes = parse::parse(lex::lex(source)?)?;
    write::write(&nodes)
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GoTemplateError {
    /// It is not Go's language.
    #[error("the template has a syntax error: {0}")]
    Syntax(String),
    /// It uses what is not offered here.
    #[error("the template uses {0}, which is not supported")]
    Unsupported(String),
}
