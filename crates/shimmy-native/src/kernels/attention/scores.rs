//! The products of queries and keys, for keys that are halves and for keys that are bytes.

use super::super::activations::{RECORD, quantize_block};
use super::super::simd::Simd;
use super::super::tile;
use super::cells::{CELLS, HeadLayout, KEYS, PART};
use super::split::Vector;
use crate::quant::Kind;

/// The products of queries and keys that are halves.
///
/// # Safety
///
/// The processor has `S`; there are a head of a block and queries of its values.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "indices are unrolled into registers; iterators are not"
)]
pub(super) unsafe fn score<S: Simd, const N: usize, const KEY_VECTORS: usize>(
    layout: HeadLayout,
    vectors: &[Vector; N],
    block: *const u8,
    cells: usize,
    scores: &mut [[f32; CELLS]; N],
) {
    let mut queries = [std::ptr::null(); N];
    for number in 0..N {
        queries[number] = vectors[number].values;
    }
    for first in (0..cells).step_by(KEY_VECTORS * S::LANES) {
        // SAFETY: keys of whole blocks are there, whether they are used yet or not.
        unsafe {
            let mut sums = [[S::splat(0.0); KEY_VECTORS]; N];
            let mut from = [block; KEY_VECTORS];
            for index in 0..KEY_VECTORS {
                from[index] = block.add(layout.key(first + index * S::LANES, 0));
            }
            for value in 0..layout.head {
                let mut keys = [S::splat(0.0); KEY_VECTORS];
                for index in 0..KEY_VECTORS {
                    keys[index] = S::load_f16(from[index].add(value * KEYS * size_of::<u16>()));
                }
                for number in 0..N {
                    let by = S::splat(*queries[number].add(value));
                    for index in 0..KEY_VECTORS {
                        sums[number][index] = S::fma(keys[index], by, sums[number][index]);
                    }
                }
            }
            for number in 0..N {
                for index in 0..KEY_VECTORS {
                    let to = scores[number].as_mut_ptr().add(first + index * S::LANES);
                    S::store(to, sums[number][index]);
                }
            }
        }
    }
}

/// The same of keys that are bytes: they are tiles of a matrix, and `records` are the queries as such a
/// matrix is multiplied with.
///
/// # Safety
///
/// As of [`score`].
#[inline(always)]
pub(super) unsafe fn score_bytes<S: Simd, const N: usize>(
    layout: HeadLayout,
    records: &[i32],
    block: *const u8,
    cells: usize,
    scores: &mut [[f32; CELLS]; N],
) {
    for group in 0..cells.div_ceil(KEYS) {
        // SAFETY: keys of whole groups are there, whether they are used yet or not, and there is a
        // score for each cell of each vector.
        unsafe {
            let product = tile::Product {
                tile: block.add(layout.group(group)),
                inputs: layout.columns(),
                activations: records.as_ptr(),
                out: scores.as_mut_ptr().cast::<f32>().add(group * KEYS),
                stride: CELLS,
                fresh: false,
            };
            tile::multiply::<S, { Kind::Q8_0 as u8 }, N>(&product);
        }
    }
}

/// Queries as tiles are multiplied with: quantised to bytes like any row that meets a quantised matrix.
///
/// # Safety
///
/// As of [`split_on`](super::split::split_on).
#[inline(always)]
pub(super) unsafe fn quantize<S: Simd, const N: usize>(
    layout: HeadLayout,
    vectors: &[Vector; N],
) -> Vec<i32> {
    let mut records = vec![0; layout.parts() * N * RECORD];
    for (part, record) in records.chunks_exact_mut(N * RECORD).enumerate() {
        let start = part * PART;
        let count = PART.min(layout.head - start);
        for (number, vector) in vectors.iter().enumerate() {
            let mut values = [0.0; PART];
            // SAFETY: a query has as many values as a head.
            let of_query = unsafe { std::slice::from_raw_parts(vector.values.add(start), count) };
            values[..count].copy_from_slice(of_query);
            quantize_block::<S>(&values, number, N, record);
        }
    }
    records
}
