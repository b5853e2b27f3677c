//! The symbols of a text while neighbours are merged: a list with links in both directions.

use std::ops::Range;

/// Symbols in the order of the text. One that was merged into its neighbour is empty.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    symbols: Vec<Symbol>,
}

#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u32,
    length: u32,
    before: u32,
    after: u32,
}

const NONE: u32 = u32::MAX;

impl Symbols {
    /// Begins anew with the characters of a text.
    pub(super) fn fill(&mut self, text: &[u8]) {
        self.symbols.clear();
        let mut start = 0;
        while start < text.len() {
            let length = match text[start] {
                0..=0xbf => 1,
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            let length = length.min(text.len() - start);
            let index = self.symbols.len() as u32;
            self.symbols.push(Symbol {
                start: start as u32,
                length: length as u32,
                before: index.checked_sub(1).unwrap_or(NONE),
                after: index + 1,
            });
            start += length;
        }
        if let Some(last) = self.symbols.last_mut() {
            last.after = NONE;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Where a symbol and the one after it are.
    pub(super) fn pair(&self, left: usize) -> Option<(Range<usize>, Range<usize>)> {
        let left = self.symbols.get(left)?;
        let right = self.symbols.get(left.after as usize)?;
        Some((left.range(), right.range()))
    }

    /// The symbol before one.
    pub(super) fn before(&self, symbol: usize) -> Option<usize> {
        let before = self.symbols[symbol].before;
        (before != NONE).then_some(before as usize)
    }

    /// Merges a symbol with the one after it; false if they are not of this size together any more.
    pub(super) fn merge(&mut self, left: usize, size: usize) -> bool {
        let first = self.symbols[left];
        let Some(&second) = self.symbols.get(first.after as usize) else {
            return false;
        };
        if first.length == 0 || (first.length + second.length) as usize != size {
            return false;
        }
        self.symbols[first.after as usize].length = 0;
        self.symbols[left].length = size as u32;
        self.symbols[left].after = second.after;
        if let Some(third) = self.symbols.get_mut(second.after as usize) {
            third.before = left as u32;
        }
        true
    }

    /// Where the symbols are that remain.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let remaining = self.symbols.iter().filter(|symbol| symbol.length > 0);
        remaining.map(Symbol::range)
    }
}

impl Symbol {
    fn range(&self) -> Range<usize> {
        self.start as usize..(self.start + self.length) as usize
    }
}
