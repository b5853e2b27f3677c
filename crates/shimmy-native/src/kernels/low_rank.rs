//! Low-rank products: what adapters add to the products of a matrix, `B × A × x` with thin A and B.
//! Owns how they are laid out and shared out. Every sum is taken in an order that is the same for
//! every level and does not depend on other rows.

use std::ops::Range;

use super::elementwise::{LANES, add_lanes};
use super::simd::Simd;
use super::{Level, dispatch};
use crate::pool::Pool;

/// Rows of A that are multiplied together; the rank is rounded up to whole bundles.
const BUNDLE: usize = 4;

/// Rows of activations that are multiplied with a bundle at a time, and with B.
const NARROW_ROWS: usize = 2;
const WIDE_ROWS: usize = 4;

/// Outputs that one thread takes at a time: their part of B stays in the first cache level.
const COLUMNS: usize = 128;

/// The thin matrices A and B.
#[derive(Debug)]
pub(crate) struct LowRank {
    inputs: usize,
    outputs: usize,
    /// Bundles of rows of `inputs` values.
    a: Vec<f32>,
    /// B, transposed: as many rows, of `outputs` values.
    b: Vec<f32>,
}

/// What is added to some rows of a product.
#[derive(Debug)]
pub(crate) struct Update<'a> {
    /// A and B.
    pub(crate) pair: &'a LowRank,
    /// What their product is multiplied by.
    pub(crate) scale: f32,
    /// The rows.
    pub(crate) rows: Range<usize>,
}

/// A product and what is added to it, one after the other.
#[derive(Debug)]
pub(crate) struct Sum<'a> {
    /// The product's rows, of `stride` values each.
    pub(crate) out: &'a mut [f32],
    /// At least the outputs of each update, rounded up to a multiple of 16.
    pub(crate) stride: usize,
    /// The updates.
    pub(crate) updates: Vec<Update<'a>>,
}

impl LowRank {
    /// Of A, with rows of `inputs` values, and B, whose rows have as many values as A has rows. B
    /// has `outputs` rows.
    ///
    /// # Panics
    ///
    /// When there are other numbers of values.
    pub(crate) fn new(a: &[f32], b: &[f32], inputs: usize, outputs: usize) -> Self {
        let rank = a.len() / inputs;
        assert!(
            a.len() == rank * inputs && b.len() == rank * outputs,
            "sizes"
        );
        let padded = rank.next_multiple_of(BUNDLE);
        let mut bundles = a.to_vec();
        bundles.resize(padded * inputs, 0.0);
        let stride = outputs.next_multiple_of(LANES);
        let mut transposed = vec![0.0; padded * stride];
        for (output, row) in b.chunks_exact(rank.max(1)).enumerate() {
            for (rank, value) in row.iter().enumerate() {
                transposed[rank * stride + output] = *value;
            }
        }
        Self {
            inputs,
            outputs: stride,
            a: bundles,
            b: transposed,
        }
    }
}

impl Update<'_> {
    /// Values between A and B.
    fn inner(&self) -> usize {
        self.pair.a.len() / self.pair.inputs * self.rows.len()
    }
}

/// Does the updates of products whose activations are rows of `inputs` values. `inner` is memory
/// for what is between A and B.
///
/// # Panics
///
/// When sizes do not match.
pub(crate) fn add_low_rank(
    pool: &mut Pool,
    level: Level,
    (input, inputs): (&[f32], usize),
    sums: &mut [Sum<'_>],
    inner: &mut Vec<f32>,
) {
    let length = sums.iter().flat_map(|sum| &sum.updates).map(Update::inner);
    inner.resize(length.sum(), 0.0);
    let mut rest = &mut inner[..];
    let mut tasks = Vec::new();
    for update in sums.iter().flat_map(|sum| &sum.updates) {
        assert_eq!(update.pair.inputs, inputs, "activations of another width");
        assert!(inputs.is_multiple_of(LANES), "activations of whole vectors");
        let rows = &input[update.rows.start * inputs..update.rows.end * inputs];
        for bundle in update.pair.a.chunks_exact(BUNDLE * inputs) {
            let (out, after) = rest.split_at_mut(BUNDLE * update.rows.len());
            rest = after;
            tasks.push((bundle, rows, update.scale, out));
        }
    }
    pool.for_each(&mut tasks, |_, (bundle, rows, scale, out)| {
        narrow(level, bundle, rows, *scale, out);
    });
    let mut rest = &inner[..];
    let mut tasks = Vec::new();
    for Sum {
        out,
        stride,
        updates,
    } in sums
    {
        let (of_sum, after) = rest.split_at(updates.iter().map(Update::inner).sum());
        rest = after;
        let outputs = updates.iter().map(|update| update.pair.outputs).max();
        let outputs = outputs.unwrap_or(0);
        let rows = updates.iter().map(|update| update.rows.end).max();
        assert!(
            outputs <= *stride && rows.unwrap_or(0) * *stride <= out.len(),
            "no room for the results"
        );
        for first in (0..outputs).step_by(COLUMNS) {
            tasks.push(Widening {
                updates,
                inner: of_sum,
                out: out.as_mut_ptr(),
                stride: *stride,
                columns: first..first + COLUMNS,
            });
        }
    }
    let tasks = &tasks[..];
    pool.run(tasks.len(), &|task| widen(level, &tasks[task]));
}

/// A bundle of A times rows, times a scale: as many values of each row as a bundle has rows.
fn narrow(level: Level, bundle: &[f32], rows: &[f32], scale: f32, out: &mut [f32]) {
    assert_eq!(rows.len() * BUNDLE * BUNDLE, bundle.len() * out.len());
    dispatch!(
        level,
        narrow_on(bundle: &[f32], rows: &[f32], scale: f32, out: &mut [f32])
    );
}

/// Some columns of a sum.
struct Widening<'a> {
    updates: &'a [Update<'a>],
    /// What is between A and B, of one update after the other.
    inner: &'a [f32],
    out: *mut f32,
    stride: usize,
    columns: Range<usize>,
}

