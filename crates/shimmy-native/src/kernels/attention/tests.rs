//! Attention against exact sums, against itself on every level, and one row at a time.

use proptest::prelude::*;

use super::super::tests::{Random, quantized};
use super::spread::{spread_keys, spread_query};
use super::{Attention, CELLS, CacheType, Query, Sight, attend};
use crate::cache::Shape;
use crate::kernels::Level;
use crate::pool::Pool;

/// A cache of one layer with so many cells, its blocks in reverse order.
struct Keys {
    blocks: Vec<Box<[u8]>>,
    table: Vec<u32>,
    /// By cell: keys and values of all heads, as the cache gives them back.
    cells: Vec<(Vec<f32>, Vec<f32>)>,
}

fn keys(random: &mut Random, shape: Shape, cells: usize) -> Keys {
    let count = cells.div_ceil(CELLS);
    // What is not written is no number, at least as a half: nobody may read it.
    let mut blocks = vec![vec![0x7e; shape.block()].into_boxed_slice(); count];
    let table: Vec<u32> = (0..count as u32).rev().collect();
    let width = shape.key_heads * shape.head;
    let mut written = Vec::new();
    for cell in 0..cells {
        let (key, value) = (random.floats(width), random.floats(width));
        let block = &mut blocks[table[cell / CELLS] as usize];
        shape.write(block, 0, cell % CELLS, &key, &value);
        let read = shape.read(block, 0, cell % CELLS);
        let mut key = key;
        // A scale is a half, a 127th of the largest; what is rounded is off by half of it at most.
        let part = match shape.kind {
            CacheType::F16 => 0.5 / 2048.0,
            CacheType::Q8_0 => {
                key.chunks_exact_mut(shape.head).for_each(spread_keys);
                0.51 / 127.0
            }
        };
        for (written, read) in [(&key, &read.0), (&value, &read.1)] {
            let largest = written.iter().fold(1.0_f32, |all, one| all.max(one.abs()));
            let most = part * largest;
            let pairs = written.iter().zip(read);
            let off = pairs.fold(0.0_f32, |all, (w, r)| all.max((w - r).abs()));
            assert!(off <= most, "{:?}: {off}", shape.kind);
        }
        written.push(read);
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
    sight: Sight,
    cap: Option<f32>,
}

impl Case<'_> {
    fn run(&self, level: Level, threads: usize, first: usize, q: &[f32]) -> Vec<f32> {
        let width = self.heads * self.shape.head;
        let attention = Attention {
            level,
            heads: self.heads,
            key_heads: self.shape.key_heads,
            layout: self.shape.layout(),
            scale: 0.3,
            cap: self.cap,
            sight: self.sight,
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
            &mut q.to_vec(),
            &mut out,
            &mut Vec::new(),
        );
        out
    }

    fn expected(&self, position: usize, q: &[f32]) -> Vec<f64> {
        let (head, group) = (self.shape.head, self.heads / self.shape.key_heads);
        let seen = match self.sight {
            Sight::Before(window) => {
                let window = window.map_or(usize::MAX, |window| window as usize);
                &self.keys.cells[(position + 1).saturating_sub(window)..=position]
            }
            Sight::Whole => &self.keys.cells[..],
        };
        let mut out = Vec::new();
        for (number, q) in q.chunks_exact(head).enumerate() {
            let at = number / group * head;
            let q = match self.shape.kind {
                CacheType::F16 => q.iter().map(|value| f64::from(*value)).collect(),
                CacheType::Q8_0 => {
                    let mut q = q.to_vec();
                    spread_query(&mut q);
                    quantized(&q)
                }
            };
            let weight = |key: &[f32]| {
                let pairs = q.iter().zip(&key[at..at + head]);
                let dot: f64 = pairs.map(|(q, k)| q * f64::from(*k)).sum();
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
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn attention_is_exact_and_the_same_for_each_row_alone(
        seed in any::<u64>(),
        cells in 1..1300_usize,
        rows in 1..20_usize,
        heads in prop::sample::select(vec![(1, 1), (2, 2), (3, 1), (14, 2), (9, 1)]),
        head in prop::sample::select(vec![8, 16, 24, 64, 80]),
        window in prop::option::of(1..700_u32),
        capped in any::<bool>(),
        kind in prop::sample::select(vec![CacheType::F16, CacheType::Q8_0]),
    ) {
        let rows = rows.min(cells);
        let (heads, key_heads) = heads;
        let shape = Shape { layers: 1, key_heads, head, kind };
        let mut random = Random(seed);
        let keys = keys(&mut random, shape, cells);
        let cap = capped.then_some(2.0);
        let case = Case { shape, heads, keys: &keys, sight: Sight::Before(window), cap };
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn rows_that_see_a_whole_text_are_exact_and_have_the_same_bits_on_every_level(
        seed in any::<u64>(),
        rows in prop_oneof![1..200_usize, 500..600_usize],
        heads in 1..4_usize,
        head in prop::sample::select(vec![16, 32, 64]),
    ) {
        let shape = Shape { layers: 1, key_heads: heads, head, kind: CacheType::F16 };
        let mut random = Random(seed);
        let keys = keys(&mut random, shape, rows);
        let case = Case { shape, heads, keys: &keys, sight: Sight::Whole, cap: None };
        let width = heads * head;
        let q: Vec<f32> = random.floats(rows * width).iter().map(|value| value * 3.0).collect();
        let reference = case.run(Level::Scalar, 1, 0, &q);
        for row in [0, rows / 2, rows - 1] {
            let (q, out) = (&q[row * width..][..width], &reference[row * width..][..width]);
            for (value, exact) in out.iter().zip(case.expected(row, q)) {
                prop_assert!((f64::from(*value) - exact).abs() < 2e-5, "{value} for {exact}");
            }
        }
        for level in Level::available() {
            for threads in [1, 3] {
                prop_assert_eq!(&case.run(level, threads, 0, &q), &reference, "{:?}", level);
            }
        }
    }
}

/// Milliseconds of attention at 8192 cells, of one row in 24 layers and of 64 rows in one, on one thread.
#[test]
#[ignore = "measures"]
fn figures_of_attention() {
    for (heads, key_heads, head) in [(14, 2, 64), (9, 3, 64), (4, 4, 64), (32, 8, 128)] {
        for (rows, layers) in [(1, 24), (64, 1)] {
            let mut random = Random(7);
            let mut caches = |kind| -> (Shape, Vec<Keys>) {
                let shape = Shape {
                    layers: 1,
                    key_heads,
                    head,
                    kind,
                };
                let layers = (0..layers).map(|_| keys(&mut random, shape, 8192));
                (shape, layers.collect())
            };
            let caches = [CacheType::F16, CacheType::Q8_0].map(&mut caches);
            let q = random.floats(rows * heads * head);
            let mut best = [f64::MAX; 2];
            // In turn, so that other work on the machine meets both.
            for turn in 0..60 {
                let (shape, layers) = &caches[turn % 2];
                let start = std::time::Instant::now();
                for keys in layers {
                    let case = Case {
                        shape: *shape,
                        heads,
                        keys,
                        sight: Sight::Before(None),
                        cap: None,
                    };
                    case.run(Level::detect(), 1, 8192 - rows, &q);
                }
                let took = start.elapsed().as_secs_f64() * 1000.0;
                best[turn % 2] = best[turn % 2].min(took);
            }
            let [halves, bytes] = best;
            println!("{heads}/{key_heads} × {head}, {rows} rows: {halves:.2} ms, {bytes:.2} ms");
        }
    }
}
