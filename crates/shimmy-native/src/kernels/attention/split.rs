//! One split of attention: scores, weights and weighted values of up to eight blocks of the cache, for
//! a few vectors that share their keys.

use super::super::elementwise::{add_lanes, exp};
use super::super::simd::Simd;
use super::{Attention, CELLS, KEYS};

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
/// The processor has `S`; the vectors point to queries of `attention.head` values.
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
        ($($n:literal $vectors:literal $values:literal,)*) => {
            match vectors.len() {
                $($n if $n <= S::ROWS => {
                    let mut all = [Vector::NONE; $n];
                    all.copy_from_slice(vectors);
                    // SAFETY: says the caller.
                    unsafe {
                        split::<S, $n, $vectors, $values>(attention, &all, table, first, at, partial);
                    }
                })*
                _ => unreachable!("a unit of too many vectors"),
            }
        };
    }
    // As many sums as hide an addition's latency and as there are registers for: up to 16 of four
    // lanes, which are a quarter of the work.
    if S::LANES == 4 {
        choose!(1 8 8, 2 4 4, 3 4 4, 4 4 4, 5 2 2, 6 2 2, 7 2 2, 8 2 2,);
    } else {
        choose!(1 4 4, 2 2 4, 3 2 4, 4 1 4, 5 1 2, 6 1 2, 7 1 2, 8 1 2,);
    }
}

/// # Safety
///
/// As of [`split_on`].
#[inline(always)]
unsafe fn split<S: Simd, const N: usize, const KEY_VECTORS: usize, const VALUE_VECTORS: usize>(
    attention: &Attention<'_>,
    vectors: &[Vector; N],
    table: &[u32],
    first: usize,
    at: usize,
    partial: &mut [f32],
) {
    let padded = Attention::padded(attention.head);
    let size = attention.partial();
    partial.fill(0.0);
    let mut largest = [NOTHING; N];
    let mut sums = [[0.0_f32; KEYS]; N];
    let mut scores = [[0.0_f32; CELLS]; N];
    for (index, &block) in table.iter().enumerate() {
        let base = (first + index) * CELLS;
        let end = vectors
            .iter()
            .map(|vector| vector.seen.1)
            .fold(0, usize::max);
        let cells = CELLS.min(end - base);
        let data = &attention.blocks[block as usize][at..at + Attention::head_size(attention.head)];
        // SAFETY: the slice above has the keys and the values of this head.
        let (keys, values) = unsafe { (data.as_ptr(), data.as_ptr().add(CELLS * attention.head)) };
        // SAFETY: as above; `partial` has room for the values of `N` vectors.
        unsafe {
            score::<S, N, KEY_VECTORS>(attention, vectors, keys, cells, &mut scores);
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
            let out = partial.as_mut_ptr().add(2);
            let mut done = 0;
            while done + VALUE_VECTORS * S::LANES <= padded {
                let (from, to) = (values.add(done), out.add(done));
                add_values::<S, N, VALUE_VECTORS>(&scores, &factors, from, padded, cells, to, size);
                done += VALUE_VECTORS * S::LANES;
            }
            while done < padded {
                let (from, to) = (values.add(done), out.add(done));
                add_values::<S, N, 1>(&scores, &factors, from, padded, cells, to, size);
                done += S::LANES;
            }
        }
    }
    for (number, partial) in partial.chunks_exact_mut(size).enumerate() {
        partial[0] = largest[number];
        partial[1] = add_lanes(&sums[number]);
    }
}

/// The products of queries and keys.
///
/// # Safety
///
/// The processor has `S`; there are keys and queries of `attention.head` values.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "indices are unrolled into registers; iterators are not"
)]
unsafe fn score<S: Simd, const N: usize, const KEY_VECTORS: usize>(
    attention: &Attention<'_>,
    vectors: &[Vector; N],
    keys: *const u16,
    cells: usize,
    scores: &mut [[f32; CELLS]; N],
) {
    let head = attention.head;
    let mut queries = [std::ptr::null(); N];
    for number in 0..N {
        queries[number] = vectors[number].values;
    }
    for first in (0..cells).step_by(KEY_VECTORS * S::LANES) {
        // SAFETY: keys of whole blocks are there, whether they are used yet or not.
        unsafe {
            let mut sums = [[S::splat(0.0); KEY_VECTORS]; N];
            let mut from = [keys; KEY_VECTORS];
            for index in 0..KEY_VECTORS {
                let cell = first + index * S::LANES;
                from[index] = keys.add(cell / KEYS * KEYS * head + cell % KEYS);
            }
            for value in 0..head {
                let mut keys = [S::splat(0.0); KEY_VECTORS];
                for index in 0..KEY_VECTORS {
                    keys[index] = S::load_f16(from[index].add(value * KEYS).cast());
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

/// Adds the weighted values of a block, of as many columns as the vectors have.
///
/// # Safety
///
/// The processor has `S`; values and sums are there, of `N` vectors `size` floats apart.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "as in `score`")]
#[expect(clippy::too_many_arguments, reason = "all of it stays in registers")]
unsafe fn add_values<S: Simd, const N: usize, const VALUE_VECTORS: usize>(
    weights: &[[f32; CELLS]; N],
    factors: &[f32; N],
    values: *const u16,
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
            let from = values.add(cell * padded);
            let mut values = [S::splat(0.0); VALUE_VECTORS];
            for index in 0..VALUE_VECTORS {
                values[index] = S::load_f16(from.add(index * S::LANES).cast());
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
