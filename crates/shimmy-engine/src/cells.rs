//! How many cells of the KV cache are taken, when sequences share them. Pure.
//!
//! A fork shares the cells of its prefix with where it came from. What a sequence holds is a path
//! of segments; a segment that several paths go through is counted once and given back with the
//! last of them.

use crate::runner::SequenceId;

#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    length: usize,
    /// Paths that go through it; none frees its place.
    paths: usize,
}

/// The account of one cache.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    segments: Vec<Segment>,
    /// Places in `segments` that are free.
    free: Vec<usize>,
    /// By sequence.
    paths: Vec<Vec<usize>>,
    used: usize,
}

impl Cells {
    pub(crate) fn new(sequences: usize) -> Self {
        Self {
            paths: vec![Vec::new(); sequences],
            ..Self::default()
        }
    }

    /// Cells that anybody holds.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Cells that at least one of these sequences holds.
    pub(crate) fn used_by(&self, sequences: impl Iterator<Item = SequenceId>) -> usize {
        let mut seen = vec![false; self.segments.len()];
        let mut used = 0;
        for segment in sequences.flat_map(|sequence| &self.paths[sequence.0 as usize]) {
            if !std::mem::replace(&mut seen[*segment], true) {
                used += self.segments[*segment].length;
            }
        }
        used
    }

    /// A sequence has grown.
    pub(crate) fn extend(&mut self, sequence: SequenceId, cells: usize) {
        if cells == 0 {
            return;
        }
        self.used += cells;
        let path = &mut self.paths[sequence.0 as usize];
        if let Some(&last) = path.last()
            && self.segments[last].paths == 1
        {
            self.segments[last].length += cells;
            return;
        }
        let segment = self.add(Segment {
            length: cells,
            paths: 1,
        });
        self.paths[sequence.0 as usize].push(segment);
    }

    /// `to`, which is empty, now shares the first `length` cells of `from`.
    pub(crate) fn fork(&mut self, from: SequenceId, to: SequenceId, length: usize) {
        let count = self.split(from, length);
        let shared = self.paths[from.0 as usize][..count].to_vec();
        for &segment in &shared {
            self.segments[segment].paths += 1;
        }
        self.paths[to.0 as usize] = shared;
    }

    /// A sequence keeps its first `length` cells.
    pub(crate) fn cut(&mut self, sequence: SequenceId, length: usize) {
        let count = self.split(sequence, length);
        let gone = self.paths[sequence.0 as usize].split_off(count);
        for index in gone {
            let segment = &mut self.segments[index];
            segment.paths -= 1;
            if segment.paths == 0 {
                self.used -= segment.length;
                self.free.push(index);
            }
        }
    }

    /// Makes a segment end after `length` cells of a sequence; how many segments are before there.
    fn split(&mut self, sequence: SequenceId, length: usize) -> usize {
        let path = &self.paths[sequence.0 as usize];
        let mut before = 0;
        let mut count = 0;
        while count < path.len() && before < length {
            before += self.segments[path[count]].length;
            count += 1;
        }
        if before <= length {
            return count;
        }
        let head = path[count - 1];
        let tail_length = before - length;
        let Segment { paths, .. } = self.segments[head];
        self.segments[head].length -= tail_length;
        let tail = self.add(Segment {
            length: tail_length,
            paths,
        });
        for path in &mut self.paths {
            if let Some(at) = path.iter().position(|&segment| segment == head) {
                path.insert(at + 1, tail);
            }
        }
        count
    }

    fn add(&mut self, segment: Segment) -> usize {
        match self.free.pop() {
            Some(index) => {
                self.segments[index] = segment;
                index
            }
            None => {
                self.segments.push(segment);
                self.segments.len() - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const SEQUENCES: usize = 5;

    proptest! {
        /// Against sets of numbered cells, which is what the account stands for.
        #[test]
        fn the_account_is_that_of_sets_of_cells(
            steps in prop::collection::vec((0_u8..3, 0_usize..SEQUENCES, 0_usize..SEQUENCES, 0_usize..20), 0..60),
        ) {
            let mut cells = Cells::new(SEQUENCES);
            let mut held: Vec<Vec<usize>> = vec![Vec::new(); SEQUENCES];
            let mut next = 0;
            for (kind, a, b, n) in steps {
                let (from, to) = (SequenceId(a as u32), SequenceId(b as u32));
                match kind {
                    0 => {
                        cells.extend(from, n);
                        held[a].extend(next..next + n);
                        next += n;
                    }
                    1 if a != b => {
                        let length = n.min(held[a].len());
                        cells.cut(to, 0);
                        cells.fork(from, to, length);
                        held[b] = held[a][..length].to_vec();
                    }
                    _ => {
                        cells.cut(from, n);
                        held[a].truncate(n);
                    }
                }
                let all: HashSet<usize> = held.iter().flatten().copied().collect();
                prop_assert_eq!(cells.used(), all.len());
                let two: HashSet<usize> = held[..2].iter().flatten().copied().collect();
                let first_two = [SequenceId(0), SequenceId(1)];
                prop_assert_eq!(cells.used_by(first_two.into_iter()), two.len());
            }
        }
    }
}
