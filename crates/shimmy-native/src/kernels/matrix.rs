//! Matrices times activations, on all threads. Owns how the work is shared out and which kernel
//! computes it.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

use super::activations::{Activations, FLOAT_RECORD, Forms, RECORD, brain_record};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::simd::{Brains, Floats, Halves, Singles};
use super::tile::{self, multiply as multiply_tile, multiply_floats};
use super::{Level, compiled_for, scalar};
#[cfg(target_arch = "x86_64")]
use super::{
    avx2,
    avx512::{self, Pairs},
};
use crate::pool::Pool;
use crate::quant::{BLOCK, Kind, TILE, tile_bytes};

/// Weights that one thread multiplies with all rows before it takes others: they stay in the second
/// cache level meanwhile.
const CHUNK: usize = 192 << 10;

/// A matrix in tiles.
#[derive(Debug)]
pub(crate) struct Matrix {
    kind: Kind,
    inputs: usize,
    outputs: usize,
    arena: Arc<Mmap>,
    range: Range<usize>,
}

impl Matrix {
    /// The matrix whose tiles are at `start` of the arena; none if they do not lie within it.
    pub(crate) fn new(
        kind: Kind,
        inputs: usize,
        outputs: usize,
        arena: Arc<Mmap>,
        start: usize,
    ) -> Option<Self> {
        let range = start..start.checked_add(Self::bytes(kind, inputs, outputs))?;
        arena.get(range.clone())?;
        // A quantised row consists of whole blocks; its kernels rely on it.
        let whole = kind.is_float() || inputs.is_multiple_of(kind.file_block().0);
        whole.then_some(Self {
            kind,
            inputs,
            outputs,
            arena,
            range,
        })
    }

    /// Some of its rows, whole tiles of them.
    ///
    /// # Panics
    ///
    /// When they are not, or there are no such rows.
    pub(crate) fn part(&self, rows: Range<usize>) -> Self {
        assert!(rows.start.is_multiple_of(TILE) && rows.len().is_multiple_of(TILE));
        assert!(rows.end <= self.outputs, "rows of another matrix");
        let bytes = tile_bytes(self.kind, self.inputs);
        let start = self.range.start + rows.start / TILE * bytes;
        Self {
            kind: self.kind,
            inputs: self.inputs,
            outputs: rows.len(),
            arena: Arc::clone(&self.arena),
            range: start..start + rows.len() / TILE * bytes,
        }
    }

    /// Bytes of a matrix in tiles.
    pub(crate) fn bytes(kind: Kind, inputs: usize, outputs: usize) -> usize {
        outputs.div_ceil(TILE) * tile_bytes(kind, inputs)
    }

    /// Rows of the matrix: what a row of results has.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Which form of activations it is multiplied with.
    pub(crate) fn forms(&self) -> Forms {
        Forms {
            quantized: !self.kind.is_float(),
            floats: matches!(self.kind, Kind::F32 | Kind::F16),
            brains: self.kind == Kind::Bf16,
        }
    }

    fn tiles(&self) -> usize {
        self.outputs.div_ceil(TILE)
    }
}

/// A matrix and where its products go.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    /// The matrix.
    pub(crate) matrix: &'a Matrix,
    /// The rows of activations: all of a part.
    pub(crate) rows: Range<usize>,
    /// Results of each row of activations one after the other; each takes the matrix's outputs,
    /// rounded up to a multiple of 16.
    pub(crate) out: &'a mut [f32],
}

/// One matrix of a call, as the threads see it.
struct Part<'a> {
    matrix: &'a Matrix,
    rows: Range<usize>,
    out: *mut f32,
    stride: usize,
    /// Its first chunk among those of all matrices.
    first: usize,
    /// Tiles of a chunk.
    chunk: usize,
}

// SAFETY: the threads write through `out` to different places: each chunk's columns.
unsafe impl Sync for Part<'_> {}

