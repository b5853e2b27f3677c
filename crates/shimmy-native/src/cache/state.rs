//! What a sequence holds, as bytes that outlive the process. Owns their form:
//!
//! ```text
//! "SHKV", version, layers, key heads, head size, tokens: 4 bytes each, little-endian
//! blocks of halves, little-endian; cells behind the last token are zero
//! ```
//!
//! Whoever keeps them checks that they are what was given out; here it is checked that they fit.

use super::{CELLS, Cache, Shape};
use crate::kernels::{Attention, KEYS};

const MAGIC: [u8; 4] = *b"SHKV";
/// Raised with every change of a block's layout.
const VERSION: u32 = 1;
const HEADER: usize = 24;

impl Cache {
    /// The content of a sequence; none if there is no such sequence.
    pub(crate) fn save(&self, sequence: usize) -> Option<Vec<u8>> {
        let sequence = self.sequences.get(sequence)?;
        let header = self.header(sequence.length)?;
        let size = self.shape.block() * size_of::<u16>();
        // A step that was interrupted leaves blocks behind the last token, with what others had there.
        let held = &sequence.table[..sequence.length.div_ceil(CELLS)];
        let mut bytes = Vec::with_capacity(HEADER + held.len() * size);
        bytes.extend_from_slice(&header);
        for (at, &block) in held.iter().enumerate() {
            let block = &self.blocks[block as usize];
            let used = sequence.length - at * CELLS;
            if used >= CELLS {
                write(block, &mut bytes);
            } else {
                // There may be cells of other requests, which are nobody else's business.
                let mut block = block.clone();
                self.shape.clear_from(&mut block, used);
                write(&block, &mut bytes);
            }
        }
        Some(bytes)
    }

    /// Gives a sequence, which is empty, the content that [`save`](Self::save) made bytes of. False,
    /// and it stays empty, if they are of another form or there is no room.
    pub(crate) fn restore(&mut self, sequence: usize, bytes: &[u8]) -> bool {
        let Some((header, content)) = bytes.split_at_checked(HEADER) else {
            return false;
        };
        let length = header[HEADER - 4..]
            .try_into()
            .map_or(0, u32::from_le_bytes) as usize;
        let size = self.shape.block() * size_of::<u16>();
        let fits = self.header(length).is_some_and(|own| own == header)
            && length.div_ceil(CELLS).checked_mul(size) == Some(content.len());
        if !fits || self.length(sequence) != Some(0) {
            return false;
        }
        if self.extend(&[(sequence, length)]).is_err() {
            return false;
        }
        for (at, content) in content.chunks_exact(size).enumerate() {
            let block = self.sequences[sequence].table[at] as usize;
            let halves = content.chunks_exact(size_of::<u16>());
            for (to, half) in self.blocks[block].iter_mut().zip(halves) {
                *to = u16::from_le_bytes([half[0], half[1]]);
            }
        }
        self.advance(sequence, length);
        true
    }

    /// What stands before the content of so many tokens.
    fn header(&self, length: usize) -> Option<[u8; HEADER]> {
        let Shape {
            layers,
            key_heads,
            head,
        } = self.shape;
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&VERSION.to_le_bytes());
        let numbers = header[8..].chunks_exact_mut(4);
        for (to, number) in numbers.zip([layers, key_heads, head, length]) {
            to.copy_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
        }
        Some(header)
    }
}

fn write(block: &[u16], out: &mut Vec<u8>) {
    out.extend(block.iter().flat_map(|half| half.to_le_bytes()));
}

