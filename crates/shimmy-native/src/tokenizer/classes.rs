//! What kind of character a character is, by Unicode's tables: those of the version that llama.cpp has, so
//! that both see the same words in characters that are new.

use regex_syntax::hir::{Class as HirClass, HirKind};

/// The kinds that words are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `\p{L}`.
    Letter,
    /// `\p{M}`.
    Mark,
    /// `\p{N}`.
    Number,
    /// `\p{P}`.
    Punctuation,
    /// `\p{S}`.
    Symbol,
    /// `\s`.
    Space,
    /// `\p{C}`, as far as there are such characters.
    Control,
    /// All others: characters that there were not yet.
    Other,
}

impl Class {
    /// Whether it is neither letter nor number nor white space, which many rules take together.
    pub(super) fn is_rest(self) -> bool {
        !matches!(self, Self::Letter | Self::Number | Self::Space)
    }
}

/// The tables: ASCII by index, the rest by binary search.
#[derive(Debug)]
pub(super) struct Classes {
    ascii: [Class; 128],
    /// Ascending ranges; what is in none is looked up elsewhere.
    ranges: Vec<(char, char, Class)>,
}

impl Classes {
    pub(super) fn new() -> Self {
        let mut ranges = Vec::new();
        for (pattern, class) in [
            (r"\p{L}", Class::Letter),
            (r"\p{M}", Class::Mark),
            (r"\p{N}", Class::Number),
            (r"\p{P}", Class::Punctuation),
            (r"\p{S}", Class::Symbol),
            (r"[\p{Cc}\p{Cf}\p{Co}--\s]", Class::Control),
        ] {
            let of_class = ranges_of(pattern).into_iter();
            ranges.extend(of_class.map(|(first, last)| (first, last, class)));
        }
        ranges.sort_unstable_by_key(|&(first, ..)| first);
        let mut classes = Self {
            ascii: [Class::Other; 128],
            ranges,
        };
        classes.ascii = std::array::from_fn(|byte| classes.find(byte as u8 as char));
        classes
    }

    #[inline]
    pub(super) fn of(&self, character: char) -> Class {
        match self.ascii.get(character as usize) {
            Some(class) => *class,
            None => self.find(character),
        }
    }

    fn find(&self, character: char) -> Class {
        let after = self
            .ranges
            .partition_point(|&(first, ..)| first <= character);
        let range = after.checked_sub(1).map(|at| self.ranges[at]);
        match range {
            Some((_, last, class)) if character <= last => class,
            _ if character.is_whitespace() => Class::Space,
            _ => Class::Other,
        }
    }
}

/// Whether a character is in one of these ranges, which ascend.
pub(super) fn is_in(ranges: &[(char, char)], character: char) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= character);
    let range = after.checked_sub(1).map(|at| ranges[at]);
    range.is_some_and(|(_, last)| character <= last)
}

/// The ranges of a set of general categories, which the standard library does not know.
fn ranges_of(set: &str) -> Vec<(char, char)> {
    let Ok(parsed) = regex_syntax::parse(&format!(r"[{set}&&\p{{age=15.1}}]")) else {
        return Vec::new();
    };
    match parsed.kind() {
        HirKind::Class(HirClass::Unicode(class)) => class
            .iter()
            .map(|range| (range.start(), range.end()))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, Classes};

    #[test]
    fn letters_are_letters_and_not_merely_alphabetic() {
        let classes = Classes::new();
        for (character, class) in [
            ('a', Class::Letter),
            ('7', Class::Number),
            ('\n', Class::Space),
            ('_', Class::Punctuation),
            ('$', Class::Symbol),
            ('\u{1}', Class::Control),
            ('\u{7f}', Class::Control),
            ('\u{85}', Class::Space),
            ('\u{e000}', Class::Control),
            ('é', Class::Letter),
            ('ß', Class::Letter),
            ('中', Class::Letter),
            ('ª', Class::Letter),
            // Alphabetic, but a mark and a number.
            ('\u{0345}', Class::Mark),
            ('Ⅳ', Class::Number),
            ('½', Class::Number),
            ('\u{a0}', Class::Space),
            ('\u{3000}', Class::Space),
            ('。', Class::Punctuation),
            ('😀', Class::Symbol),
            ('\u{200d}', Class::Control),
            // Of Unicode 15.1 and 16, and of none.
            ('\u{2ffc}', Class::Symbol),
            ('\u{1c89}', Class::Other),
            ('\u{378}', Class::Other),
        ] {
            assert_eq!(classes.of(character), class, "{character:?}");
        }
    }
}
