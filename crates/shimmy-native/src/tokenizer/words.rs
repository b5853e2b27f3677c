//! How texts are split into words before byte pairs are merged. Owns the rules, which are those of
//! the models' own tokenizers as regular expressions, written out as a walk over characters.

use super::classes::{Class, Classes};

/// A rule of splitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// GPT-2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    Gpt2,
    /// The same between single digits.
    Digits,
    /// Llama 3, with up to so many digits in a word (1 in Qwen 2): contractions in any case, then
    /// `[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
    Llama3 { digits: usize },
}

impl Rule {
    /// The rule of this name (`tokenizer.ggml.pre`), if it is one of these.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" => {
                Self::Gpt2
            }
            "starcoder" | "refact" | "command-r" | "smollm" | "codeshell" | "exaone"
            | "minerva-7b" => Self::Digits,
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "lfm2"
            | "dbrx" | "smaug-bpe" => Self::Llama3 { digits: 3 },
            "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "megrez" => Self::Llama3 { digits: 1 },
            _ => return None,
        })
    }

    /// Calls `word` with each word of a text.
    pub(super) fn split(self, classes: &Classes, text: &str, mut word: impl FnMut(&str)) {
        match self {
            Self::Gpt2 => Walk::new(classes, text).all(Walk::gpt2, &mut word),
            Self::Llama3 { digits } => {
                Walk::new(classes, text).all(|walk| walk.llama3(digits), &mut word);
            }
            Self::Digits => {
                let is_digit = |character| classes.of(character) == Class::Number;
                let mut rest = text;
                while let Some(at) = rest.find(is_digit) {
                    let (before, after) = rest.split_at(at);
                    Walk::new(classes, before).all(Walk::gpt2, &mut word);
                    let digit = after.chars().next().map_or(0, char::len_utf8);
                    word(&after[..digit]);
                    rest = &after[digit..];
                }
                Walk::new(classes, rest).all(Walk::gpt2, &mut word);
            }
        }
    }
}

/// The rest of a text.
struct Walk<'a> {
    classes: &'a Classes,
    rest: &'a str,
}

impl<'a> Walk<'a> {
    fn new(classes: &'a Classes, rest: &'a str) -> Self {
        Self { classes, rest }
    }

    /// Splits off words whose lengths in bytes `next` tells.
    fn all(mut self, next: impl Fn(&Self) -> usize, word: &mut impl FnMut(&str)) {
        while !self.rest.is_empty() {
            let (first, rest) = self.rest.split_at(next(&self));
            word(first);
            self.rest = rest;
        }
    }

    fn class_at(&self, at: usize) -> Option<Class> {
        self.rest[at..]
            .chars()
            .next()
            .map(|character| self.classes.of(character))
    }

    /// The end of the characters from `at` on that are of such a class, at most so many.
    fn end_of(&self, at: usize, most: usize, is: impl Fn(Class) -> bool) -> usize {
        let mut end = at;
        for character in self.rest[at..].chars().take(most) {
            if !is(self.classes.of(character)) {
                break;
            }
            end += character.len_utf8();
        }
        end
    }

    fn first_length(&self) -> usize {
        self.rest.chars().next().map_or(0, char::len_utf8)
    }

    fn gpt2(&self) -> usize {
        if let Some(length) = contraction(self.rest, |byte| byte) {
            return length;
        }
        let start = usize::from(self.rest.starts_with(' '));
        match self.class_at(start) {
            Some(Class::Space) | None => self.spaces(),
            Some(class) => self.end_of(start, usize::MAX, |other| other == class),
        }
    }

    fn llama3(&self, digits: usize) -> usize {
        if let Some(length) = contraction(self.rest, |byte| byte.to_ascii_lowercase()) {
            return length;
        }
        let is_break = |character| character == '\r' || character == '\n';
        let first = self.class_at(0);
        let length = self.first_length();
        if first == Some(Class::Letter) {
            return self.end_of(0, usize::MAX, |class| class == Class::Letter);
        }
        if first != Some(Class::Number)
            && !self.rest.starts_with(is_break)
            && self.class_at(length) == Some(Class::Letter)
        {
            return self.end_of(length, usize::MAX, |class| class == Class::Letter);
        }
        if first == Some(Class::Number) {
            return self.end_of(0, digits, |class| class == Class::Number);
        }
        let start = usize::from(self.rest.starts_with(' '));
        if self.class_at(start) == Some(Class::Other) {
            let end = self.end_of(start, usize::MAX, |class| class == Class::Other);
            let after = &self.rest[end..];
            return end + (after.len() - after.trim_start_matches(is_break).len());
        }
        let spaces = self.end_of(0, usize::MAX, |class| class == Class::Space);
        match self.rest[..spaces].rfind(is_break) {
            Some(last) => last + 1,
            None => self.spaces(),
        }
    }

    /// White space up to its last character, which goes with the word that follows; all of it at
    /// the end, or if there is but one.
    fn spaces(&self) -> usize {
        let end = self.end_of(0, usize::MAX, |class| class == Class::Space);
        let last = self.rest[..end]
            .chars()
            .next_back()
            .map_or(0, char::len_utf8);
        if end == 0 {
            self.first_length()
        } else if end == self.rest.len() || end == last {
            end
        } else {
            end - last
        }
    }
}

/// The length of an English contraction at the start.
fn contraction(text: &str, fold: impl Fn(u8) -> u8) -> Option<usize> {
    let [b'\'', rest @ ..] = text.as_bytes() else {
        return None;
    };
    let at = |index: usize| rest.get(index).map(|&byte| fold(byte));
    match (at(0)?, at(1)) {
        (b's' | b't' | b'm' | b'd', _) => Some(2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Classes, Rule};

    fn split(rule: Rule, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        rule.split(&Classes::new(), text, |word| words.push(word.to_owned()));
        assert_eq!(words.concat(), text);
        words
    }

    #[test]
    fn the_last_space_goes_with_the_word_behind_it() {
        let gpt2 = |text| split(Rule::Gpt2, text);
        assert_eq!(gpt2("a   b"), ["a", "  ", " b"]);
        assert_eq!(gpt2("a   "), ["a", "   "]);
        assert_eq!(gpt2("a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(
            gpt2("it's 12 o'clock!?"),
            ["it", "'s", " 12", " o", "'", "clock", "!?"]
        );
        assert_eq!(split(Rule::Digits, "a  12 b"), ["a", "  ", "1", "2", " b"]);
    }

    #[test]
    fn llama_3_keeps_line_breaks_together_and_digits_in_threes() {
        let llama = |text| split(Rule::Llama3 { digits: 3 }, text);
        assert_eq!(llama("x\n\n  y"), ["x", "\n\n", " ", " y"]);
        assert_eq!(llama("12345 don'T"), ["123", "45", " don", "'T"]);
        assert_eq!(llama("a!?\n\nb (c)"), ["a", "!?\n\n", "b", " (", "c", ")"]);
        assert_eq!(llama("\té ü"), ["\té", " ü"]);
        assert_eq!(split(Rule::Llama3 { digits: 1 }, "12 "), ["1", "2", " "]);
    }
}
