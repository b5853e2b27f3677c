//! One split of attention: scores, weights and weighted values of up to eight blocks of the cache, for
//! a few vectors that share their keys.

use super::super::elementwise::{add_lanes, exp};
use super::super::simd::Simd;
use super::Attention;
use super::cells::{Bytes, CELLS, CacheType, Halves, KEYS, Numbers, PART};
use super::scores::{quantize, score, score_bytes};

/// A score lower than any real one, but finite, so that differences stay numbers.
const NOTHING: f32 = -1e30;

/// One head's query of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vector {
    pub(super) values: *const f32,
    /// The cells that the row sees.
    pub(super) seen: (usize, usize),
}

impl Vector {
    pub(super) const NONE: Self = Self {
        values: std::ptr::null(),
        seen: (0, 0),
    };
}

/// # Safety
///
/// The processor has `S`; the vectors point to queries of a head's values.
#[inline(always)]
pub(super) unsafe fn split_on<S: Simd>(
    attention: &Attention<'_>,
    vectors: &[Vector],
    table: &[u32],
    first: usize,
    at: usize,
    partial: &mut [f32],
) {
    macro_rules! choose {
        ($numbers:ty: $($n:literal $vectors:literal $values:literal,)*) => {
            match vectors.len() {
                $($n if $n <= S::ROWS => {
                    let mut all = [Vector::NONE; $n];
                    all.copy_from_slice(vectors);
                    // SAFETY: says the caller.
                    unsafe {
                        split::<S, $numbers, $n, $vectors, $values>(
                            attention, &all, table, first, at, partial,
                        );
                    }
                })*
                _ => unreachable!("a unit of too many vectors"),
            }
        };
    }
    // As many sums as hide an addition's latency and as there are registers for: up to 16 of four
    // lanes, which are a quarter of the work.
    match (attention.layout.kind, S::LANES) {
        (CacheType::F16, 4) => {
            choose!(Halves: 1 8 8, 2 4 4, 3 4 4, 4 4 4, 5 2 2, 6 2 2, 7 2 2, 8 2 2,);
        }
        (CacheType::F16, _) => {
            choose!(Halves: 1 4 4, 2 2 4, 3 2 4, 4 1 4, 5 1 2, 6 1 2, 7 1 2, 8 1 2,);
        }
        (CacheType::Q8_0, 4) => {
            choose!(Bytes: 1 8 8, 2 4 4, 3 4 4, 4 4 4, 5 2 2, 6 2 2, 7 2 2, 8 2 2,);
        }
        // Values that are added up together share their scales: 32 at the most.
        (CacheType::Q8_0, 16) => {
            choose!(Bytes: 1 4 2, 2 2 2, 3 2 2, 4 1 2, 5 1 2, 6 1 2, 7 1 2, 8 1 2,);
        }
        (CacheType::Q8_0, _) => {
            choose!(Bytes: 1 4 4, 2 2 4, 3 2 4, 4 1 4, 5 1 2, 6 1 2, 7 1 2, 8 1 2,);
        }
    }
}

/// # Safety
///
/// As of [`split_on`].
#[inline(always)]
unsafe fn split<
    S: Simd,
    B: Numbers,
    const N: usize,
    const KEY_VECTORS: usize,
    const VALUE_VECTORS: usize,
>(
    attention: &Attention<'_>,
    vectors: &[Vector; N],
    table: &[u32],
    first: usize,
    at: usize,
    partial: &mut [f32],
) {
    let layout = attention.layout;
    let padded = layout.padded();
    let size = attention.partial();
    partial.fill(0.0);
    let mut largest = [NOTHING; N];
    let mut sums = [[0.0_f32; KEYS]; N];
    let mut scores = [[0.0_f32; CELLS]; N];
    let mut scaled = [[0.0_f32; CELLS]; N];
    // SAFETY: says the caller.
    let records = unsafe { quantize::<S, N>(layout, vectors) };
    for (index, &block) in table.iter().enumerate() {
        let base = (first + index) * CELLS;
        let end = vectors
            .iter()
            .map(|vector| vector.seen.1)
            .fold(0, usize::max);
        let cells = CELLS.min(end - base);
        let data = attention.blocks[block as usize][at..at + layout.size()].as_ptr();
        // SAFETY: the slice above has what the layout says; `partial` has room for the values of `N`
        // vectors.
        unsafe {
            if B::SCALED {
                score_bytes::<S, N>(layout, &records, data, cells, &mut scores);
            } else {
                score::<S, N, KEY_VECTORS>(layout, vectors, data, cells, &mut scores);
            }
            let mut factors = [1.0; N];
            for number in 0..N {
                let (low, high) = vectors[number].seen;
                let seen = (
                    low.saturating_sub(base).min(CELLS),
                    (high.max(base) - base).min(CELLS),
                );
                factors[number] = weigh::<S>(
                    attention,
                    &mut scores[number],
                    seen,
                    &mut largest[number],
                    &mut sums[number],
                );
            }
            let values = data.add(layout.values(0));
            let out = partial.as_mut_ptr().add(2);
            let mut done = 0;
            while done < padded {
                if B::SCALED && done.is_multiple_of(PART) {
                    let scales = data.add(layout.value_scale(0, done / PART));
                    scale_weights::<S, N>(&scores, scales, &mut scaled);
                }
                let weights = if B::SCALED { &scaled } else { &scores };
                let (from, to) = (values.add(done * B::BYTES), out.add(done));
                if done + VALUE_VECTORS * S::LANES <= padded {
                    add_values::<S, B, N, VALUE_VECTORS>(
                        weights, &factors, from, padded, cells, to, size,
                    );
                    done += VALUE_VECTORS * S::LANES;
                } else {
                    add_values::<S, B, N, 1>(weights, &factors, from, padded, cells, to, size);
                    done += S::LANES;
                }
            }
        }
    }
    for (number, partial) in partial.chunks_exact_mut(size).enumerate() {
        partial[0] = largest[number];
        partial[1] = add_lanes(&sums[number]);
    }
}

