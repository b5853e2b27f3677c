//! Rotary positions. Owns the angles; must not know whose values are turned.

use crate::model::RopeFactors;
use crate::plan::{Pairs, Rope};

/// How one kind of layers turns queries and keys.
#[derive(Debug)]
pub(super) struct Rotation {
    pairs: Pairs,
    magnitude: f32,
    /// Angle of each pair for one position.
    frequencies: Vec<f64>,
    /// Cosine and sine of each pair, for each row of the step.
    turns: Vec<(f32, f32)>,
}

impl Rotation {
    /// The rotation of a model that is used up to a context of so many tokens.
    pub(super) fn new(rope: &Rope, factors: &RopeFactors<Vec<f32>>, context: usize) -> Self {
        let sized = if context > rope.short_context {
            &factors.long
        } else {
            &factors.short
        };
        let factors = factors.all.as_ref().or(sized.as_ref());
        let frequency = |pair: usize| {
            let exponent = -2.0 * pair as f64 / rope.dimensions as f64;
            let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
            f64::from(rope.base).powf(exponent) / f64::from(rope.stretch) / factor
        };
        Self {
            pairs: rope.pairs,
            magnitude: rope.magnitude,
            frequencies: (0..rope.dimensions / 2).map(frequency).collect(),
            turns: Vec::new(),
        }
    }

    /// Prepares for rows at these positions.
    pub(super) fn prepare(&mut self, positions: &[u32]) {
        self.turns.clear();
        for &position in positions {
            self.turns.extend(self.frequencies.iter().map(|frequency| {
                let (sine, cosine) = (f64::from(position) * frequency).sin_cos();
                (cosine as f32 * self.magnitude, sine as f32 * self.magnitude)
            }));
        }
    }

    /// Turns the heads of one row of the step.
    pub(super) fn turn(&self, row: usize, heads: &mut [f32], head: usize) {
        let half = self.frequencies.len();
        let turns = &self.turns[row * half..(row + 1) * half];
        for values in heads.chunks_exact_mut(head) {
            match self.pairs {
                Pairs::Adjacent => {
                    for (pair, turn) in values.chunks_exact_mut(2).zip(turns) {
                        [pair[0], pair[1]] = turned(pair[0], pair[1], *turn);
                    }
                }
                Pairs::Halves => {
                    let (low, high) = values.split_at_mut(half);
                    for ((low, high), turn) in low.iter_mut().zip(high).zip(turns) {
                        [*low, *high] = turned(*low, *high, *turn);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn turned(x: f32, y: f32, (cosine, sine): (f32, f32)) -> [f32; 2] {
    [x * cosine - y * sine, x * sine + y * cosine]
}
