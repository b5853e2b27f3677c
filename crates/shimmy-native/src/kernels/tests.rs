//! The kernels of matrices against exact sums, against each other, and one row at a time.

use std::sync::Arc;

use memmap2::MmapMut;
use proptest::prelude::*;

use super::{Activations, Forms, Level, Matrix, Product, multiply};
use crate::half;
use crate::pool::Pool;
use crate::quant::{self, Kind, TILE, tile_bytes};

const KINDS: [Kind; 15] = [
    Kind::F32,
    Kind::F16,
    Kind::Bf16,
    Kind::Q4_0,
    Kind::Q4_1,
    Kind::Q5_0,
    Kind::Q5_1,
    Kind::Q8_0,
    Kind::Q2K,
    Kind::Q3K,
    Kind::Q4K,
    Kind::Q5K,
    Kind::Q6K,
    Kind::Iq4Nl,
    Kind::Iq4Xs,
];

/// Numbers from a seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 8
    }

    /// From −1 to 1.
    fn float(&mut self) -> f32 {
        (self.next() & 0xff_ffff) as f32 / 8_388_608.0 - 1.0
    }

    pub(super) fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }

    /// Rows of a file: any bits, but for the halves, which are small finite numbers.
    fn rows(&mut self, kind: Kind, inputs: usize, rows: usize) -> Vec<u8> {
        let (_, bytes) = kind.file_block();
        let halves: &[usize] = match kind {
            Kind::F16 | Kind::F32 | Kind::Bf16 => &[],
            Kind::Q4_1 | Kind::Q5_1 | Kind::Q4K | Kind::Q5K => &[0, 2],
            Kind::Q2K => &[80, 82],
            Kind::Q3K => &[108],
            Kind::Q6K => &[208],
            _ => &[0],
        };
        let mut data: Vec<u8> = Vec::new();
        for _ in 0..kind.row_bytes(inputs) * rows / bytes {
            match kind {
                Kind::F32 => data.extend(self.float().to_le_bytes()),
                Kind::F16 => data.extend(half::from_f32(self.float()).to_le_bytes()),
                Kind::Bf16 => data.extend(&self.float().to_le_bytes()[2..]),
                _ => {
                    let mut block: Vec<u8> = (0..bytes).map(|_| self.next() as u8).collect();
                    for &at in halves {
                        let half = half::from_f32(self.float() * 0.01);
                        block[at..at + 2].copy_from_slice(&half.to_le_bytes());
                    }
                    data.extend(block);
                }
            }
        }
        data
    }
}

fn matrix(kind: Kind, inputs: usize, outputs: usize, rows: &[u8]) -> Matrix {
    let mut arena = MmapMut::map_anon(Matrix::bytes(kind, inputs, outputs)).unwrap();
    let tiles = arena.chunks_exact_mut(tile_bytes(kind, inputs));
    for (rows, tile) in rows.chunks(TILE * kind.row_bytes(inputs)).zip(tiles) {
        quant::pack(kind, rows, inputs, tile);
    }
    let arena = Arc::new(arena.make_read_only().unwrap());
    Matrix::new(kind, inputs, outputs, arena, 0).unwrap()
}

/// The products, row after row, without the padding.
fn products(
    level: Level,
    threads: usize,
    matrix: &Matrix,
    values: &[f32],
    inputs: usize,
) -> Vec<f32> {
    let mut pool = Pool::new(threads);
    let mut activations = Activations::default();
    let forms = Forms {
        quantized: true,
        floats: true,
        brains: true,
    };
    activations.fill(&mut pool, level, values, inputs, forms);
    let stride = matrix.outputs().next_multiple_of(TILE);
    let mut out = vec![f32::NAN; values.len() / inputs * stride];
    let product = Product {
        matrix,
        rows: 0..values.len() / inputs,
        out: &mut out,
    };
    multiply(&mut pool, level, &activations, &mut [product]);
    let rows = out.chunks_exact(stride);
    rows.flat_map(|row| row[..matrix.outputs()].to_vec())
        .collect()
}

/// Values as they are quantised, exactly.
pub(super) fn quantized(values: &[f32]) -> Vec<f64> {
    let blocks = values.chunks(32).map(|block| {
        let largest = block
            .iter()
            .fold(0.0_f32, |all, value| all.max(value.abs()));
        let step = f64::from(largest / 127.0);
        let codes = block
            .iter()
            .map(move |value| (value * (127.0 / largest)).round_ties_even());
        codes.map(move |code| f64::from(code) * step)
    });
    blocks.flatten().collect()
}

/// The exact products with the values as they are quantised (or not, for floats).
fn expected(kind: Kind, rows: &[u8], values: &[f32], inputs: usize) -> Vec<(f64, f64)> {
    let mut weights = vec![0.0; inputs];
    let mut expected = Vec::new();
    for values in values.chunks_exact(inputs) {
        let quantized = match kind {
            Kind::F32 | Kind::F16 => values.iter().map(|value| f64::from(*value)).collect(),
            Kind::Bf16 => {
                let brains = values.iter().map(|value| half::bf16_from_f32(*value));
                brains
                    .map(|brain| f64::from(half::bf16_to_f32(brain)))
                    .collect()
            }
            _ => quantized(values),
        };
        for row in rows.chunks_exact(kind.row_bytes(inputs)) {
            quant::dequantize(kind, row, &mut weights);
            let terms = weights
                .iter()
                .zip(&quantized)
                .map(|(w, v)| f64::from(*w) * v);
            let size = terms.clone().map(f64::abs).sum();
            expected.push((terms.sum(), size));
        }
    }
    expected
}

/// A run that is for certain kernels, under emulation for one, names them: otherwise it would pass as
/// well where they are not found.
#[test]
fn the_best_kernels_are_those_that_the_run_is_for() {
    if let Ok(expected) = std::env::var("SHIMMY_TEST_KERNELS") {
        assert_eq!(Level::detect().name(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn products_are_exact_on_every_level_and_the_same_for_each_row_alone(
        seed in any::<u64>(),
        blocks in 1..4_usize,
        outputs in 1..50_usize,
        rows in 1..20_usize,
        kind in prop::sample::select(KINDS.to_vec()),
    ) {
        let mut random = Random(seed);
        let inputs = blocks * kind.file_block().0.max(32);
        let file = random.rows(kind, inputs, outputs);
        let matrix = matrix(kind, inputs, outputs, &file);
        let values = random.floats(rows * inputs);
        let reference = products(Level::Scalar, 1, &matrix, &values, inputs);
        for ((sum, size), value) in expected(kind, &file, &values, inputs).iter().zip(&reference) {
            let error = (f64::from(*value) - sum).abs();
            prop_assert!(error <= size * 4e-6 + 1e-9, "{kind:?}: {value} for {sum}");
        }
        for level in Level::available() {
            let together = products(level, 3, &matrix, &values, inputs);
            prop_assert_eq!(&together, &reference, "{:?} {:?}", level, kind);
        }
        let last = &values[(rows - 1) * inputs..];
        let alone = products(Level::detect(), 1, &matrix, last, inputs);
        prop_assert_eq!(&alone[..], &reference[(rows - 1) * outputs..]);
    }
}
