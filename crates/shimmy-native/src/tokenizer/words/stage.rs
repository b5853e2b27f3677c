//! The stages of rules: what finds pieces in a text. Written out as walks over characters, since a
//! general engine for these expressions takes longer to start than a model.

use super::super::classes::{Class, Classes};
use super::sets::Set;

/// A stage, which finds pieces; what lies between them is a piece, too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stage {
    /// GPT-2's expression.
    Gpt2,
    /// What most of today's expressions have in common.
    Usual(Usual),
    /// The last of DeepSeek 3's.
    DeepSeek3,
    /// At most so many characters of a set.
    Runs(Set, usize),
    /// The same with white space before them.
    SpacedRuns(Set),
    /// Characters of no set, a space before them.
    RunsWithout(Set),
    /// Three digits of ASCII.
    ThreeDigits,
    /// White space at the end.
    SpacesAtEnd,
    /// Line breaks, and what is between them.
    Lines,
}

/// Expressions like Llama 3's: contractions, letters, numbers, the rest, line breaks, white space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usual {
    /// Whether contractions are words.
    pub(super) contractions: bool,
    pub(super) letters: Letters,
    /// Digits of a word, at most.
    pub(super) digits: usize,
    /// Characters that stay with punctuation before them.
    pub(super) behind: &'static [char],
}

/// What counts as letters, and where they make words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    /// All of them together.
    Plain,
    /// With marks among them.
    WithMarks,
    /// Small ones behind capital ones.
    Cased,
    /// The same, with a contraction at the end.
    CasedWithContractions,
}

impl Usual {
    pub(super) const LLAMA3: Self = Self {
        contractions: true,
        letters: Letters::Plain,
        digits: 3,
        behind: &['\r', '\n'],
    };
    pub(super) const QWEN2: Self = Self {
        digits: 1,
        ..Self::LLAMA3
    };
    pub(super) const TEKKEN: Self = Self {
        contractions: false,
        letters: Letters::Cased,
        digits: 1,
        behind: &['\r', '\n', '/'],
    };
}

impl Stage {
    /// Calls `piece` with each piece of a text.
    pub(super) fn split(&self, classes: &Classes, text: &str, piece: &mut dyn FnMut(&str)) {
        if *self == Self::SpacesAtEnd {
            let rest = text.trim_end_matches(|character| classes.of(character) == Class::Space);
            for part in [rest, &text[rest.len()..]] {
                if !part.is_empty() {
                    piece(part);
                }
            }
            return;
        }
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let rest = Rest {
                classes,
                text: &text[at..],
            };
            let length = rest.find(self);
            if length == 0 {
                at += rest.first_length();
                continue;
            }
            if start < at {
                piece(&text[start..at]);
            }
            piece(&text[at..at + length]);
            at += length;
            start = at;
        }
        if start < at {
            piece(&text[start..at]);
        }
    }
}

/// The rest of a text.
struct Rest<'a> {
    classes: &'a Classes,
    text: &'a str,
}

fn is_break(character: char) -> bool {
    character == '\r' || character == '\n'
}

