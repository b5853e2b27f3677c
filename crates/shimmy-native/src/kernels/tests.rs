//! The kernels against exact sums, against each other, and one row at a time.

use std::sync::Arc;

use memmap2::MmapMut;
use proptest::prelude::*;

use super::attention::{Attention, CELLS, Query, attend};
use super::{Activations, Forms, Level, Matrix, Product, multiply};
use crate::cache::Shape;
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
struct Random(u64);

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

    fn floats(&mut self, count: usize) -> Vec<f32> {
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

/// The exact products with the values as they are quantised (or not, for floats).
fn expected(kind: Kind, rows: &[u8], values: &[f32], inputs: usize) -> Vec<(f64, f64)> {
    let mut weights = vec![0.0; inputs];
    let mut expected = Vec::new();
    for values in values.chunks_exact(inputs) {
        let quantized: Vec<f64> = values
            .chunks(32)
            .flat_map(|block| {
                let largest = block
                    .iter()
                    .fold(0.0_f32, |all, value| all.max(value.abs()));
                let step = largest / 127.0;
                block.iter().map(move |value| match kind.is_float() {
                    true => f64::from(*value),
                    false => f64::from((value * (127.0 / largest)).round_ties_even() * step),
                })
            })
            .collect();
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

/// A cache of one layer with so many cells, its blocks in reverse order.
struct Keys {
    blocks: Vec<Box<[u16]>>,
    table: Vec<u32>,
    /// By cell: keys and values of all heads, as halves give them back.
    cells: Vec<(Vec<f32>, Vec<f32>)>,
}

fn keys(random: &mut Random, shape: Shape, cells: usize) -> Keys {
    let count = cells.div_ceil(CELLS);
    let size = shape.key_heads * Attention::head_size(shape.head);
    // What is not written is no number: nobody may read it.
    let mut blocks = vec![vec![0x7e00; size].into_boxed_slice(); count];
    let table: Vec<u32> = (0..count as u32).rev().collect();
    let round = |values: Vec<f32>| -> Vec<f32> {
        values
            .into_iter()
            .map(|value| half::to_f32(half::from_f32(value)))
            .collect()
    };
    let width = shape.key_heads * shape.head;
    let mut written = Vec::new();
    for cell in 0..cells {
        let (key, value) = (round(random.floats(width)), round(random.floats(width)));
        let block = &mut blocks[table[cell / CELLS] as usize];
        shape.write(block, 0, cell % CELLS, &key, &value);
        written.push((key, value));
    }
    Keys {
        blocks,
        table,
        cells: written,
    }
}

struct Case<'a> {
    shape: Shape,
    heads: usize,
    keys: &'a Keys,
    window: Option<u32>,
    cap: Option<f32>,
}

impl Case<'_> {
    fn run(&self, level: Level, threads: usize, first: usize, q: &[f32]) -> Vec<f32> {
        let width = self.heads * self.shape.head;
        let attention = Attention {
            level,
            heads: self.heads,
            key_heads: self.shape.key_heads,
            head: self.shape.head,
            scale: 0.3,
            cap: self.cap,
            window: self.window,
            blocks: &self.keys.blocks,
            layer: 0,
        };
        let query = Query {
            table: &self.keys.table,
            first: 0,
            rows: q.len() / width,
            position: first,
        };
        let mut out = vec![f32::NAN; q.len()];
        let mut pool = Pool::new(threads);
        attend(
            &mut pool,
            &attention,
            &[query],
            q,
            &mut out,
            &mut Vec::new(),
        );
        out
    }

    fn expected(&self, position: usize, q: &[f32]) -> Vec<f64> {
        let (head, group) = (self.shape.head, self.heads / self.shape.key_heads);
        let window = self.window.map_or(usize::MAX, |window| window as usize);
        let seen = &self.keys.cells[(position + 1).saturating_sub(window)..=position];
        let mut out = Vec::new();
        for (number, q) in q.chunks_exact(head).enumerate() {
            let at = number / group * head;
            let weight = |key: &[f32]| {
                let pairs = q.iter().zip(&key[at..at + head]);
                let dot: f64 = pairs.map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                let score = dot * f64::from(0.3_f32);
                self.cap
                    .map(f64::from)
                    .map_or(score, |cap| cap * (score / cap).tanh())
                    .exp()
            };
            let weights: Vec<f64> = seen.iter().map(|(key, _)| weight(key)).collect();
            let sum: f64 = weights.iter().sum();
            for column in at..at + head {
                let values = seen.iter().map(|(_, value)| f64::from(value[column]));
                out.push(values.zip(&weights).map(|(v, w)| v * w).sum::<f64>() / sum);
            }
        }
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn attention_is_exact_and_the_same_for_each_row_alone(
        seed in any::<u64>(),
        cells in 1..1300_usize,
        rows in 1..20_usize,
        heads in prop::sample::select(vec![(1, 1), (2, 2), (3, 1), (14, 2), (9, 1)]),
        head in prop::sample::select(vec![8, 16, 24, 64, 80]),
        window in prop::option::of(1..700_u32),
        capped in any::<bool>(),
    ) {
        let rows = rows.min(cells);
        let (heads, key_heads) = heads;
        let shape = Shape { layers: 1, key_heads, head };
        let mut random = Random(seed);
        let keys = keys(&mut random, shape, cells);
        let cap = capped.then_some(2.0);
        let case = Case { shape, heads, keys: &keys, window, cap };
        let width = heads * head;
        let q: Vec<f32> = random.floats(rows * width).iter().map(|value| value * 3.0).collect();
        let first = cells - rows;
        let reference = case.run(Level::Scalar, 1, first, &q);
        for row in [0, rows - 1] {
            let q = &q[row * width..(row + 1) * width];
            let of_row = &reference[row * width..(row + 1) * width];
            for (value, exact) in of_row.iter().zip(case.expected(first + row, q)) {
                prop_assert!((f64::from(*value) - exact).abs() < 2e-5, "{value} for {exact}");
            }
            for threads in [1, 3] {
                let alone = case.run(Level::detect(), threads, first + row, q);
                prop_assert_eq!(&alone[..], of_row);
            }
        }
        for level in Level::available() {
            prop_assert_eq!(&case.run(level, 2, first, &q), &reference, "{:?}", level);
        }
    }
}
