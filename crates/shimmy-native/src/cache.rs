//! The KV cache: blocks of 64 cells with all layers, and each sequence's table of them. Owns who
//! uses which block; must not know tokens.
//!
//! Blocks are counted: a fork shares all of them, and whoever first writes into a shared block, which
//! can only be the last and partly filled one, gets a copy of it.

mod shape;
mod state;

use crate::kernels::{CELLS, Query};

pub(crate) use shape::Shape;

/// Keys and values of all sequences.
#[derive(Debug)]
pub(crate) struct Cache {
    shape: Shape,
    /// Blocks that were ever needed, by number; the memory of a new one is not touched before use.
    blocks: Vec<Box<[u8]>>,
    /// How many tables name a block.
    references: Vec<u32>,
    free: Vec<u32>,
    most: usize,
    sequences: Vec<Sequence>,
}

#[derive(Debug, Default, Clone)]
struct Sequence {
    table: Vec<u32>,
    length: usize,
}

/// There are not enough blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Rows of one step that lie in one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) block: u32,
    pub(crate) cell: usize,
    pub(crate) rows: usize,
}

impl Cache {
    /// An empty cache with room for `cells` cells in so many sequences.
    pub(crate) fn new(shape: Shape, cells: usize, sequences: usize) -> Self {
        Self {
            shape,
            blocks: Vec::new(),
            references: Vec::new(),
            free: Vec::new(),
            // Cells that are counted once fill whole blocks, but for the last one of each sequence and
            // the one in which it parted from another, whose beginning both have.
            most: cells.div_ceil(CELLS) + 2 * sequences,
            sequences: vec![Sequence::default(); sequences],
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Tokens of a sequence; none if there is no such sequence.
    pub(crate) fn length(&self, sequence: usize) -> Option<usize> {
        Some(self.sequences.get(sequence)?.length)
    }

    /// The blocks, for reading.
    pub(crate) fn blocks(&self) -> &[Box<[u8]>] {
        &self.blocks
    }

    /// Takes blocks out, to be written by several threads; [`put`](Self::put) brings them back.
    pub(crate) fn take(&mut self, block: u32) -> Box<[u8]> {
        std::mem::take(&mut self.blocks[block as usize])
    }

    pub(crate) fn put(&mut self, block: u32, data: Box<[u8]>) {
        self.blocks[block as usize] = data;
    }

    /// Makes room for rows at the ends of sequences, `(sequence, rows)`, each sequence once. Nothing
    /// changes if there is not enough for all.
    pub(crate) fn extend(&mut self, wanted: &[(usize, usize)]) -> Result<(), Full> {
        let mut needed = 0;
        for &(sequence, rows) in wanted {
            let sequence = &self.sequences[sequence];
            let blocks = (sequence.length + rows).div_ceil(CELLS);
            needed += blocks.saturating_sub(sequence.table.len());
            needed += usize::from(self.must_copy(sequence));
        }
        if needed > self.free.len() + (self.most - self.blocks.len()) {
            return Err(Full);
        }
        for &(sequence, rows) in wanted {
            if self.must_copy(&self.sequences[sequence]) {
                self.copy_last(sequence);
            }
            let blocks = (self.sequences[sequence].length + rows).div_ceil(CELLS);
            while self.sequences[sequence].table.len() < blocks {
                let block = self.allocate();
                self.sequences[sequence].table.push(block);
            }
        }
        Ok(())
    }

    /// Where the next rows of a sequence lie.
    pub(crate) fn runs(&self, sequence: usize, rows: usize, out: &mut Vec<Run>) {
        let sequence = &self.sequences[sequence];
        let (mut at, end) = (sequence.length, sequence.length + rows);
        while at < end {
            let cell = at % CELLS;
            let rows = (CELLS - cell).min(end - at);
            let block = sequence.table[at / CELLS];
            out.push(Run { block, cell, rows });
            at += rows;
        }
    }

    /// The query of a sequence's next rows, which are `first ..` in the step.
    pub(crate) fn query(&self, sequence: usize, first: usize, rows: usize) -> Query<'_> {
        let sequence = &self.sequences[sequence];
        Query {
            table: &sequence.table,
            first,
            rows,
            position: sequence.length,
        }
    }

    /// Counts rows that have been written.
    pub(crate) fn advance(&mut self, sequence: usize, rows: usize) {
        self.sequences[sequence].length += rows;
    }

    /// Makes `to` the first `length` tokens of `from`.
    pub(crate) fn fork(&mut self, from: usize, to: usize, length: usize) {
        if from >= self.sequences.len() || to >= self.sequences.len() {
            return;
        }
        if from == to {
            return self.truncate(to, length);
        }
        self.truncate(to, 0);
        let length = length.min(self.sequences[from].length);
        let table = self.sequences[from].table[..length.div_ceil(CELLS)].to_vec();
        for &block in &table {
            self.references[block as usize] += 1;
        }
        self.sequences[to] = Sequence { table, length };
    }

    /// Forgets all but the first `length` tokens of a sequence.
    pub(crate) fn truncate(&mut self, sequence: usize, length: usize) {
        let Some(sequence) = self.sequences.get_mut(sequence) else {
            return;
        };
        sequence.length = sequence.length.min(length);
        let keep = sequence.length.div_ceil(CELLS).min(sequence.table.len());
        for block in sequence.table.drain(keep..) {
            let references = &mut self.references[block as usize];
            *references -= 1;
            if *references == 0 {
                self.free.push(block);
            }
        }
    }

    /// Forgets everything and gives its memory back.
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        self.references.clear();
        self.free.clear();
        self.sequences.fill(Sequence::default());
    }

