//! What kind of character a character is, by Unicode's tables.

use regex_syntax::hir::{Class as HirClass, HirKind};

/// The kinds that words are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `\p{L}`.
    Letter,
    /// `\p{N}`.
    Number,
    /// `\s`.
    Space,
    /// All others.
    Other,
}

/// The tables: ASCII by index, the rest by binary search.
#[derive(Debug)]
pub(super) struct Classes {
    ascii: [Class; 128],
    letters: Vec<(char, char)>,
}

impl Classes {
    pub(super) fn new() -> Self {
        let ascii = std::array::from_fn(|byte| match byte as u8 as char {
            character if character.is_ascii_alphabetic() => Class::Letter,
            character if character.is_ascii_digit() => Class::Number,
            character if character.is_whitespace() => Class::Space,
            _ => Class::Other,
        });
        Self {
            ascii,
            letters: letters(),
        }
    }

    #[inline]
    pub(super) fn of(&self, character: char) -> Class {
        if let Some(class) = self.ascii.get(character as usize) {
            return *class;
        }
        let after = self
            .letters
            .partition_point(|&(first, _)| first <= character);
        let is_letter = after
            .checked_sub(1)
            .is_some_and(|at| character <= self.letters[at].1);
        if is_letter {
            Class::Letter
        } else if character.is_numeric() {
            Class::Number
        } else if character.is_whitespace() {
            Class::Space
        } else {
            Class::Other
        }
    }
}

/// The ranges of `\p{L}`: the standard library only knows the larger class of alphabetic characters.
fn letters() -> Vec<(char, char)> {
    let Ok(parsed) = regex_syntax::parse(r"\p{L}") else {
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
            ('é', Class::Letter),
            ('ß', Class::Letter),
            ('中', Class::Letter),
            ('ª', Class::Letter),
            // Alphabetic, but a mark and a number.
            ('\u{0345}', Class::Other),
            ('Ⅳ', Class::Number),
            ('½', Class::Number),
            ('\u{a0}', Class::Space),
            ('\u{3000}', Class::Space),
            ('😀', Class::Other),
        ] {
            assert_eq!(classes.of(character), class, "{character:?}");
        }
    }
}
