//! Untrusted text in messages. Owns shortening and escaping; must not know where the text is from.

/// The most bytes of an untrusted text that a message repeats.
const QUOTED_BYTES: usize = 64;

/// `text` in double quotes, control characters escaped, cut to a length that fits a message.
pub(crate) fn quoted(text: &str) -> String {
    let cut = text.floor_char_boundary(QUOTED_BYTES);
    let ellipsis = if cut < text.len() { "…" } else { "" };
    format!("\"{}{ellipsis}\"", text[..cut].escape_debug())
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn long_and_unprintable_text_is_tamed() {
        assert_eq!(quoted("plain"), "\"plain\"");
        assert_eq!(quoted("a\n\0\u{1b}[31m"), r#""a\n\0\u{1b}[31m""#);
        assert_eq!(quoted(&"é".repeat(500)).chars().count(), 32 + 3);
    }
}