    /// Whether the block that the next row goes to is shared.
    fn must_copy(&self, sequence: &Sequence) -> bool {
        let last = sequence.table.get(sequence.length / CELLS);
        last.is_some_and(|&block| self.references[block as usize] > 1)
    }

    fn copy_last(&mut self, sequence: usize) {
        let at = self.sequences[sequence].length / CELLS;
        let shared = self.sequences[sequence].table[at];
        let own = self.allocate();
        let mut data = self.take(own);
        data.copy_from_slice(&self.blocks[shared as usize]);
        self.put(own, data);
        self.references[shared as usize] -= 1;
        self.sequences[sequence].table[at] = own;
    }

    /// A block that nobody uses; the caller has made sure that there is one.
    fn allocate(&mut self) -> u32 {
        if let Some(block) = self.free.pop() {
            self.references[block as usize] = 1;
            return block;
        }
        self.blocks
            .push(vec![0; self.shape.block()].into_boxed_slice());
        self.references.push(1);
        self.blocks.len() as u32 - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{CELLS, Cache, Full, Shape};
    use crate::kernels::CacheType;

    const SHAPE: Shape = Shape {
        layers: 1,
        key_heads: 1,
        head: 1,
        kind: CacheType::F16,
    };

    /// Writes a value for each new token and returns what all cells of a sequence hold.
    fn append(cache: &mut Cache, sequence: usize, values: &[u16]) -> Result<(), Full> {
        cache.extend(&[(sequence, values.len())])?;
        let mut runs = Vec::new();
        cache.runs(sequence, values.len(), &mut runs);
        let mut rest = values.iter();
        for run in runs {
            let mut block = cache.take(run.block);
            for (cell, value) in (run.cell..run.cell + run.rows).zip(rest.by_ref()) {
                let value = f32::from(*value);
                SHAPE.write(&mut block, 0, cell, &[value], &[value]);
            }
            cache.put(run.block, block);
        }
        cache.advance(sequence, values.len());
        Ok(())
    }

    fn content(cache: &Cache, sequence: usize) -> Vec<u16> {
        let of_sequence = &cache.sequences[sequence];
        let cell = |at: usize| {
            let block = &cache.blocks[of_sequence.table[at / CELLS] as usize];
            SHAPE.read(block, 0, at % CELLS).0[0] as u16
        };
        (0..of_sequence.length).map(cell).collect()
    }

    #[derive(Debug, Clone)]
    enum Action {
        Append(usize, usize),
        Fork(usize, usize, usize),
        Truncate(usize, usize),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            (0..4_usize, 1..150_usize).prop_map(|(a, n)| Action::Append(a, n)),
            (0..4_usize, 0..4_usize, 0..300_usize).prop_map(|(a, b, n)| Action::Fork(a, b, n)),
            (0..4_usize, 0..300_usize).prop_map(|(a, n)| Action::Truncate(a, n)),
        ]
    }

    proptest! {
        #[test]
        fn sequences_never_see_each_others_cells(
            actions in prop::collection::vec(action(), 1..40),
        ) {
            let mut cache = Cache::new(SHAPE, 900, 4);
            let mut expected: Vec<Vec<u16>> = vec![Vec::new(); 4];
            let mut next = 0;
            for action in actions {
                match action {
                    Action::Append(sequence, count) => {
                        let values: Vec<u16> = (next..next + count as u16).collect();
                        if append(&mut cache, sequence, &values).is_ok() {
                            expected[sequence].extend(&values);
                            next = (next + count as u16) % 1800;
                        }
                    }
                    Action::Fork(from, to, length) => {
                        cache.fork(from, to, length);
                        let end = length.min(expected[from].len());
                        expected[to] = expected[from][..end].to_vec();
                    }
                    Action::Truncate(sequence, length) => {
                        cache.truncate(sequence, length);
                        expected[sequence].truncate(length);
                    }
                }
                for (sequence, expected) in expected.iter().enumerate() {
                    prop_assert_eq!(&content(&cache, sequence), expected);
                }
            }
            (0..4).for_each(|sequence| cache.truncate(sequence, 0));
            prop_assert_eq!(cache.free.len(), cache.blocks.len());
        }
    }

    #[test]
    fn as_many_cells_as_were_promised_fit_whatever_is_shared() {
        let mut cache = Cache::new(SHAPE, 256, 4);
        append(&mut cache, 0, &[1; 100]).unwrap();
        for sequence in 1..4 {
            cache.fork(0, sequence, 99);
        }
        // 100 cells are shared, so 156 are left for all.
        for sequence in 0..4 {
            append(&mut cache, sequence, &[2; 39]).unwrap();
        }
        assert_eq!(append(&mut cache, 0, &[3; 300]), Err(Full));
        assert_eq!(content(&cache, 3).len(), 138);
    }

    #[test]
    fn a_fork_copies_nothing_until_it_is_written_to() {
        let mut cache = Cache::new(SHAPE, 1024, 2);
        append(&mut cache, 0, &[1; 130]).unwrap();
        cache.fork(0, 1, 130);
        assert_eq!(cache.blocks.len(), 3);
        append(&mut cache, 1, &[2]).unwrap();
        assert_eq!(cache.blocks.len(), 4);
        assert_eq!(cache.sequences[0].table[..2], cache.sequences[1].table[..2]);
    }
}
