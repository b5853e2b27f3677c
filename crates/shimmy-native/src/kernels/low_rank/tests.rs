//! Low-rank products against exact sums, and against each other.

use proptest::prelude::*;

use super::{Floats, LowRank, Sum, Update, add_low_rank};
use crate::half;
use crate::kernels::Level;
use crate::pool::Pool;
use crate::quant::Kind;

const STRIDE: usize = 320;
const INPUTS: usize = 48;
/// Of the first pair and the second.
const OUTPUTS: [usize; 2] = [300, 33];

/// Numbers that halves can hold exactly.
fn wave(count: usize, seed: usize) -> Vec<f32> {
    let value = |at: usize| (((at + seed) * 37 % 101) as f32 - 50.0) / 64.0;
    (0..count).map(value).collect()
}

fn floats(kind: Kind, values: &[f32]) -> Floats {
    let bytes = values.iter().flat_map(|value| match kind {
        Kind::F16 => half::from_f32(*value).to_le_bytes().to_vec(),
        Kind::Bf16 => value.to_le_bytes()[2..].to_vec(),
        _ => value.to_le_bytes().to_vec(),
    });
    Floats {
        kind,
        values: bytes.collect(),
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    /// Of the first pair and the second.
    ranks: [usize; 2],
    kinds: [Kind; 2],
    rows: usize,
    /// The first row of the second pair; those before are the first's.
    border: usize,
}

impl Case {
    fn a(&self, pair: usize) -> Vec<f32> {
        wave(self.ranks[pair] * INPUTS, pair)
    }

    fn b(&self, pair: usize) -> Vec<f32> {
        wave(OUTPUTS[pair] * self.ranks[pair], pair + 5)
    }

    /// The rows of each pair, and then the second for all.
    fn sums(&self, level: Level, threads: usize) -> Vec<f32> {
        let pairs = [0, 1].map(|pair| {
            let a = floats(self.kinds[0], &self.a(pair));
            let b = floats(self.kinds[1], &self.b(pair));
            LowRank::new(a, &b, INPUTS, OUTPUTS[pair])
        });
        let update = |pair: usize, rows| Update {
            pair: &pairs[pair],
            scale: 0.5 + pair as f32,
            rows,
        };
        let mut out = wave(self.rows * STRIDE, 3);
        let sum = Sum {
            out: &mut out,
            stride: STRIDE,
            updates: vec![
                update(0, 0..self.border),
                update(1, self.border..self.rows),
                update(1, 0..self.rows),
            ],
        };
        let input = wave(self.rows * INPUTS, 11);
        let mut pool = Pool::new(threads);
        add_low_rank(
            &mut pool,
            level,
            (&input, INPUTS),
            &mut [sum],
            &mut Vec::new(),
        );
        out
    }

    fn exact(&self) -> Vec<f64> {
        let start = wave(self.rows * STRIDE, 3);
        let mut out: Vec<f64> = start.into_iter().map(f64::from).collect();
        let input = wave(self.rows * INPUTS, 11);
        for (row, out) in out.chunks_exact_mut(STRIDE).enumerate() {
            for pair in [usize::from(row >= self.border), 1] {
                let (a, b, rank) = (self.a(pair), self.b(pair), self.ranks[pair]);
                for index in 0..rank {
                    let x = &input[row * INPUTS..(row + 1) * INPUTS];
                    let products = x.iter().zip(&a[index * INPUTS..]);
                    let inner: f64 = products.map(|(&x, &a)| f64::from(x) * f64::from(a)).sum();
                    for (output, out) in out[..OUTPUTS[pair]].iter_mut().enumerate() {
                        let b = f64::from(b[output * rank + index]);
                        *out += inner * b * (0.5 + pair as f64);
                    }
                }
            }
        }
        out
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::F32, Kind::F16, Kind::Bf16])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_level_gives_the_same_bits_and_nearly_the_exact_sum(
        ranks in [1..20_usize, 1..9_usize],
        kinds in [kind(), kind()],
        (rows, border) in (1..12_usize).prop_flat_map(|rows| (Just(rows), 0..rows)),
        threads in 1..4_usize,
    ) {
        let case = Case { ranks, kinds, rows, border };
        let expected = case.sums(Level::Scalar, 1);
        for (value, exact) in expected.iter().zip(case.exact()) {
            prop_assert!((f64::from(*value) - exact).abs() < 1e-4 * (1.0 + exact.abs()));
        }
        for level in Level::available() {
            prop_assert_eq!(&case.sums(level, threads), &expected, "{:?}", level);
        }
        // What the rows before it have does not matter to the last.
        let others = Case { border: 0, ..case };
        let last = (rows - 1) * STRIDE..;
        prop_assert_eq!(&others.sums(Level::detect(), 1)[last.clone()], &expected[last]);
    }
}
