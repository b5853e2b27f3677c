//! From pieces to what a template does. Owns Go's grammar; must not know what is written for it.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::GoTemplateError;
use super::tree::{Branch, Expression, Node, Piece, Token, Variable};

/// The deepest nesting: nobody's template has more than ten.
const MAX_DEPTH: usize = 60;

/// What a template does.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, GoTemplateError> {
    let mut parser = Parser {
        pieces: pieces.into_iter().peekable(),
        depth: 0,
    };
    let (nodes, end) = parser.block()?;
    match end {
        End::Source => Ok(nodes),
        End::Closed | End::Else(_) => Err(syntax("an `end` or `else` has no beginning")),
    }
}

fn syntax(what: impl Into<String>) -> GoTemplateError {
    GoTemplateError::Syntax(what.into())
}

struct Parser {
    pieces: Peekable<IntoIter<Piece>>,
    depth: usize,
}

/// What ended a block; after `else` follows the rest of its action.
enum End {
    Source,
    Closed,
    Else(Vec<Token>),
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, End), GoTemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(syntax("its blocks are nested too deeply"));
        }
        let mut nodes = Vec::new();
        let end = loop {
            let action = match self.pieces.next() {
                None => break End::Source,
                Some(Piece::Text(text)) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Some(Piece::Action(action)) => action,
            };
            match action.first() {
                Some(Token::Word(word)) if word == "end" => break End::Closed,
                Some(Token::Word(word)) if word == "else" => break End::Else(action[1..].to_vec()),
                _ => nodes.extend(self.action(action)?),
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn action(&mut self, mut action: Vec<Token>) -> Result<Option<Node>, GoTemplateError> {
        let word = match action.first() {
            None => return Ok(None),
            Some(Token::Word(word)) => word.clone(),
            Some(_) => String::new(),
        };
        let mut head = || action.split_off(1);
        Ok(Some(match word.as_str() {
            "if" => Node::If(self.branch("if", head())?),
            "with" => Node::With(self.branch("with", head())?),
            "range" => self.range(head())?,
            "break" => Node::Break,
            "continue" => Node::Continue,
            "define" | "template" | "block" => return Err(GoTemplateError::Unsupported(word)),
            _ => {
                let mut tokens = Tokens::new(action);
                let variable = tokens.variable()?;
                let value = tokens.whole()?;
                match variable {
                    Some(variable) => Node::Set { variable, value },
                    None => Node::Print(value),
                }
            }
        }))
    }

    fn branch(&mut self, word: &str, head: Vec<Token>) -> Result<Branch, GoTemplateError> {
        let mut tokens = Tokens::new(head);
        let variable = tokens.variable()?;
        let value = tokens.whole()?;
        let (body, end) = self.block()?;
        let otherwise = self.otherwise(word, end)?;
        Ok(Branch {
            variable,
            value,
            body,
            otherwise,
        })
    }

    fn range(&mut self, head: Vec<Token>) -> Result<Node, GoTemplateError> {
        let mut tokens = Tokens::new(head);
        let (key, item) = tokens.range_variables()?;
        let value = tokens.whole()?;
        let (body, end) = self.block()?;
        let otherwise = self.otherwise("range", end)?;
        let branch = Branch {
            variable: None,
            value,
            body,
            otherwise,
        };
        Ok(Node::Range { key, item, branch })
    }

    /// What follows a block's `else`, if that is what ended it.
    fn otherwise(&mut self, word: &str, end: End) -> Result<Vec<Node>, GoTemplateError> {
        let mut rest = match end {
            End::Closed => return Ok(Vec::new()),
            End::Source => return Err(syntax(format!("an `{word}` has no `end`"))),
            End::Else(rest) => rest,
        };
        if rest.is_empty() {
            return match self.block()? {
                (nodes, End::Closed) => Ok(nodes),
                _ => Err(syntax(format!("an `{word}` has no `end`"))),
            };
        }
        // `else if` has the end of the whole for its own.
        self.depth += 1;
        let node = match rest.remove(0) {
            Token::Word(word) if word == "if" => Node::If(self.branch("if", rest)?),
            Token::Word(word) if word == "with" => Node::With(self.branch("with", rest)?),
            _ => return Err(syntax("an `else` is followed by neither `if` nor `with`")),
        };
        self.depth -= 1;
        Ok(vec![node])
    }
}

/// The tokens of one action.
struct Tokens {
    rest: Peekable<IntoIter<Token>>,
    depth: usize,
}

impl Tokens {
    fn new(tokens: Vec<Token>) -> Self {
        Self {
            rest: tokens.into_iter().peekable(),
            depth: 0,
        }
    }

    /// `$x :=` or `$x =`, if that is what comes.
    fn variable(&mut self) -> Result<Option<Variable>, GoTemplateError> {
        let mut ahead = self.rest.clone();
        let Some(Token::Variable(name, fields)) = ahead.next() else {
            return Ok(None);
        };
        let is_new = match ahead.next() {
            Some(Token::Declare) => true,
            Some(Token::Assign) => false,
            _ => return Ok(None),
        };
        if name.is_empty() || !fields.is_empty() {
            return Err(syntax("only a variable can be set"));
        }
        self.rest = ahead;
        Ok(Some(Variable { name, is_new }))
    }

    /// `$i, $x :=` or `$x :=`, if that is what comes.
    fn range_variables(&mut self) -> Result<(Option<String>, Option<String>), GoTemplateError> {
        let mut ahead = self.rest.clone();
        let mut names = Vec::new();
        while let Some(Token::Variable(name, _)) = ahead.next() {
            names.push(name);
            match ahead.next() {
                Some(Token::Comma) => {}
                Some(Token::Declare) => {
                    self.rest = ahead;
                    let item = names.pop();
                    return match names.len() {
                        0 | 1 => Ok((names.pop(), item)),
                        _ => Err(syntax("a `range` has two variables at most")),
                    };
                }
                Some(Token::Assign) => {
                    return Err(GoTemplateError::Unsupported("`range` with `=`".to_owned()));
                }
                _ => break,
            }
        }
        Ok((None, None))
    }

    /// All that is left, as one value.
    fn whole(&mut self) -> Result<Expression, GoTemplateError> {
        let value = self.pipeline()?;
        match self.rest.next() {
            None => Ok(value),
            Some(_) => Err(syntax("an action goes on behind its end")),
        }
    }

    fn pipeline(&mut self) -> Result<Expression, GoTemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(syntax("its parentheses are nested too deeply"));
        }
        let mut value = self.command()?;
        while self.rest.next_if_eq(&Token::Pipe).is_some() {
            // What comes through a pipe is the last argument.
            value = match self.command()? {
                Expression::Call(name, mut arguments) => {
                    arguments.push(value);
                    Expression::Call(name, arguments)
                }
                _ => return Err(syntax("a pipe leads to no function")),
            };
        }
        self.depth -= 1;
        Ok(value)
    }

    fn command(&mut self) -> Result<Expression, GoTemplateError> {
        let first = self
            .operand()?
            .ok_or_else(|| syntax("a value is missing"))?;
        let mut arguments = Vec::new();
        while let Some(argument) = self.operand()? {
            arguments.push(argument);
        }
        match first {
            Expression::Call(name, none) if none.is_empty() => {
                Ok(Expression::Call(name, arguments))
            }
            first if arguments.is_empty() => Ok(first),
            _ => Err(syntax("what is no function has arguments")),
        }
    }

    fn operand(&mut self) -> Result<Option<Expression>, GoTemplateError> {
        let is_operand = |token: &Token| {
            !matches!(
                token,
                Token::Close(_) | Token::Pipe | Token::Declare | Token::Assign | Token::Comma
            )
        };
        let Some(token) = self.rest.next_if(is_operand) else {
            return Ok(None);
        };
        Ok(Some(match token {
            Token::Dot => Expression::Dot(Vec::new()),
            Token::Fields(fields) => Expression::Dot(fields),
            Token::Variable(name, fields) => Expression::Variable(name, fields),
            Token::Text(text) => Expression::Text(text),
            Token::Number(number) => Expression::Constant(number),
            Token::Word(word) => match word.as_str() {
                "true" | "false" => Expression::Constant(word),
                "nil" => Expression::Constant("none".to_owned()),
                _ => Expression::Call(word, Vec::new()),
            },
            Token::Open => {
                let inner = self.pipeline()?;
                match self.rest.next() {
                    // As a value of its own, so that what follows is no argument of it.
                    Some(Token::Close(fields)) => Expression::Of(Box::new(inner), fields),
                    _ => return Err(syntax("a parenthesis is not closed")),
                }
            }
            // The others are no operands.
            _ => return Ok(None),
        }))
    }
}
