//! What comes out of a step: logits, or rows of the last layer.

use std::sync::Arc;

use super::project::Target;
use super::{Stepper, sized};
use crate::quant::TILE;

impl Stepper {
    /// The last layer's row of an output of the last step, which was one to vectors.
    pub(crate) fn vector(&self, output: usize) -> &[f32] {
        let width = self.model.plan.width;
        &self.buffers.normed[output * width..(output + 1) * width]
    }

    /// The logits of an output of the last step, by its place among the outputs.
    pub(crate) fn logits(&mut self, output: usize) -> Option<&mut [f32]> {
        let vocabulary = self.model.plan.vocabulary;
        let start = output * vocabulary.next_multiple_of(TILE);
        self.buffers.logits.get_mut(start..start + vocabulary)
    }

    /// Logits of the rows that are left.
    pub(super) fn output(&mut self, rows: usize) {
        let model = Arc::clone(&self.model);
        let plan = &model.plan;
        self.norm(&model.weights.output_norm, rows);
        let stride = plan.vocabulary.next_multiple_of(TILE);
        let buffers = &mut self.buffers;
        let target = Target {
            linear: &model.weights.output,
            out: sized(&mut buffers.logits, rows * stride),
        };
        let normed = &buffers.normed[..rows * plan.width];
        self.projector.project(normed, plan.width, &mut [target]);
        let (scale, cap) = (plan.scales.logits, plan.scales.logit_cap);
        if scale == 1.0 && cap.is_none() {
            return;
        }
        let logits = &mut buffers.logits[..rows * stride];
        self.projector.pool.for_chunks(logits, 4096, |_, logits| {
            for logit in logits {
                *logit *= scale;
                if let Some(cap) = cap {
                    *logit = cap * (*logit / cap).tanh();
                }
            }
        });
    }
}
