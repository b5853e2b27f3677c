//! What of a text may leave the machine: bounded, and without the folders of its files.
//!
//! Pure functions over text. They must not know where a text comes from or who reads it.

/// Where [`capped`] cut.
const CUT: char = '…';

/// The first `limit` characters, with a mark where something is missing.
pub(crate) fn capped(mut text: String, limit: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(limit) {
        text.truncate(at);
        text.push(CUT);
    }
    text
}

/// The text with `/a/b/c.gguf` as `c.gguf`: a file's own name helps, its folders are nobody's
/// business.
///
/// Absolute paths only, Windows' too: names such as `owner/model` stay. Where a path with spaces
/// ends is a guess, unless it stands in quotes: at the first space after a name with a dot, or at
/// a colon. A wrong guess takes more of the text away rather than less.
pub(crate) fn without_folders(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let (mut rest, mut before) = (text, None);
    while let Some(first) = rest.chars().next() {
        let folders = if before.is_none_or(may_precede) && is_absolute(rest) {
            folders(rest, before.filter(|&c| is_quote(c)))
        } else {
            0
        };
        if folders > 0 {
            rest = &rest[folders..];
            before = Some('/');
        } else {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
            before = Some(first);
        }
    }
    kept
}

/// Whether a path may begin after `before`: not in `1/2`, `owner/model` or `./here`.
fn may_precede(before: char) -> bool {
    !before.is_alphanumeric() && !matches!(before, '.' | '_' | '-' | '/' | '\\' | '~' | ')' | ']')
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`')
}

fn is_separator(c: char) -> bool {
    matches!(c, '/' | '\\')
}

fn is_absolute(text: &str) -> bool {
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('/'), Some(next), _) => !is_separator(next) && !next.is_whitespace(),
        (Some('~'), Some('/'), _) | (Some('\\'), Some('\\'), _) => true,
        (Some(drive), Some(':'), Some(root)) => drive.is_ascii_alphabetic() && is_separator(root),
        _ => false,
    }
}

/// Bytes of the folders that the path at the start of `text` lies in.
fn folders(text: &str, quote: Option<char>) -> usize {
    let closed = quote.filter(|&quote| text.contains(quote));
    let (mut end, mut pending, mut dotted) = (0, None, false);
    let mut before = None;
    for (at, c) in text.char_indices() {
        match (closed, c) {
            (Some(quote), c) if c == quote => break,
            (None, '\n' | '"' | '`') => break,
            (None, ':') if at != 1 => break,
            (None, ' ') if dotted => break,
            (None, '/') if before.is_some_and(char::is_whitespace) => break,
            (_, c) if is_separator(c) => (pending, dotted) = (Some(at + 1), false),
            (_, c) => {
                dotted |= c == '.';
                // A separator at the end belongs to the last name.
                if !c.is_whitespace() {
                    end = pending.take().unwrap_or(end);
                }
            }
        }
        before = Some(c);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_and_names_stay() {
        for (text, public) in [
            ("/a/b/c.gguf", "c.gguf"),
            (
                "cannot read /a/b/c.gguf: No such file",
                "cannot read c.gguf: No such file",
            ),
            (
                "'/home/John Doe/my models/c.gguf' is short",
                "'c.gguf' is short",
            ),
            ("\"/a/it's/c.gguf\"", "\"c.gguf\""),
            (
                "/home/John Doe/my models/c.gguf is short",
                "c.gguf is short",
            ),
            ("(/a/b.gguf), /c/d.gguf and n/a", "(b.gguf), d.gguf and n/a"),
            ("/a/b.gguf and /c/d.gguf", "b.gguf and d.gguf"),
            ("the folder /a/models: denied", "the folder models: denied"),
            ("the folder /a/models/", "the folder models/"),
            ("error:/a/b.gguf", "error:b.gguf"),
            (r"C:\Users\x\c.gguf: gone", "c.gguf: gone"),
            ("~/models/c.gguf", "c.gguf"),
            ("/a/é/ü.gguf", "ü.gguf"),
            (
                "owner/tiny:q4, 12 tokens/s, 1/2, ./m/c.gguf",
                "owner/tiny:q4, 12 tokens/s, 1/2, ./m/c.gguf",
            ),
            ("https://example.com/a/b", "https://example.com/a/b"),
            ("a / b // c", "a / b // c"),
            ("", ""),
        ] {
            assert_eq!(without_folders(text), public, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(capped("ééé".to_owned(), 3), "ééé");
        assert_eq!(capped("éééé".to_owned(), 3), "ééé…");
    }
}