// SAFETY: the threads write through `out` to different places: each to its columns.
unsafe impl Sync for Widening<'_> {}

/// Adds B times what is between A and B to some columns.
fn widen(level: Level, task: &Widening<'_>) {
    dispatch!(level, widen_on(task: &Widening<'_>));
}

/// # Safety
///
/// The processor has `S`; the slices have the sizes that [`narrow`] checks, and rows are whole
/// vectors.
#[inline(always)]
unsafe fn narrow_on<S: Simd>(bundle: &[f32], rows: &[f32], scale: f32, out: &mut [f32]) {
    let inputs = bundle.len() / BUNDLE;
    let count = rows.len() / inputs;
    let whole = count / NARROW_ROWS * NARROW_ROWS;
    // SAFETY: of so many rows, says the caller.
    unsafe {
        for row in (0..whole).step_by(NARROW_ROWS) {
            narrow_rows::<S, NARROW_ROWS>(
                bundle,
                &rows[row * inputs..],
                scale,
                &mut out[row * BUNDLE..],
            );
        }
        for row in whole..count {
            narrow_rows::<S, 1>(
                bundle,
                &rows[row * inputs..],
                scale,
                &mut out[row * BUNDLE..],
            );
        }
    }
}

/// # Safety
///
/// As of [`narrow_on`], of at least `N` rows.
#[inline(always)]
unsafe fn narrow_rows<S: Simd, const N: usize>(
    bundle: &[f32],
    rows: &[f32],
    scale: f32,
    out: &mut [f32],
) {
    let inputs = bundle.len() / BUNDLE;
    let mut sums = [[[0.0; LANES]; BUNDLE]; N];
    // SAFETY: a vector begins at every multiple of 16 of each row, says the caller.
    unsafe {
        for lane in (0..LANES).step_by(S::LANES) {
            let mut vectors = [[S::splat(0.0); BUNDLE]; N];
            for at in (lane..inputs).step_by(LANES) {
                let weights: [S::F; BUNDLE] =
                    std::array::from_fn(|index| S::load(bundle.as_ptr().add(index * inputs + at)));
                for (number, vectors) in vectors.iter_mut().enumerate() {
                    let x = S::load(rows.as_ptr().add(number * inputs + at));
                    for (vector, weights) in vectors.iter_mut().zip(weights) {
                        *vector = S::fma(x, weights, *vector);
                    }
                }
            }
            for (sums, vectors) in sums.iter_mut().zip(vectors) {
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    S::store(sum.as_mut_ptr().add(lane), vector);
                }
            }
        }
    }
    for (out, sums) in out.chunks_exact_mut(BUNDLE).zip(&sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = add_lanes(sum) * scale;
        }
    }
}

/// # Safety
///
/// The processor has `S`; nobody else uses the columns of `out`, which has room for all rows.
#[inline(always)]
unsafe fn widen_on<S: Simd>(task: &Widening<'_>) {
    let mut rest = task.inner;
    for update in task.updates {
        let (inner, after) = rest.split_at(update.inner());
        rest = after;
        let whole = update.rows.len() / WIDE_ROWS * WIDE_ROWS;
        // SAFETY: of so many rows, says the caller.
        unsafe {
            for row in (0..whole).step_by(WIDE_ROWS) {
                widen_rows::<S, WIDE_ROWS>(task, update, inner, row);
            }
            for row in whole..update.rows.len() {
                widen_rows::<S, 1>(task, update, inner, row);
            }
        }
    }
}

