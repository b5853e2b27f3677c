//! Takes a template's text apart into pieces and tokens. Owns Go's spelling; must not know what a
//! token means.

use super::GoTemplateError;
use super::tree::{Piece, Token};

/// The pieces, with the white space gone that the marks at actions take away.
pub(super) fn lex(source: &str) -> Result<Vec<Piece>, GoTemplateError> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut trims_next = false;
    while let Some(at) = rest.find("{{") {
        let (text, action) = (&rest[..at], &rest[at + 2..]);
        let trims = action.starts_with('-') && action[1..].starts_with(char::is_whitespace);
        push_text(text, trims_next, trims, &mut pieces);
        let action = if trims { &action[1..] } else { action };
        let comment = action.trim_start().strip_prefix("/*");
        let length = match comment {
            Some(comment) => {
                let end = comment.find("*/").ok_or_else(unclosed)?;
                let tail = comment[end + 2..].find("}}").ok_or_else(unclosed)?;
                action.len() - comment.len() + end + 2 + tail
            }
            None => end_of(action).ok_or_else(unclosed)?,
        };
        let inner = &action[..length];
        trims_next = inner.ends_with('-') && inner[..length - 1].ends_with(char::is_whitespace);
        if comment.is_none() {
            let inner = if trims_next {
                &inner[..length - 1]
            } else {
                inner
            };
            pieces.push(Piece::Action(tokens(inner)?));
        }
        rest = &action[length + 2..];
    }
    push_text(rest, trims_next, false, &mut pieces);
    Ok(pieces)
}

fn unclosed() -> GoTemplateError {
    GoTemplateError::Syntax("an action has no end".to_owned())
}

fn push_text(text: &str, trims_start: bool, trims_end: bool, pieces: &mut Vec<Piece>) {
    // Go's white space here is that of ASCII.
    let is_blank = [' ', '\t', '\r', '\n'];
    let text = if trims_start {
        text.trim_start_matches(is_blank)
    } else {
        text
    };
    let text = if trims_end {
        text.trim_end_matches(is_blank)
    } else {
        text
    };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Where an action ends; `}}` in a text does not end it.
fn end_of(action: &str) -> Option<usize> {
    let mut rest = action;
    loop {
        let at = rest.find(['"', '`', '}'])?;
        let from = action.len() - rest.len();
        let mark = rest[at..].chars().next()?;
        if mark == '}' {
            if rest[at..].starts_with("}}") {
                return Some(from + at);
            }
            rest = &rest[at + 1..];
        } else {
            rest = &rest[at..][text_length(&rest[at..])?..];
        }
    }
}

/// How long the text in quotes is that `from` begins with, quotes included.
fn text_length(from: &str) -> Option<usize> {
    let quote = from.chars().next()?;
    let mut is_escaped = false;
    let end = from.char_indices().skip(1).find(|&(_, letter)| {
        let is_end = letter == quote && !is_escaped;
        is_escaped = quote == '"' && letter == '\\' && !is_escaped;
        is_end
    });
    Some(end?.0 + 1)
}

fn tokens(action: &str) -> Result<Vec<Token>, GoTemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action.trim_start();
    while let Some(letter) = rest.chars().next() {
        let (token, length) = match letter {
            '(' => (Token::Open, 1),
            ')' => {
                let (fields, length) = fields(&rest[1..]);
                (Token::Close(fields), 1 + length)
            }
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '=' => (Token::Assign, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '.' => match fields(rest) {
                (_, 0) => (Token::Dot, 1),
                (fields, length) => (Token::Fields(fields), length),
            },
            '$' => {
                let name = word(&rest[1..]);
                let (fields, length) = fields(&rest[1 + name.len()..]);
                let length = 1 + name.len() + length;
                (Token::Variable(name.to_owned(), fields), length)
            }
            '"' | '`' => text(rest)?,
            '-' | '0'..='9' => {
                let digits =
                    rest[1..].find(|letter: char| !letter.is_ascii_digit() && letter != '.');
                let length = digits.map_or(rest.len(), |digits| digits + 1);
                let number = &rest[..length];
                if number.parse::<f64>().is_err() {
                    return Err(unknown(rest));
                }
                (Token::Number(number.to_owned()), length)
            }
            letter if letter.is_alphabetic() || letter == '_' => {
                let word = word(rest);
                (Token::Word(word.to_owned()), word.len())
            }
            _ => return Err(unknown(rest)),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn unknown(rest: &str) -> GoTemplateError {
    let beginning: String = rest.chars().take(20).collect();
    GoTemplateError::Syntax(format!("{beginning:?} makes no sense"))
}

/// The letters of a name that `from` begins with.
fn word(from: &str) -> &str {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    let end = from.find(|letter| !is_letter(letter));
    &from[..end.unwrap_or(from.len())]
}

/// `.A.B` at the beginning of `from`, and how long it is.
fn fields(from: &str) -> (Vec<String>, usize) {
    let mut fields = Vec::new();
    let mut rest = from;
    while let Some(name) = rest
        .strip_prefix('.')
        .map(word)
        .filter(|name| !name.is_empty())
    {
        fields.push(name.to_owned());
        rest = &rest[1 + name.len()..];
    }
    (fields, from.len() - rest.len())
}

fn text(from: &str) -> Result<(Token, usize), GoTemplateError> {
    let length = text_length(from).ok_or_else(unclosed)?;
    let quoted = &from[..length];
    let text = match quoted.strip_prefix('`') {
        Some(raw) => raw[..raw.len() - 1].to_owned(),
        // What Go and JSON spell alike is all that templates need.
        None => serde_json::from_str(quoted).map_err(|_| unknown(from))?,
    };
    Ok((Token::Text(text), length))
}
