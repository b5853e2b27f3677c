//! Low-rank products: what adapters add to the products of a matrix, `B × A × x` with thin A and B.
//! Owns how they are laid out and shared out. Every sum is taken in an order that is the same for
//! every level and does not depend on other rows.

use std::ops::Range;

use super::elementwise::{LANES, add_lanes};
use super::simd::Simd;
use super::tile::kind_of;
use super::{Level, dispatch};
use crate::pool::Pool;
use crate::quant::Kind;

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
    /// Rows of A and of B, transposed: the rank.
    rank: usize,
    /// Rows of `inputs` values.
    a: Floats,
    /// B, transposed: as many rows, of `outputs` values.
    b: Floats,
}

/// Values as they are in a file.
#[derive(Debug)]
pub(crate) struct Floats {
    /// One of the formats that are floats.
    pub(crate) kind: Kind,
    /// The values, one after the other.
    pub(crate) values: Vec<u8>,
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
    /// Of A, with rows of `inputs` values, and B, with `outputs` rows that have as many values as A
    /// has rows.
    ///
    /// # Panics
    ///
    /// When there are other numbers of values, or they are no floats.
    pub(crate) fn new(a: Floats, b: &Floats, inputs: usize, outputs: usize) -> Self {
        assert!(a.kind.is_float() && b.kind.is_float(), "adapters of floats");
        let (row_bytes, size) = (a.kind.row_bytes(inputs), b.kind.row_bytes(1));
        let rank = a.values.len() / row_bytes;
        assert!(
            a.values.len() == rank * row_bytes && b.values.len() == rank * outputs * size,
            "matrices that do not fit each other"
        );
        let padded = rank.next_multiple_of(BUNDLE);
        let mut bundles = a.values;
        bundles.resize(padded * row_bytes, 0);
        let stride = outputs.next_multiple_of(LANES);
        let mut transposed = vec![0; padded * stride * size];
        for (output, row) in b.values.chunks_exact((rank * size).max(1)).enumerate() {
            for (index, value) in row.chunks_exact(size).enumerate() {
                let at = (index * stride + output) * size;
                transposed[at..at + size].copy_from_slice(value);
            }
        }
        Self {
            inputs,
            outputs: stride,
            rank: padded,
            a: Floats {
                kind: a.kind,
                values: bundles,
            },
            b: Floats {
                kind: b.kind,
                values: transposed,
            },
        }
    }
}