/// Makes weights of a block's scores and returns the factor for what was added up before.
///
/// # Safety
///
/// The processor has `S`.
#[inline(always)]
unsafe fn weigh<S: Simd>(
    attention: &Attention<'_>,
    scores: &mut [f32; CELLS],
    seen: (usize, usize),
    largest: &mut f32,
    sums: &mut [f32; KEYS],
) -> f32 {
    for score in &mut scores[..seen.0] {
        *score = f32::NEG_INFINITY;
    }
    for score in &mut scores[seen.1.max(seen.0)..] {
        *score = f32::NEG_INFINITY;
    }
    // SAFETY: all accesses are within the block's scores and the 16 sums.
    unsafe {
        let scores = scores.as_mut_ptr();
        let mut best = S::splat(f32::NEG_INFINITY);
        for first in (0..CELLS).step_by(S::LANES) {
            let mut score = S::mul(S::load(scores.add(first)), S::splat(attention.scale));
            if let Some(cap) = attention.cap {
                score = bend::<S>(score, cap);
            }
            S::store(scores.add(first), score);
            best = S::max(score, best);
        }
        // A cap makes a number of minus infinity; what is not seen must weigh nothing.
        if attention.cap.is_some() {
            for cell in (0..seen.0).chain(seen.1.max(seen.0)..CELLS) {
                *scores.add(cell) = f32::NEG_INFINITY;
            }
            best = S::splat(f32::NEG_INFINITY);
            for first in (0..CELLS).step_by(S::LANES) {
                best = S::max(S::load(scores.add(first)), best);
            }
        }
        let before = *largest;
        *largest = before.max(S::largest(best));
        let mut factor = [0.0_f32; KEYS];
        S::store(factor.as_mut_ptr(), exp::<S>(S::splat(before - *largest)));
        let factor = factor[0];
        for lane in (0..KEYS).step_by(S::LANES) {
            let sums = sums.as_mut_ptr().add(lane);
            let mut sum = S::mul(S::load(sums), S::splat(factor));
            for first in (lane..CELLS).step_by(KEYS) {
                let score = S::load(scores.add(first));
                let weight = exp::<S>(S::sub(score, S::splat(*largest)));
                S::store(scores.add(first), weight);
                sum = S::add(sum, weight);
            }
            S::store(sums, sum);
        }
        factor
    }
}

/// `cap × tanh(score ÷ cap)`.
///
/// # Safety
///
/// The processor has `S`.
#[inline(always)]
unsafe fn bend<S: Simd>(score: S::F, cap: f32) -> S::F {
    // SAFETY: says the caller.
    unsafe {
        let twice = exp::<S>(S::mul(score, S::splat(2.0 / cap)));
        let one = S::splat(1.0);
        let tanh = S::sub(one, S::div(S::splat(2.0), S::add(twice, one)));
        S::mul(tanh, S::splat(cap))
    }
}

/// Multiplies the weights of cells by the scales of their values, of which there is one for each cell.
///
/// # Safety
///
/// The processor has `S`; the scales are there.
#[inline(always)]
unsafe fn scale_weights<S: Simd, const N: usize>(
    weights: &[[f32; CELLS]; N],
    scales: *const u8,
    scaled: &mut [[f32; CELLS]; N],
) {
    for (weights, scaled) in weights.iter().zip(scaled) {
        for cell in (0..CELLS).step_by(S::LANES) {
            // SAFETY: there are as many weights and scales as cells.
            unsafe {
                let scale = S::load_f16(scales.add(cell * size_of::<u16>()));
                let weight = S::load(weights.as_ptr().add(cell));
                S::store(scaled.as_mut_ptr().add(cell), S::mul(weight, scale));
            }
        }
    }
}

/// Adds the weighted values of a block, of as many columns as the vectors have.
///
/// # Safety
///
/// The processor has `S`; values and sums are there, of `N` vectors `size` floats apart.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "as in `score`")]
#[expect(clippy::too_many_arguments, reason = "all of it stays in registers")]
unsafe fn add_values<S: Simd, B: Numbers, const N: usize, const VALUE_VECTORS: usize>(
    weights: &[[f32; CELLS]; N],
    factors: &[f32; N],
    values: *const u8,
    padded: usize,
    cells: usize,
    out: *mut f32,
    size: usize,
) {
    // SAFETY: says the caller.
    unsafe {
        let mut sums = [[S::splat(0.0); VALUE_VECTORS]; N];
        for number in 0..N {
            let factor = S::splat(factors[number]);
            for index in 0..VALUE_VECTORS {
                let from = out.add(number * size + index * S::LANES);
                sums[number][index] = S::mul(S::load(from), factor);
            }
        }
        for cell in 0..cells {
            let from = values.add(cell * padded * B::BYTES);
            let mut values = [S::splat(0.0); VALUE_VECTORS];
            for index in 0..VALUE_VECTORS {
                values[index] = B::load::<S>(from.add(index * S::LANES * B::BYTES));
            }
            for number in 0..N {
                let weight = S::splat(*weights[number].as_ptr().add(cell));
                for index in 0..VALUE_VECTORS {
                    sums[number][index] = S::fma(weight, values[index], sums[number][index]);
                }
            }
        }
        for number in 0..N {
            for index in 0..VALUE_VECTORS {
                let to = out.add(number * size + index * S::LANES);
                S::store(to, sums[number][index]);
            }
        }
    }
}
