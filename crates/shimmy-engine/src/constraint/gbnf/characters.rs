//! Sets of characters, as exact as is needed to see whether two words can be confused.

/// Each ASCII character by itself, and all others as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Characters {
    ascii: u128,
    beyond: bool,
}

impl Characters {
    pub(super) const ALL: Self = Self {
        ascii: u128::MAX,
        beyond: true,
    };

    /// The characters from `first` to `last`, both included.
    pub(super) fn range(first: char, last: char) -> Self {
        let mut ascii = 0;
        for code in (first as u32)..=(last as u32).min(127) {
            ascii |= 1 << code;
        }
        Self {
            ascii,
            beyond: !last.is_ascii(),
        }
    }

    /// Those not in a set; what is beyond ASCII is never known to be all there.
    pub(super) fn negated(self) -> Self {
        Self {
            ascii: !self.ascii,
            beyond: true,
        }
    }

    #[must_use]
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            ascii: self.ascii | other.ascii,
            beyond: self.beyond || other.beyond,
        }
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.ascii & other.ascii != 0 || self.beyond && other.beyond
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Those of a text.
    pub(super) fn of(text: &str) -> Self {
        let each = text.chars().map(|c| Self::range(c, c));
        each.fold(Self::default(), Self::with)
    }
}
