//! What kind of character a character is, by Unicode's tables.

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
    /// All others.
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
        for (name, class) in [
            ("L", Class::Letter),
            ("M", Class::Mark),
            ("P", Class::Punctuation),
            ("S", Class::Symbol),
        ] {
            let of_class = ranges_of(name).into_iter();
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
            _ if character.is_numeric() => Class::Number,
            _ if character.is_whitespace() => Class::Space,
            _ => Class::Other,
        }
    }
}

/// The ranges of a general category, which the standard library does not know.
fn ranges_of(category: &str) -> Vec<(char, char)> {
    let Ok(parsed) = regex_syntax::parse(&format!(r"\p{{{category}}}")) else {
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
            ('\u{1}', Class::Other),
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
            ('\u{200d}', Class::Other),
        ] {
            assert_eq!(classes.of(character), class, "{character:?}");
        }
    }
}
