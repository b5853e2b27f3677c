//! Rows times the matrices of a layer, with biases and adapters. Owns the order in which they are
//! applied.

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::kernels::{Activations, Forms, Level, Product, multiply};
use crate::model::Linear;
use crate::pool::Pool;

/// What computes, and its memory.
#[derive(Debug)]
pub(super) struct Projector {
    pub(super) pool: Pool,
    pub(super) level: Level,
    activations: Activations,
    /// The adapters of this step with their scales.
    pub(super) adapters: Vec<(Arc<Adapter>, f32)>,
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
            adapters: Vec::new(),
        }
    }

    /// Multiplies rows of `inputs` values with matrices.
    pub(super) fn project(&mut self, input: &[f32], inputs: usize, targets: &mut [Target<'_>]) {
        let forms = targets
            .iter()
            .map(|target| target.linear.matrix.forms())
            .fold(Forms::default(), Forms::and);
        self.activations
            .fill(&mut self.pool, self.level, input, inputs, forms);
        let mut products: Vec<Product<'_>> = targets
            .iter_mut()
            .map(|target| Product {
                matrix: &target.linear.matrix,
                out: &mut *target.out,
            })
            .collect();
        multiply(&mut self.pool, self.level, &self.activations, &mut products);
        for target in targets {
            self.adapt(input, inputs, target);
            let outputs = target.linear.matrix.outputs();
            if let Some(bias) = &target.linear.bias {
                let rows = input.len() / inputs;
                let stride = outputs.next_multiple_of(crate::quant::TILE);
                for row in target.out[..rows * stride].chunks_exact_mut(stride) {
                    for (value, bias) in row.iter_mut().zip(bias) {
                        *value += bias;
                    }
                }
            }
        }
    }

    fn adapt(&mut self, input: &[f32], inputs: usize, target: &mut Target<'_>) {
        let linear = target.linear;
        let stride = linear.matrix.outputs().next_multiple_of(crate::quant::TILE);
        let rows = input.len() / inputs;
        for (adapter, scale) in &self.adapters {
            let Some(pair) = adapter.pair(linear.id) else {
                continue;
            };
            let out = &mut target.out[..rows * stride];
            self.pool.for_chunks(out, stride, |row, out| {
                pair.apply(&input[row * inputs..(row + 1) * inputs], *scale, out);
            });
        }
    }
}
