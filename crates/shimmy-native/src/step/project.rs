//! Rows times the matrices of a layer, with biases and adapters. Owns the order in which they are
//! applied.

use std::ops::Range;
use std::sync::Arc;

use super::experts::Part;
use crate::adapter::Adapter;
use crate::kernels::{
    Activations, Forms, Level, Matrix, Product, Sum, Update, add_low_rank, multiply,
};
use crate::model::Linear;
use crate::pool::Pool;
use crate::quant::TILE;

/// What computes, and its memory.
#[derive(Debug)]
pub(super) struct Projector {
    pub(super) pool: Pool,
    pub(super) level: Level,
    activations: Activations,
    /// The rows that have adapters.
    pub(super) adapted: Vec<Adapted>,
    /// Memory for what is between an adapter's matrices.
    inner: Vec<f32>,
}

/// Rows one after the other that have the same adapters, with their scales.
#[derive(Debug, Clone)]
pub(crate) struct Adapted {
    pub(crate) rows: Range<usize>,
    pub(crate) adapters: Vec<(Arc<Adapter>, f32)>,
}

/// A matrix and where its results go.
pub(super) struct Target<'a> {
    pub(super) linear: &'a Linear,
    pub(super) out: &'a mut [f32],
}

impl Projector {
    pub(super) fn new(threads: usize, level: Level) -> Self {
        Self {
            pool: Pool::new(threads),
            level,
            activations: Activations::default(),
            adapted: Vec::new(),
            inner: Vec::new(),
        }
    }

    /// Multiplies rows of `inputs` values with matrices.
    pub(super) fn project(&mut self, input: &[f32], inputs: usize, targets: &mut [Target<'_>]) {
        let forms = forms(targets);
        self.activations
            .fill(&mut self.pool, self.level, input, inputs, forms);
        let mut products: Vec<Product<'_>> = targets
            .iter_mut()
            .map(|target| Product {
                matrix: &target.linear.matrix,
                rows: 0..input.len() / inputs,
                out: &mut *target.out,
            })
            .collect();
        multiply(&mut self.pool, self.level, &self.activations, &mut products);
        self.adapt(input, inputs, targets);
        for target in targets {
            let stride = target.stride();
            if let Some(bias) = &target.linear.bias {
                let out = &mut target.out[..input.len() / inputs * stride];
                let piece = self.level.group() * stride;
                self.pool.for_chunks(out, piece, |_, rows| {
                    for row in rows.chunks_exact_mut(stride) {
                        for (value, bias) in row.iter_mut().zip(bias) {
                            *value += bias;
                        }
                    }
                });
            }
        }
    }

    /// Multiplies rows, in parts, each with the matrices of its expert, which have so many outputs.
    /// There are no biases and no adapters of experts.
    pub(super) fn project_parts(
        &mut self,
        rows: &[&[f32]],
        parts: &[Part],
        outputs: usize,
        targets: &mut [Target<'_>],
    ) {
        let ends: Vec<usize> = parts.iter().map(|part| part.places.end).collect();
        self.activations
            .fill_parts(&mut self.pool, self.level, rows, &ends, forms(targets));
        let matrix_of = |target: &Target<'_>, part: &Part| {
            let first = part.expert * outputs;
            target.linear.matrix.part(first..first + outputs)
        };
        let matrices: Vec<Matrix> = targets
            .iter()
            .flat_map(|target| parts.iter().map(|part| matrix_of(target, part)))
            .collect();
        let outs = targets.iter_mut().flat_map(|target| {
            let mut rest = &mut target.out[..];
            parts.iter().map(move |part| {
                let (out, after) =
                    std::mem::take(&mut rest).split_at_mut(part.places.len() * outputs);
                rest = after;
                (part.places.clone(), out)
            })
        });
        let mut products: Vec<Product<'_>> = matrices
            .iter()
            .zip(outs)
            .map(|(matrix, (rows, out))| Product { matrix, rows, out })
            .collect();
        multiply(&mut self.pool, self.level, &self.activations, &mut products);
    }

    /// Adds what the adapters of the rows add.
    fn adapt(&mut self, input: &[f32], inputs: usize, targets: &mut [Target<'_>]) {
        let adapted = &self.adapted;
        let mut sums: Vec<Sum<'_>> = targets
            .iter_mut()
            .map(|target| Sum {
                stride: target.stride(),
                updates: updates(adapted, target.linear).collect(),
                out: &mut *target.out,
            })
            .filter(|sum| !sum.updates.is_empty())
            .collect();
        if !sums.is_empty() {
            let (pool, inner) = (&mut self.pool, &mut self.inner);
            add_low_rank(pool, self.level, (input, inputs), &mut sums, inner);
        }
    }
}

/// What the matrices of targets need.
fn forms(targets: &[Target<'_>]) -> Forms {
    let forms = targets.iter().map(|target| target.linear.matrix.forms());
    forms.fold(Forms::default(), Forms::and)
}

impl Target<'_> {
    /// Values of a row of results.
    fn stride(&self) -> usize {
        self.linear.matrix.outputs().next_multiple_of(TILE)
    }
}

/// What adapters add to the products of a matrix.
fn updates<'a>(adapted: &'a [Adapted], linear: &Linear) -> impl Iterator<Item = Update<'a>> {
    let matrix = linear.id;
    adapted.iter().flat_map(move |adapted| {
        adapted.adapters.iter().filter_map(move |(adapter, scale)| {
            let pair = adapter.pair(matrix)?;
            Some(Update {
                pair: &pair.matrices,
                scale: pair.scale * scale,
                rows: adapted.rows.clone(),
            })
        })
    })
}
