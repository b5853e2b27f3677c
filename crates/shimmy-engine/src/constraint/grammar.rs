//! What is refused in a Lark grammar before it is compiled.
//!
//! The compiler recurses from rule to rule and from group to group, on a stack of a known size
//! (see `super::STACK`); so what can make it recurse is counted here.

use serde_json::{Deserializer, Value};

use super::{pattern, schema};

/// Bytes of a grammar, at most, in whichever language.
pub(super) const BYTES: usize = 512 << 10;

/// Definitions and groups, at most: each can be one level of the compiler's recursion.
const LEVELS: usize = 5_000;

/// Checks a grammar; an error says what is wrong, as the end of a sentence.
pub(super) fn check(text: &str) -> Result<(), String> {
    let (mut rest, mut levels) = (text, 0);
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '"' => &rest[quoted(rest, '"')..],
            '/' if rest.starts_with("//") => behind_comment(rest),
            '/' => {
                let end = quoted(rest, '/');
                let inside = rest[1..end].strip_suffix('/').unwrap_or_default();
                pattern::check(inside)
                    .map_err(|reason| format!("has a regular expression that {reason}"))?;
                &rest[end..]
            }
            '#' => behind_comment(rest),
            '%' => match rest.strip_prefix("%json") {
                Some(json) => behind_schema(json)?,
                None => &rest[1..],
            },
            ':' | '(' | '[' => {
                levels += 1;
                if levels > LEVELS {
                    return Err(format!("has more than {LEVELS} rules and groups"));
                }
                &rest[1..]
            }
            c => &rest[c.len_utf8()..],
        };
    }
    Ok(())
}

/// The length of something in quotes, the quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == quote && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

fn behind_comment(text: &str) -> &str {
    &text[text.find('\n').unwrap_or(text.len())..]
}

fn behind_schema(text: &str) -> Result<&str, String> {
    let mut values = Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => {
            schema::check(&value).map_err(|reason| format!("has a JSON schema that {reason}"))?;
            Ok(&text[values.byte_offset()..])
        }
        Some(Err(error)) => Err(format!("has a `%json` without valid JSON: {error}")),
        None => Err("has a `%json` with nothing behind it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_quotes_is_no_structure() {
        let many = "(:[".repeat(LEVELS);
        assert_eq!(
            check(&format!("start: \"{many}\" // {many}\n# {many}\n")),
            Ok(())
        );
        assert_eq!(
            check("start: /[\\/(]*/ \"\\\"/\" %json {\"a\":[1]} \"x\""),
            Ok(())
        );
    }

    #[test]
    fn each_kind_of_abuse_is_named() {
        let many = "(".repeat(60_000);
        let abuses = [
            (format!("start: {many}\"a\""), "rules and groups"),
            ("start: /foo**/".to_owned(), "regular expression"),
            ("start: \"\\\"\" /a{100000}/".to_owned(), "at most"),
            ("start: %json {\"minItems\":1e9}".to_owned(), "minItems"),
            ("start: %json {".to_owned(), "valid JSON"),
            ("start: %json".to_owned(), "nothing"),
        ];
        for (grammar, word) in abuses {
            let refusal = check(&grammar).expect_err(word);
            assert!(refusal.contains(word), "{refusal}");
        }
    }
}
