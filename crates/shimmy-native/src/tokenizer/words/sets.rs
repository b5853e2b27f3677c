//! Sets of characters that rules of splitting name.

use super::super::classes::{Class, Classes, is_in};
use super::stage::Stage;

/// Characters of some classes, and those of some ranges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Set {
    classes: &'static [Class],
    /// First and last characters, ascending. White space beyond ASCII is in none of them: llama.cpp
    /// takes all of it for one character.
    ranges: &'static [(char, char)],
}

/// `\p{L}`.
pub(super) const LETTER: Set = Set::of_class(&[Class::Letter]);

/// `\p{N}`.
pub(super) const NUMBER: Set = Set::of_class(&[Class::Number]);

/// `\p{P}`.
pub(super) const PUNCTUATION: Set = Set::of_class(&[Class::Punctuation]);

/// `[\r\n]`.
pub(super) const BREAK: Set = Set::of_ranges(&[('\n', '\n'), ('\r', '\r')]);

/// `[\p{P}\$\+<=>\^~\|]`.
pub(super) const DEFAULT: Set = Set {
    classes: &[Class::Punctuation],
    ranges: &[
        ('$', '$'),
        ('+', '+'),
        ('<', '>'),
        ('^', '^'),
        ('|', '|'),
        ('~', '~'),
    ],
};

/// `[\p{P}\$\+<=>\^~\|`]`.
pub(super) const FALCON: Set = Set {
    classes: &[Class::Punctuation],
    ranges: &[
        ('$', '$'),
        ('+', '+'),
        ('<', '>'),
        ('^', '^'),
        ('`', '`'),
        ('|', '|'),
        ('~', '~'),
    ],
};

/// `[(\s|.,!?…。，、।۔،)]`.
pub(super) const BLOOM: Set = Set {
    classes: &[Class::Space],
    ranges: &[
        ('!', '!'),
        ('(', ')'),
        (',', ','),
        ('.', '.'),
        ('?', '?'),
        ('|', '|'),
        ('\u{60c}', '\u{60c}'),
        ('\u{6d4}', '\u{6d4}'),
        ('।', '।'),
        ('…', '…'),
        ('、', '。'),
        ('，', '，'),
    ],
};

/// `[!-/:-~！-／：-～‘-‟　-。]`: punctuation of ASCII (and its letters), and wide forms.
pub(super) const ASCII_AND_WIDE: Set = Set::of_ranges(&[
    ('!', '/'),
    (':', '~'),
    ('‘', '‟'),
    ('\u{3000}', '。'),
    ('！', '／'),
    ('：', '～'),
]);

/// `[一-龥ࠀ-一가-퟿]`.
pub(super) const EAST_ASIAN: Set = Set::of_ranges(&[('\u{800}', '龥'), ('가', '\u{d7ff}')]);

/// `[一-龥぀-ゟ゠-ヿ]`.
pub(super) const CHINESE_AND_KANA: Set = Set::of_ranges(&[('\u{3040}', 'ヿ'), ('一', '龥')]);