impl Shape {
    /// Zeroes the cells of a block from one on.
    fn clear_from(&self, block: &mut [u16], first: usize) {
        let (head, padded) = (self.head, Attention::padded(self.head));
        for of_head in block.chunks_exact_mut(Attention::head_size(head)) {
            let (keys, values) = of_head.split_at_mut(CELLS * head);
            for (group, keys) in keys.chunks_exact_mut(KEYS * head).enumerate() {
                let lane = first.saturating_sub(group * KEYS).min(KEYS);
                for lanes in keys.chunks_exact_mut(KEYS) {
                    lanes[lane..].fill(0);
                }
            }
            values[first * padded..].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        layers: 2,
        key_heads: 2,
        head: 4,
    };

    /// A cache whose sequence 0 has so many tokens, with other content behind them.
    fn filled(length: usize) -> Cache {
        let mut cache = Cache::new(SHAPE, 512, 3);
        let rows = length.next_multiple_of(CELLS);
        cache.extend(&[(0, rows)]).unwrap();
        for block in 0..cache.blocks.len() {
            let values = (0..).map(|at| (at * 31 + block * 7) as u16 | 1);
            let to = cache.blocks[block].iter_mut();
            to.zip(values).for_each(|(to, value)| *to = value);
        }
        cache.advance(0, rows);
        cache.truncate(0, length);
        cache
    }

    fn keys_and_values(cache: &Cache, sequence: usize) -> Vec<u16> {
        let mut all = Vec::new();
        let of_sequence = &cache.sequences[sequence];
        for cell in 0..of_sequence.length {
            let block = &cache.blocks[of_sequence.table[cell / CELLS] as usize];
            let cell = cell % CELLS;
            for head in block.chunks_exact(Attention::head_size(SHAPE.head)) {
                let (keys, values) = head.split_at(CELLS * SHAPE.head);
                let group = &keys[cell / KEYS * KEYS * SHAPE.head..];
                all.extend((0..SHAPE.head).map(|at| group[at * KEYS + cell % KEYS]));
                let padded = Attention::padded(SHAPE.head);
                all.extend_from_slice(&values[cell * padded..][..SHAPE.head]);
            }
        }
        all
    }

    #[test]
    fn a_restored_sequence_holds_what_was_saved_and_nothing_of_others() {
        for length in [0, 1, 17, 64, 100, 130] {
            let cache = filled(length);
            let bytes = cache.save(0).unwrap();
            let mut other = Cache::new(SHAPE, 512, 3);
            assert!(other.restore(2, &bytes), "{length}");
            assert_eq!(other.length(2), Some(length));
            assert_eq!(keys_and_values(&other, 2), keys_and_values(&cache, 0));
            // Behind the last token there is nothing, and saving again gives the same.
            assert_eq!(other.save(2).unwrap(), bytes);
            let held = other.sequences[2].table.iter();
            let halves = held.flat_map(|&block| other.blocks[block as usize].iter());
            let kept = halves.filter(|&&half| half != 0).count();
            assert!(kept <= length * SHAPE.block() / CELLS, "{length}: {kept}");
        }
    }

    #[test]
    fn blocks_of_a_step_that_was_interrupted_are_not_saved() {
        for length in [0, 1, 63, 64, 100] {
            let mut cache = filled(length);
            let bytes = cache.save(0).unwrap();
            // Room for rows that are never computed, in blocks that another sequence had.
            cache.fork(0, 1, length);
            cache.extend(&[(1, 200)]).unwrap();
            cache.advance(1, 200);
            cache.truncate(1, 0);
            cache.extend(&[(0, 150)]).unwrap();
            assert_eq!(cache.save(0).unwrap(), bytes, "{length}");
            assert!(Cache::new(SHAPE, 512, 1).restore(0, &bytes), "{length}");
        }
    }

    #[test]
    fn bytes_that_do_not_fit_change_nothing() {
        let bytes = filled(100).save(0).unwrap();
        let mut cache = Cache::new(SHAPE, 512, 3);
        for at in 0..HEADER {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            assert!(!cache.restore(0, &damaged), "{at}");
        }
        for length in [0, HEADER - 1, HEADER, bytes.len() - 1] {
            assert!(!cache.restore(0, &bytes[..length]), "{length}");
        }
        assert!(!cache.restore(0, &[&bytes[..], &[0]].concat()));
        assert!(!cache.restore(9, &bytes));
        assert_eq!(cache.length(0), Some(0));
        assert!(cache.restore(0, &bytes));
        // It is no longer empty.
        assert!(!cache.restore(0, &bytes));
        let mut small = Cache::new(SHAPE, 1, 0);
        assert!(!small.restore(0, &bytes));
    }

    #[test]
    fn no_room_is_no_restore() {
        let bytes = filled(500).save(0).unwrap();
        let mut small = Cache::new(SHAPE, 64, 1);
        assert!(!small.restore(0, &bytes));
        assert_eq!(small.length(0), Some(0));
    }
}