/// Multiplies matrices with the same activations.
///
/// # Panics
///
/// When sizes do not match, or the activations lack the form that a matrix needs.
pub(crate) fn multiply(
    pool: &mut Pool,
    level: Level,
    activations: &Activations,
    products: &mut [Product<'_>],
) {
    let all: usize = products
        .iter()
        .map(|product| product.matrix.range.len())
        .sum();
    // Large enough to be worth a hand-out, small enough that all threads end together.
    let bytes = (all / (pool.threads() * 6)).clamp(8 << 10, CHUNK);
    let mut chunks = 0;
    let mut parts = Vec::with_capacity(products.len());
    for product in products {
        let matrix = product.matrix;
        let stride = matrix.tiles() * TILE;
        assert_eq!(
            matrix.inputs, activations.inputs,
            "activations of another width"
        );
        let rows = product.rows.clone();
        assert!(rows.end <= activations.rows, "rows that there are not");
        assert!(
            product.out.len() >= rows.len() * stride,
            "no room for the results"
        );
        let (records, record) = records(level, activations, matrix.kind);
        assert!(records.len() >= activations.rows * matrix.inputs.div_ceil(BLOCK) * record);
        let chunk = (bytes / tile_bytes(matrix.kind, matrix.inputs)).max(1);
        parts.push(Part {
            matrix,
            rows,
            out: product.out.as_mut_ptr(),
            stride,
            first: chunks,
            chunk,
        });
        chunks += matrix.tiles().div_ceil(chunk);
    }
    let parts = &parts[..];
    pool.run(chunks, &|number| {
        let index = parts.partition_point(|part| part.first <= number) - 1;
        let part = &parts[index];
        let first = (number - part.first) * part.chunk;
        let last = (first + part.chunk).min(part.matrix.tiles());
        compute(level, activations, part, first..last);
    });
}

/// The activations as a kind of weights meets them, and the words of a block of one row.
fn records(level: Level, activations: &Activations, kind: Kind) -> (&[i32], usize) {
    match kind {
        Kind::Bf16 => (&activations.brains, brain_record(level)),
        Kind::F32 | Kind::F16 => (&activations.floats, FLOAT_RECORD),
        _ => (&activations.quantized, RECORD),
    }
}

/// Multiplies some tiles of a matrix with all rows.
fn compute(level: Level, activations: &Activations, part: &Part<'_>, tiles: Range<usize>) {
    let matrix = part.matrix;
    let float = matrix.kind.is_float();
    let blocks = matrix.inputs.div_ceil(BLOCK);
    let bytes = tile_bytes(matrix.kind, matrix.inputs);
    let weights = matrix.arena[matrix.range.clone()].as_ptr();
    let (records, record) = records(level, activations, matrix.kind);
    let records = records.as_ptr();
    let rows = &part.rows;
    for row in rows.clone().step_by(activations.group) {
        let members = activations.group.min(rows.end - row);
        for number in tiles.clone() {
            // SAFETY: `multiply` has checked that the activations have this many records and that
            // there is room for all results; `Matrix::new` that the tiles are there. No other
            // thread writes this tile's columns. The level is one of this processor.
            unsafe {
                let product = tile::Product {
                    tile: weights.add(number * bytes),
                    inputs: matrix.inputs,
                    activations: records.add(row * blocks * record),
                    out: part
                        .out
                        .add((row - rows.start) * part.stride + number * TILE),
                    stride: part.stride,
                    fresh: row == rows.start,
                };
                if float {
                    for first in (0..members).step_by(FLOAT_ROWS) {
                        let count = FLOAT_ROWS.min(members - first);
                        float_kernel(level, matrix.kind, count)(&product, first, members);
                    }
                } else {
                    kernel(level, matrix.kind, members)(&product);
                }
            }
        }
    }
}

/// Activations that the kernels of floats take at a time.
const FLOAT_ROWS: usize = 4;

type Kernel = unsafe fn(&tile::Product);
type FloatKernel = unsafe fn(&tile::Product, usize, usize);

/// # Safety
///
/// As of [`multiply_tile`].
unsafe fn on_scalar<const KIND: u8, const N: usize>(product: &tile::Product) {
    // SAFETY: says the caller.
    unsafe { multiply_tile::<scalar::Scalar, KIND, N>(product) }
}

/// # Safety
///
/// As of [`multiply_floats`].
unsafe fn floats_on_scalar<W: Floats<scalar::Scalar>, const N: usize>(
    product: &tile::Product,
    first: usize,
    members: usize,
) {
    // SAFETY: says the caller.
    unsafe { multiply_floats::<scalar::Scalar, W, N>(product, first, members) }
}

/// [`on_scalar`], compiled for a level.
macro_rules! compiled_tile {
    ($level:ident, $simd:ty, $function:ident) => {
        compiled_for!(
            $level,
            /// # Safety
            ///
            /// As of [`multiply_tile`].
            unsafe fn $function<const KIND: u8, const N: usize>(product: &tile::Product) {
                // SAFETY: says the caller.
                unsafe { multiply_tile::<$simd, KIND, N>(product) }
            }
        );
    };
}

compiled_tile!(Avx2, avx2::Avx2, on_avx2);
compiled_tile!(AvxVnni, avx2::AvxVnni, on_avx_vnni);
compiled_tile!(Avx512, avx512::Avx512, on_avx512);
compiled_tile!(Neon, neon::Neon, on_neon);
compiled_tile!(Dotprod, neon::Dotprod, on_dotprod);
compiled_tile!(I8mm, neon::I8mm, on_i8mm);

/// [`floats_on_scalar`], compiled for a level; of floats those with the same vectors do not differ.
macro_rules! compiled_floats {
    ($level:ident, $simd:ty, $function:ident) => {
        compiled_for!(
            $level,
            /// # Safety
            ///
            /// As of [`multiply_floats`].
            unsafe fn $function<W: Floats<$simd>, const N: usize>(
                product: &tile::Product,
                first: usize,
                members: usize,
            ) {
                // SAFETY: says the caller.
                unsafe { multiply_floats::<$simd, W, N>(product, first, members) }
            }
        );
    };
}

compiled_floats!(Avx2, avx2::Avx2, floats_on_avx2);
compiled_floats!(Avx512, avx512::Avx512, floats_on_avx512);
compiled_floats!(Avx512Bf16, avx512::Avx512, floats_on_avx512_bf16);
compiled_floats!(Neon, neon::Neon, floats_on_neon);

/// The function of a kind and a number of activations.
macro_rules! choose {
    ($function:ident, $kind:expr, $count:expr, [$($known:ident)*], $counts:tt) => {
        match $kind {
            $(Kind::$known => {
                choose!(@counts $function, Kernel, { Kind::$known as u8 }, $count, $counts)
            })*
            // The caller tells floats from codes.
            _ => unreachable!("a kernel of the other family"),
        }
    };
    (@counts $function:ident, $type:ty, $weights:tt, $count:expr, [$($n:literal)*]) => {
        match $count {
            $($n => $function::<$weights, $n> as $type,)*
            _ => unreachable!("more activations than a group has"),
        }
    };
}

fn kernel(level: Level, kind: Kind, count: usize) -> Kernel {
    macro_rules! of {
        ($function:ident, $counts:tt) => {
            choose!(
                $function,
                kind,
                count,
                [Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2K Q3K Q4K Q5K Q6K Iq4Nl Iq4Xs],
                $counts
            )
        };
    }
    match level {
        Level::Scalar => of!(on_scalar, [1]),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => of!(on_avx2, [1 2 3 4]),
        #[cfg(target_arch = "x86_64")]
        Level::AvxVnni => of!(on_avx_vnni, [1 2 3 4]),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Bf16 => of!(on_avx512, [1 2 3 4 5 6 7 8]),
        #[cfg(target_arch = "aarch64")]
        Level::Neon => of!(on_neon, [1 2 3 4 5 6 7 8]),
        #[cfg(target_arch = "aarch64")]
        Level::Dotprod => of!(on_dotprod, [1 2 3 4 5 6 7 8]),
        #[cfg(target_arch = "aarch64")]
        Level::I8mm => of!(on_i8mm, [1 2 3 4 5 6 7 8]),
    }
}

fn float_kernel(level: Level, kind: Kind, count: usize) -> FloatKernel {
    macro_rules! of {
        ($function:ident, $counts:tt) => {
            match kind {
                Kind::F32 => choose!(@counts $function, FloatKernel, Singles, count, $counts),
                Kind::F16 => choose!(@counts $function, FloatKernel, Halves, count, $counts),
                // The caller tells floats from codes.
                _ => choose!(@counts $function, FloatKernel, Brains, count, $counts),
            }
        };
    }
    match level {
        Level::Scalar => of!(floats_on_scalar, [1]),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::AvxVnni => of!(floats_on_avx2, [1 2 3 4]),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 if kind == Kind::Bf16 => {
            choose!(@counts floats_on_avx512_bf16, FloatKernel, Pairs, count, [1 2 3 4])
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Bf16 => of!(floats_on_avx512, [1 2 3 4]),
        #[cfg(target_arch = "aarch64")]
        Level::Neon | Level::Dotprod | Level::I8mm => of!(floats_on_neon, [1 2 3 4]),
    }
}