impl Rest<'_> {
    /// The length of the piece that a stage finds at the beginning; 0 if it finds none there.
    fn find(&self, stage: &Stage) -> usize {
        match stage {
            Stage::Gpt2 => self.gpt2(),
            Stage::Usual(usual) => self.usual(usual),
            Stage::DeepSeek3 => self.deepseek_3(),
            Stage::Runs(set, most) => {
                self.while_characters(0, *most, |one| set.has(self.classes, one))
            }
            Stage::SpacedRuns(set) => {
                let start = match self.class_at(0) {
                    Some(Class::Space) => self.first_length(),
                    _ => 0,
                };
                let end =
                    self.while_characters(start, usize::MAX, |one| set.has(self.classes, one));
                // A space may be of the set itself.
                if end > start { end } else { 0 }
            }
            Stage::RunsWithout(set) => {
                let start = usize::from(self.text.starts_with(' '));
                let end =
                    self.while_characters(start, usize::MAX, |one| !set.has(self.classes, one));
                if end > start { end } else { 0 }
            }
            Stage::ThreeDigits => {
                let end = self.while_characters(0, 3, |one| one.is_ascii_digit());
                if end == 3 { end } else { 0 }
            }
            Stage::Lines => {
                let breaks = self.text.starts_with('\n');
                self.while_characters(0, usize::MAX, |one| (one == '\n') == breaks)
            }
            Stage::SpacesAtEnd => 0,
        }
    }

    fn class_at(&self, at: usize) -> Option<Class> {
        let first = self.text[at..].chars().next();
        first.map(|character| self.classes.of(character))
    }

    /// The end of the characters from `at` on that are such, at most so many.
    fn while_characters(&self, at: usize, most: usize, is: impl Fn(char) -> bool) -> usize {
        let mut end = at;
        for character in self.text[at..].chars().take(most) {
            if !is(character) {
                break;
            }
            end += character.len_utf8();
        }
        end
    }

    /// The same of classes.
    fn while_class(&self, at: usize, most: usize, is: impl Fn(Class) -> bool) -> usize {
        self.while_characters(at, most, |character| is(self.classes.of(character)))
    }

    fn first_length(&self) -> usize {
        self.text.chars().next().map_or(0, char::len_utf8)
    }

    fn gpt2(&self) -> usize {
        if let Some(length) = contraction(self.text, |byte| byte) {
            return length;
        }
        let start = usize::from(self.text.starts_with(' '));
        match self.class_at(start) {
            Some(Class::Space) | None => self.spaces(),
            Some(class) if class.is_rest() => self.while_class(start, usize::MAX, Class::is_rest),
            Some(class) => self.while_class(start, usize::MAX, |other| other == class),
        }
    }

    fn usual(&self, usual: &Usual) -> usize {
        if usual.contractions
            && let Some(length) = contraction(self.text, |byte| byte.to_ascii_lowercase())
        {
            return length;
        }
        let first = self.class_at(0);
        let letters = self.letters(usual.letters, first);
        if letters > 0 {
            return letters;
        }
        if first == Some(Class::Number) {
            return self.while_class(0, usual.digits, |class| class == Class::Number);
        }
        let with_marks = usual.letters == Letters::WithMarks;
        let is_rest = |class: Class| class.is_rest() && !(with_marks && class == Class::Mark);
        let start = usize::from(self.text.starts_with(' '));
        if self.class_at(start).is_some_and(is_rest) {
            let end = self.while_class(start, usize::MAX, is_rest);
            return self.while_characters(end, usize::MAX, |one| usual.behind.contains(&one));
        }
        self.breaks_or_spaces()
    }

    /// Letters, with one character before them that is neither number nor line break.
    fn letters(&self, letters: Letters, first: Option<Class>) -> usize {
        let is_letter = |class: Class| {
            class == Class::Letter || letters == Letters::WithMarks && class == Class::Mark
        };
        if first == Some(Class::Number) || self.text.starts_with(is_break) {
            return 0;
        }
        let before = self.first_length();
        let start = if first == Some(Class::Letter) {
            0
        } else if self.class_at(before).is_some_and(is_letter) {
            before
        } else if first.is_some_and(is_letter) {
            0
        } else {
            return 0;
        };
        match letters {
            Letters::Plain | Letters::WithMarks => self.while_class(start, usize::MAX, is_letter),
            Letters::Cased => self.cased(start),
            Letters::CasedWithContractions => {
                let end = self.cased(start);
                let folded = |byte: u8| byte.to_ascii_lowercase();
                end + contraction(&self.text[end..], folded).unwrap_or(0)
            }
        }
    }

    /// The end of the letters from `start` on: capital ones, then small ones. Those beyond ASCII are
    /// both.
    fn cased(&self, start: usize) -> usize {
        let is_letter = |one: char| self.classes.of(one) == Class::Letter;
        let is_small = |one: char| is_letter(one) && !one.is_ascii_uppercase();
        let capitals = self.while_characters(start, usize::MAX, |one| {
            is_letter(one) && !one.is_ascii_lowercase()
        });
        let end = self.while_characters(capitals, usize::MAX, is_small);
        if end > capitals {
            return end;
        }
        // A word ends with a small letter, if there is one among those that are both.
        let last_of_both = self.text[start..capitals].rfind(is_small);
        last_of_both.map_or(capitals, |at| {
            let at = start + at;
            self.while_characters(at, 1, is_small)
        })
    }

    fn deepseek_3(&self) -> usize {
        let first = self.text.chars().next();
        if first.is_some_and(|one| one.is_ascii_punctuation()) {
            let end = self.while_characters(1, usize::MAX, |one| one.is_ascii_alphabetic());
            if end > 1 {
                return end;
            }
        }
        let is_letter = |class| matches!(class, Class::Letter | Class::Mark);
        let is_sign = |class| matches!(class, Class::Punctuation | Class::Symbol);
        let class = self.class_at(0);
        let may_precede = !first.is_some_and(is_break)
            && class.is_some_and(|class| class != Class::Letter && !is_sign(class));
        let before = self.first_length();
        if may_precede && self.class_at(before).is_some_and(is_letter) {
            return self.while_class(before, usize::MAX, is_letter);
        }
        if class.is_some_and(is_letter) {
            return self.while_class(0, usize::MAX, is_letter);
        }
        let start = usize::from(first == Some(' '));
        let end = self.while_class(start, usize::MAX, is_sign);
        if end > start {
            return self.while_characters(end, usize::MAX, is_break);
        }
        match class {
            Some(Class::Space) => self.breaks_or_spaces(),
            _ => 0,
        }
    }

    /// White space up to its last line break, or `spaces`.
    fn breaks_or_spaces(&self) -> usize {
        let spaces = self.while_class(0, usize::MAX, |class| class == Class::Space);
        match self.text[..spaces].rfind(is_break) {
            Some(last) => last + 1,
            None => self.spaces(),
        }
    }

    /// White space up to its last character, which goes with the word that follows; all of it at
    /// the end, or if there is but one.
    fn spaces(&self) -> usize {
        let end = self.while_class(0, usize::MAX, |class| class == Class::Space);
        let last = self.text[..end]
            .chars()
            .next_back()
            .map_or(0, char::len_utf8);
        if end == 0 {
            self.first_length()
        } else if end == self.text.len() || end == last {
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