/// Letters with a case, as DeepSeek's files list them.
#[rustfmt::skip]
pub(super) const CASED: Set = Set::of_ranges(&[
    ('\u{41}', '\u{5a}'), ('\u{61}', '\u{7a}'), ('\u{b5}', '\u{b5}'), ('\u{c0}', '\u{d6}'),
    ('\u{d8}', '\u{f6}'), ('\u{f8}', '\u{1ba}'), ('\u{1bc}', '\u{1bf}'), ('\u{1c4}',
    '\u{293}'), ('\u{295}', '\u{2af}'), ('\u{370}', '\u{373}'), ('\u{376}', '\u{376}'),
    ('\u{377}', '\u{377}'), ('\u{37b}', '\u{37d}'), ('\u{37f}', '\u{37f}'), ('\u{386}',
    '\u{386}'), ('\u{388}', '\u{38a}'), ('\u{38c}', '\u{38c}'), ('\u{38e}', '\u{3a1}'),
    ('\u{3a3}', '\u{3f5}'), ('\u{3f7}', '\u{481}'), ('\u{48a}', '\u{52f}'), ('\u{531}',
    '\u{556}'), ('\u{10a0}', '\u{10c5}'), ('\u{13a0}', '\u{13f5}'), ('\u{13f8}',
    '\u{13fd}'), ('\u{1c90}', '\u{1cba}'), ('\u{1cbd}', '\u{1cbf}'), ('\u{1d00}',
    '\u{1d2b}'), ('\u{1d6b}', '\u{1d77}'), ('\u{1d79}', '\u{1d9a}'), ('\u{1e00}',
    '\u{1f15}'), ('\u{1f18}', '\u{1f1d}'), ('\u{1f20}', '\u{1f45}'), ('\u{1f48}',
    '\u{1f4d}'), ('\u{1f50}', '\u{1f57}'), ('\u{1f59}', '\u{1f59}'), ('\u{1f5b}',
    '\u{1f5b}'), ('\u{1f5d}', '\u{1f5d}'), ('\u{1f5f}', '\u{1f7d}'), ('\u{1f80}',
    '\u{1fb4}'), ('\u{1fb6}', '\u{1fbc}'), ('\u{1fbe}', '\u{1fbe}'), ('\u{1fc2}',
    '\u{1fc4}'), ('\u{1fc6}', '\u{1fcc}'), ('\u{1fd0}', '\u{1fd3}'), ('\u{1fd6}',
    '\u{1fdb}'), ('\u{1fe0}', '\u{1fec}'), ('\u{1ff2}', '\u{1ff4}'), ('\u{1ff6}',
    '\u{1ffc}'), ('\u{2102}', '\u{2102}'), ('\u{2107}', '\u{2107}'), ('\u{210a}',
    '\u{2113}'), ('\u{2115}', '\u{2115}'), ('\u{2119}', '\u{211d}'), ('\u{2124}',
    '\u{2124}'), ('\u{2126}', '\u{2126}'), ('\u{2128}', '\u{2128}'), ('\u{212a}',
    '\u{212d}'), ('\u{212f}', '\u{2134}'), ('\u{2139}', '\u{2139}'), ('\u{213c}',
    '\u{213f}'), ('\u{2145}', '\u{2149}'), ('\u{214e}', '\u{214e}'), ('\u{2183}',
    '\u{2183}'), ('\u{2184}', '\u{2184}'), ('\u{2c00}', '\u{2c7b}'), ('\u{2c7e}',
    '\u{2ce4}'), ('\u{2ceb}', '\u{2cee}'), ('\u{2cf2}', '\u{2cf2}'), ('\u{2cf3}',
    '\u{2cf3}'), ('\u{a640}', '\u{a66d}'), ('\u{a680}', '\u{a69b}'), ('\u{a722}',
    '\u{a76f}'), ('\u{a771}', '\u{a787}'), ('\u{a78b}', '\u{a78e}'), ('\u{ab70}',
    '\u{abbf}'), ('\u{fb00}', '\u{fb06}'), ('\u{fb13}', '\u{fb17}'), ('\u{ff21}',
    '\u{ff3a}'), ('\u{ff41}', '\u{ff5a}'), ('\u{10400}', '\u{1044f}'), ('\u{104b0}',
    '\u{104d3}'), ('\u{104d8}', '\u{104fb}'), ('\u{10c80}', '\u{10cb2}'), ('\u{10cc0}',
    '\u{10cf2}'), ('\u{118a0}', '\u{118df}'), ('\u{1e900}', '\u{1e943}')
]);

impl Set {
    const fn of_class(classes: &'static [Class]) -> Self {
        Self {
            classes,
            ranges: &[],
        }
    }

    const fn of_ranges(ranges: &'static [(char, char)]) -> Self {
        Self {
            classes: &[],
            ranges,
        }
    }

    /// The stage that finds runs of at most so many of them.
    pub(super) const fn in_runs_of(self, most: usize) -> Stage {
        Stage::Runs(self, most)
    }

    pub(super) fn has(&self, classes: &Classes, character: char) -> bool {
        let class = classes.of(character);
        if self.classes.contains(&class) {
            return true;
        }
        if class == Class::Space && !character.is_ascii() {
            return false;
        }
        is_in(self.ranges, character)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_ascend_and_do_not_overlap() {
        for set in [
            DEFAULT,
            FALCON,
            BLOOM,
            ASCII_AND_WIDE,
            EAST_ASIAN,
            CHINESE_AND_KANA,
            CASED,
        ] {
            assert!(set.ranges.iter().all(|(first, last)| first <= last));
            assert!(set.ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
