//! What a cell holds, and how its numbers are written: as halves, or rounded to bytes with a scale for
//! each 32 of them.

use crate::half;
use crate::kernels::{CELLS, CacheType, HeadLayout, PART, spread_keys};

/// What a cell holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) key_heads: usize,
    pub(crate) head: usize,
    pub(crate) kind: CacheType,
}

impl Shape {
    /// Bytes of a block.
    pub(crate) fn block(&self) -> usize {
        self.layers * self.layer_size()
    }

    /// Where a layer is in a block.
    pub(crate) fn layer(&self, layer: usize) -> usize {
        layer * self.layer_size()
    }

    /// Where a head's numbers are, from its beginning.
    pub(crate) fn layout(&self) -> HeadLayout {
        HeadLayout {
            kind: self.kind,
            head: self.head,
        }
    }

    /// Writes a row's keys and values of one layer into a cell of a block.
    pub(crate) fn write(
        &self,
        block: &mut [u8],
        layer: usize,
        cell: usize,
        keys: &[f32],
        values: &[f32],
    ) {
        let (layout, head) = (self.layout(), self.head);
        let layer = &mut block[self.layer(layer)..][..self.layer_size()];
        let heads = layer.chunks_exact_mut(layout.size());
        let rows = keys.chunks_exact(head).zip(values.chunks_exact(head));
        for (of_head, (keys, values)) in heads.zip(rows) {
            match self.kind {
                CacheType::F16 => {
                    let apart = layout.key(0, 1);
                    put_halves(&mut of_head[layout.key(cell, 0)..], apart, keys);
                    put_halves(&mut of_head[layout.values(cell)..], 2, values);
                }
                CacheType::Q8_0 => write_bytes(layout, of_head, cell, (keys, values)),
            }
        }
    }

    /// Zeroes the cells of a block from one on.
    pub(super) fn clear_from(&self, block: &mut [u8], first: usize) {
        let zeros = vec![0.0; self.key_heads * self.head];
        for layer in 0..self.layers {
            for cell in first..CELLS {
                self.write(block, layer, cell, &zeros, &zeros);
            }
        }
    }

    /// The keys and values of all heads of one layer in a cell, as the kernels understand them.
    #[cfg(test)]
    pub(crate) fn read(&self, block: &[u8], layer: usize, cell: usize) -> (Vec<f32>, Vec<f32>) {
        let layout = self.layout();
        let layer = &block[self.layer(layer)..][..self.layer_size()];
        let half = |at: &[u8]| half::to_f32(u16::from_le_bytes([at[0], at[1]]));
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for of_head in layer.chunks_exact(layout.size()) {
            for index in 0..self.head {
                let key = &of_head[layout.key(cell, index)..];
                let value = &of_head[layout.values(cell)..];
                let (key, value) = match self.kind {
                    CacheType::F16 => (half(key), half(&value[2 * index..])),
                    CacheType::Q8_0 => {
                        let part = index / PART;
                        let key_scale = half(&of_head[layout.key_scale(cell, part)..]);
                        let value_scale = half(&of_head[layout.value_scale(cell, part)..]);
                        let (key, value) = ((key[0] ^ 0x80) as i8, value[index] as i8);
                        (f32::from(key) * key_scale, f32::from(value) * value_scale)
                    }
                };
                keys.push(key);
                values.push(value);
            }
        }
        (keys, values)
    }

    fn layer_size(&self) -> usize {
        self.key_heads * self.layout().size()
    }
}

/// Writes numbers as halves, `stride` bytes apart.
fn put_halves(to: &mut [u8], stride: usize, numbers: &[f32]) {
    for (to, number) in to.chunks_mut(stride).zip(numbers) {
        put_half(to, half::from_f32(*number));
    }
}

fn put_half(to: &mut [u8], half: u16) {
    to[..2].copy_from_slice(&half.to_le_bytes());
}

/// Writes a head's keys and values as bytes.
fn write_bytes(
    layout: HeadLayout,
    of_head: &mut [u8],
    cell: usize,
    (keys, values): (&[f32], &[f32]),
) {
    let mut spread = keys.to_vec();
    spread_keys(&mut spread);
    let parts = spread.chunks(PART).zip(values.chunks(PART));
    for (part, (keys, values)) in parts.enumerate() {
        let (scale, bytes) = round(keys);
        put_half(&mut of_head[layout.key_scale(cell, part)..], scale);
        for (word, bytes) in bytes.chunks_exact(4).enumerate() {
            let to = &mut of_head[layout.key(cell, part * PART + word * 4)..][..4];
            // In a tile codes have no sign.
            to.iter_mut()
                .zip(bytes)
                .for_each(|(to, byte)| *to = byte ^ 0x80);
        }
        let (scale, bytes) = round(values);
        put_half(&mut of_head[layout.value_scale(cell, part)..], scale);
        let to = &mut of_head[layout.values(cell) + part * PART..][..values.len()];
        to.copy_from_slice(&bytes[..values.len()]);
    }
}

/// Rounds numbers to bytes and what these are to be multiplied by; that is no number if one of them is
/// none.
fn round(numbers: &[f32]) -> (u16, [u8; PART]) {
    let largest = numbers.iter().fold(0.0_f32, |all, one| {
        let size = one.abs();
        if size > all || size.is_nan() {
            size
        } else {
            all
        }
    });
    // The bytes are made with the scale that they will be read with, not the one before rounding.
    let scale = half::from_f32(largest / 127.0);
    let step = half::to_f32(scale);
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let mut bytes = [0; PART];
    for (byte, number) in bytes.iter_mut().zip(numbers) {
        // Adding 1.5 · 2^23 rounds to the nearest whole number, ties to even.
        let number = (number * inverse).clamp(-127.0, 127.0);
        *byte = (number + 12_582_912.0).to_bits() as u8;
    }
    (scale, bytes)
}