impl Update<'_> {
    /// Values between A and B.
    fn inner(&self) -> usize {
        self.pair.rank * self.rows.len()
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
        if update.rows.is_empty() {
            continue;
        }
        let rows = &input[update.rows.start * inputs..update.rows.end * inputs];
        let Floats { kind, values } = &update.pair.a;
        for bundle in values.chunks_exact(BUNDLE * kind.row_bytes(inputs)) {
            let (out, after) = rest.split_at_mut(BUNDLE * update.rows.len());
            rest = after;
            tasks.push((*kind, bundle, rows, update.scale, out));
        }
    }
    pool.for_each(&mut tasks, |_, (kind, bundle, rows, scale, out)| {
        narrow(level, *kind, bundle, rows, out);
        out.iter_mut().for_each(|value| *value *= *scale);
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

/// A bundle of A times rows: as many values of each row as a bundle has rows.
fn narrow(level: Level, kind: Kind, bundle: &[u8], rows: &[f32], out: &mut [f32]) {
    let inputs = rows.len() / (out.len() / BUNDLE);
    assert_eq!(bundle.len(), BUNDLE * kind.row_bytes(inputs));
    dispatch!(
        level,
        narrow_on(kind: Kind, bundle: &[u8], rows: &[f32], out: &mut [f32])
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

/// Calls a function for the format of floats.
macro_rules! of_kind {
    ($kind:expr, $function:ident, $($argument:expr),*) => {
        match $kind {
            Kind::F16 => $function::<S, { Kind::F16 as u8 }>($($argument),*),
            Kind::Bf16 => $function::<S, { Kind::Bf16 as u8 }>($($argument),*),
            _ => $function::<S, { Kind::F32 as u8 }>($($argument),*),
        }
    };
}

/// The vector that begins with a value.
///
/// # Safety
///
/// The processor has `S`; there are as many values from there on as a vector has.
#[inline(always)]
unsafe fn load<S: Simd, const KIND: u8>(values: *const u8, at: usize) -> S::F {
    let kind = const { kind_of(KIND) };
    // SAFETY: says the caller.
    unsafe {
        match kind {
            Kind::F16 => S::load_f16(values.add(at * 2)),
            Kind::Bf16 => S::load_bf16(values.add(at * 2)),
            _ => S::load(values.cast::<f32>().add(at)),
        }
    }
}

/// # Safety
///
/// The processor has `S`; the slices have the sizes that [`narrow`] checks, and rows are whole
/// vectors.
#[inline(always)]
unsafe fn narrow_on<S: Simd>(kind: Kind, bundle: &[u8], rows: &[f32], out: &mut [f32]) {
    // SAFETY: says the caller.
    unsafe { of_kind!(kind, narrow_kind, bundle, rows, out) }
}

/// # Safety
///
/// As of [`narrow_on`].
#[inline(always)]
unsafe fn narrow_kind<S: Simd, const KIND: u8>(bundle: &[u8], rows: &[f32], out: &mut [f32]) {
    let count = out.len() / BUNDLE;
    let inputs = rows.len() / count;
    let whole = count / NARROW_ROWS * NARROW_ROWS;
    // SAFETY: of so many rows, says the caller.
    unsafe {
        for row in (0..whole).step_by(NARROW_ROWS) {
            let (rows, out) = (&rows[row * inputs..], &mut out[row * BUNDLE..]);
            narrow_rows::<S, KIND, NARROW_ROWS>(bundle, rows, inputs, out);
        }
        for row in whole..count {
            let (rows, out) = (&rows[row * inputs..], &mut out[row * BUNDLE..]);
            narrow_rows::<S, KIND, 1>(bundle, rows, inputs, out);
        }
    }
}

/// # Safety
///
/// As of [`narrow_on`], of at least `N` rows.
#[inline(always)]
unsafe fn narrow_rows<S: Simd, const KIND: u8, const N: usize>(
    bundle: &[u8],
    rows: &[f32],
    inputs: usize,
    out: &mut [f32],
) {
    let mut sums = [[[0.0; LANES]; BUNDLE]; N];
    // SAFETY: a vector begins at every multiple of 16 of each row, says the caller.
    unsafe {
        for lane in (0..LANES).step_by(S::LANES) {
            let mut vectors = [[S::splat(0.0); BUNDLE]; N];
            for at in (lane..inputs).step_by(LANES) {
                let mut weights = [S::splat(0.0); BUNDLE];
                for (index, weights) in weights.iter_mut().enumerate() {
                    *weights = load::<S, KIND>(bundle.as_ptr(), index * inputs + at);
                }
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
            *out = add_lanes(sum);
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
        // SAFETY: says the caller.
        unsafe { of_kind!(update.pair.b.kind, widen_kind, task, update, inner) }
    }
}

/// # Safety
///
/// As of [`widen_on`].
#[inline(always)]
unsafe fn widen_kind<S: Simd, const KIND: u8>(
    task: &Widening<'_>,
    update: &Update<'_>,
    inner: &[f32],
) {
    let count = update.rows.len();
    let whole = count / WIDE_ROWS * WIDE_ROWS;
    // SAFETY: of so many rows, says the caller.
    unsafe {
        for row in (0..whole).step_by(WIDE_ROWS) {
            widen_rows::<S, KIND, WIDE_ROWS>(task, update, inner, row);
        }
        for row in whole..count {
            widen_rows::<S, KIND, 1>(task, update, inner, row);
        }
    }
}

/// # Safety
///
/// As of [`widen_on`]; the update has `N` rows from this one on.
#[inline(always)]
unsafe fn widen_rows<S: Simd, const KIND: u8, const N: usize>(
    task: &Widening<'_>,
    update: &Update<'_>,
    inner: &[f32],
    row: usize,
) {
    let LowRank { outputs, b, .. } = update.pair;
    let rows = update.rows.len();
    let columns = task.columns.start.min(*outputs)..task.columns.end.min(*outputs);
    // SAFETY: outputs are whole vectors, and B has as many rows as there are values of a row in `inner`;
    // the rest says the caller.
    unsafe {
        let out = task.out.add((update.rows.start + row) * task.stride);
        for column in columns.step_by(S::LANES) {
            let mut sums = [S::splat(0.0); N];
            for (number, sum) in sums.iter_mut().enumerate() {
                *sum = S::load(out.add(number * task.stride + column));
            }
            for (number, bundle) in inner.chunks_exact(BUNDLE * rows).enumerate() {
                let inner = &bundle[row * BUNDLE..(row + N) * BUNDLE];
                for index in 0..BUNDLE {
                    let at = (number * BUNDLE + index) * outputs + column;
                    let weights = load::<S, KIND>(b.values.as_ptr(), at);
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
mod tests;