/// # Safety
///
/// As of [`widen_on`]; the update has `N` rows from this one on.
#[inline(always)]
unsafe fn widen_rows<S: Simd, const N: usize>(
    task: &Widening<'_>,
    update: &Update<'_>,
    inner: &[f32],
    row: usize,
) {
    let outputs = update.pair.outputs;
    let rows = update.rows.len();
    let columns = task.columns.start.min(outputs)..task.columns.end.min(outputs);
    // SAFETY: outputs are whole vectors, and B has as many rows as there are values of a row in `inner`;
    // the rest says the caller.
    unsafe {
        let out = task.out.add((update.rows.start + row) * task.stride);
        for column in columns.step_by(S::LANES) {
            let mut sums: [S::F; N] =
                std::array::from_fn(|number| S::load(out.add(number * task.stride + column)));
            for (number, bundle) in inner.chunks_exact(BUNDLE * rows).enumerate() {
                let weights = update
                    .pair
                    .b
                    .as_ptr()
                    .add(number * BUNDLE * outputs + column);
                let inner = &bundle[row * BUNDLE..(row + N) * BUNDLE];
                for index in 0..BUNDLE {
                    let weights = S::load(weights.add(index * outputs));
                    for (sum, inner) in sums.iter_mut().zip(inner.chunks_exact(BUNDLE)) {
                        *sum = S::fma(weights, S::splat(inner[index]), *sum);
                    }
                }
            }
            for (number, sum) in sums.into_iter().enumerate() {
                S::store(out.add(number * task.stride + column), sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LowRank, Sum, Update, add_low_rank};
    use crate::kernels::Level;
    use crate::pool::Pool;
    use proptest::prelude::*;

    const STRIDE: usize = 320;

    fn wave(count: usize, seed: usize) -> Vec<f32> {
        let value = |at: usize| (((at + seed) * 37 % 101) as f32 - 50.0) / 40.0;
        (0..count).map(value).collect()
    }

    /// Two updates of the rows before and behind a border, and one of all rows.
    fn sums(
        level: Level,
        threads: usize,
        ranks: [usize; 2],
        rows: usize,
        border: usize,
    ) -> Vec<f32> {
        let (inputs, outputs) = (48, [300, 33]);
        let pairs: Vec<_> = (0..2)
            .map(|number| {
                let (rank, outputs) = (ranks[number], outputs[number]);
                let (a, b) = (
                    wave(rank * inputs, number),
                    wave(outputs * rank, number + 5),
                );
                LowRank::new(&a, &b, inputs, outputs)
            })
            .collect();
        let update = |number: usize, rows| Update {
            pair: &pairs[number],
            scale: 0.5 + number as f32,
            rows,
        };
        let mut out = wave(rows * STRIDE, 3);
        let sum = Sum {
            out: &mut out,
            stride: STRIDE,
            updates: vec![
                update(0, 0..border),
                update(1, border..rows),
                update(1, 0..rows),
            ],
        };
        let mut pool = Pool::new(threads);
        let input = wave(rows * inputs, 11);
        let inner = &mut Vec::new();
        add_low_rank(&mut pool, level, (&input, inputs), &mut [sum], inner);
        for (row, out) in out.chunks_exact(STRIDE).enumerate() {
            let first = usize::from(row >= border);
            let mut exact: Vec<f64> = wave(rows * STRIDE, 3)[row * STRIDE..][..STRIDE]
                .iter()
                .map(|&value| f64::from(value))
                .collect();
            for number in [first, 1] {
                let rank = ranks[number];
                let (a, b) = (
                    wave(rank * inputs, number),
                    wave(outputs[number] * rank, number + 5),
                );
                for index in 0..rank {
                    let x = &input[row * inputs..(row + 1) * inputs];
                    let products = x.iter().zip(&a[index * inputs..]);
                    let inner: f64 = products.map(|(&x, &a)| f64::from(x) * f64::from(a)).sum();
                    for (output, exact) in exact[..outputs[number]].iter_mut().enumerate() {
                        let b = f64::from(b[output * rank + index]);
                        *exact += inner * b * (0.5 + number as f64);
                    }
                }
            }
            for (value, exact) in out.iter().zip(&exact) {
                assert!((f64::from(*value) - exact).abs() < 1e-4 * (1.0 + exact.abs()));
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_level_gives_the_same_bits_whatever_rows_there_are(
            ranks in [1..20_usize, 1..9_usize],
            (rows, border) in (1..12_usize).prop_flat_map(|rows| (Just(rows), 0..rows)),
            threads in 1..4_usize,
        ) {
            let expected = sums(Level::Scalar, 1, ranks, rows, border);
            for level in Level::available() {
                prop_assert_eq!(&sums(level, threads, ranks, rows, border), &expected, "{:?}", level);
            }
        }
    }
}
