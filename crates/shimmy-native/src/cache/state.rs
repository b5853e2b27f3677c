//! What a sequence holds, as bytes that outlive the process. Owns their form:
//!
//! ```text
//! "SHKV", version, layers, key heads, head size, type, tokens: 4 bytes each, little-endian
//! blocks as they are in the cache; cells behind the last token are zero
//! ```
//!
//! Whoever keeps them checks that they are what was given out; here it is checked that they fit.

use super::{CELLS, Cache, Shape};
use crate::kernels::CacheType;

const MAGIC: [u8; 4] = *b"SHKV";
/// Raised with every change of a block's layout.
const VERSION: u32 = 2;
const HEADER: usize = 28;

impl Cache {
    /// The content of a sequence; none if there is no such sequence.
    pub(crate) fn save(&self, sequence: usize) -> Option<Vec<u8>> {
        let sequence = self.sequences.get(sequence)?;
        let header = self.header(sequence.length)?;
        let size = self.shape.block();
        // A step that was interrupted leaves blocks behind the last token, with what others had there.
        let held = &sequence.table[..sequence.length.div_ceil(CELLS)];
        let mut bytes = Vec::with_capacity(HEADER + held.len() * size);
        bytes.extend_from_slice(&header);
        for (at, &block) in held.iter().enumerate() {
            let block = &self.blocks[block as usize];
            let used = sequence.length - at * CELLS;
            if used >= CELLS {
                bytes.extend_from_slice(block);
            } else {
                // There may be cells of other requests, which are nobody else's business.
                let mut block = block.clone();
                self.shape.clear_from(&mut block, used);
                bytes.extend_from_slice(&block);
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
        let size = self.shape.block();
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
            self.blocks[block].copy_from_slice(content);
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
            kind,
        } = self.shape;
        let kind = match kind {
            CacheType::F16 => 0,
            CacheType::Q8_0 => 1,
        };
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&VERSION.to_le_bytes());
        let numbers = header[8..].chunks_exact_mut(4);
        for (to, number) in numbers.zip([layers, key_heads, head, kind, length]) {
            to.copy_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
        }
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        layers: 2,
        key_heads: 2,
        head: 36,
        kind: CacheType::F16,
    };

    fn shape(kind: CacheType) -> Shape {
        Shape { kind, ..SHAPE }
    }

    /// A cache whose sequence 0 has so many tokens, with other content behind them.
    fn filled(kind: CacheType, length: usize) -> Cache {
        let mut cache = Cache::new(shape(kind), 512, 3);
        let rows = length.next_multiple_of(CELLS);
        cache.extend(&[(0, rows)]).unwrap();
        let width = SHAPE.key_heads * SHAPE.head;
        for block in 0..cache.blocks.len() {
            for (layer, cell) in (0..SHAPE.layers).flat_map(|l| (0..CELLS).map(move |c| (l, c))) {
                let first = block * 7 + cell * 31 + layer * 3;
                let numbers: Vec<f32> = (first..)
                    .take(width)
                    .map(|at| (at % 97 + 1) as f32)
                    .collect();
                shape(kind).write(&mut cache.blocks[block], layer, cell, &numbers, &numbers);
            }
        }
        cache.advance(0, rows);
        cache.truncate(0, length);
        cache
    }

    fn keys_and_values(cache: &Cache, sequence: usize) -> Vec<(Vec<f32>, Vec<f32>)> {
        let of_sequence = &cache.sequences[sequence];
        let cell = |cell: usize| {
            let block = &cache.blocks[of_sequence.table[cell / CELLS] as usize];
            (0..cache.shape.layers).map(move |layer| cache.shape.read(block, layer, cell % CELLS))
        };
        (0..of_sequence.length).flat_map(cell).collect()
    }

    #[test]
    fn a_restored_sequence_holds_what_was_saved_and_nothing_of_others() {
        for kind in [CacheType::F16, CacheType::Q8_0] {
            for length in [0, 1, 17, 64, 100, 130] {
                let cache = filled(kind, length);
                let bytes = cache.save(0).unwrap();
                let mut other = Cache::new(shape(kind), 512, 3);
                assert!(other.restore(2, &bytes), "{length}");
                assert_eq!(other.length(2), Some(length));
                assert_eq!(keys_and_values(&other, 2), keys_and_values(&cache, 0));
                // Behind the last token there is nothing, and saving again gives the same.
                assert_eq!(other.save(2).unwrap(), bytes);
                for &block in &other.sequences[2].table[length / CELLS..] {
                    for cell in length % CELLS..CELLS {
                        let (keys, values) =
                            shape(kind).read(&other.blocks[block as usize], 1, cell);
                        assert!(keys.iter().chain(&values).all(|number| *number == 0.0));
                    }
                }
            }
        }
    }

    #[test]
    fn a_state_of_another_type_is_refused() {
        for (kind, other) in [
            (CacheType::F16, CacheType::Q8_0),
            (CacheType::Q8_0, CacheType::F16),
        ] {
            for length in [0, 100] {
                let bytes = filled(kind, length).save(0).unwrap();
                assert!(!Cache::new(shape(other), 512, 1).restore(0, &bytes));
                assert!(Cache::new(shape(kind), 512, 1).restore(0, &bytes));
            }
        }
    }

    #[test]
    fn blocks_of_a_step_that_was_interrupted_are_not_saved() {
        for (kind, length) in [0, 1, 63, 64, 100]
            .into_iter()
            .flat_map(|length| [(CacheType::F16, length), (CacheType::Q8_0, length)])
        {
            let mut cache = filled(kind, length);
            let bytes = cache.save(0).unwrap();
            // Room for rows that are never computed, in blocks that another sequence had.
            cache.fork(0, 1, length);
            cache.extend(&[(1, 200)]).unwrap();
            cache.advance(1, 200);
            cache.truncate(1, 0);
            cache.extend(&[(0, 150)]).unwrap();
            assert_eq!(cache.save(0).unwrap(), bytes, "{length}");
            assert!(
                Cache::new(shape(kind), 512, 1).restore(0, &bytes),
                "{length}"
            );
        }
    }

    #[test]
    fn bytes_that_do_not_fit_change_nothing() {
        let bytes = filled(CacheType::F16, 100).save(0).unwrap();
        let mut cache = Cache::new(shape(CacheType::F16), 512, 3);
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
        let mut small = Cache::new(shape(CacheType::F16), 1, 0);
        assert!(!small.restore(0, &bytes));
    }

    #[test]
    fn no_room_is_no_restore() {
        let bytes = filled(CacheType::F16, 500).save(0).unwrap();
        let mut small = Cache::new(shape(CacheType::F16), 64, 1);
        assert!(!small.restore(0, &bytes));
        assert_eq!(small.length(0), Some(0));
    }
}
