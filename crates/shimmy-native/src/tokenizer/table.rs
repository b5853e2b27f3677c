//! A hash table from texts, or pairs of texts, to their numbers in a list. Owns no text: it keeps
//! numbers only, so that a vocabulary of 150,000 texts is indexed in milliseconds.

/// Numbers by the hash of what they stand for.
#[derive(Debug)]
pub(super) struct Table {
    /// Numbers plus one; zero is free.
    slots: Vec<u32>,
    mask: usize,
}

impl Table {
    /// A table for so many numbers.
    pub(super) fn new(count: usize) -> Self {
        let size = (count * 2).next_power_of_two().max(16);
        Self {
            slots: vec![0; size],
            mask: size - 1,
        }
    }

    /// Finds the number of this hash for which `is` is true.
    #[inline]
    pub(super) fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let mut at = hash as usize & self.mask;
        loop {
            let number = (self.slots[at] as usize).checked_sub(1)?;
            if is(number) {
                return Some(number);
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Adds a number, or puts it in the place of the one for which `is` is true.
    pub(super) fn replace(&mut self, hash: u64, number: usize, is: impl Fn(usize) -> bool) {
        let mut at = hash as usize & self.mask;
        while let Some(other) = (self.slots[at] as usize).checked_sub(1) {
            if is(other) {
                break;
            }
            at = (at + 1) & self.mask;
        }
        self.slots[at] = number as u32 + 1;
    }
}

/// A hash of a text: eight bytes at a time, multiplied and folded.
#[inline]
pub(super) fn hash(text: &[u8]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ text.len() as u64;
    let mut chunks = text.chunks_exact(8);
    for chunk in &mut chunks {
        state = fold(state ^ chunk.try_into().map_or(0, u64::from_le_bytes));
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    fold(state ^ u64::from_le_bytes(last))
}

/// A hash of two texts in this order.
#[inline]
pub(super) fn hash_pair(left: &[u8], right: &[u8]) -> u64 {
    fold(hash(left).rotate_left(32) ^ hash(right))
}

#[inline]
fn fold(value: u64) -> u64 {
    let product = u128::from(value) * 0xd6e8_feb8_6659_fd93;
    (product as u64) ^ ((product >> 64) as u64)
}
