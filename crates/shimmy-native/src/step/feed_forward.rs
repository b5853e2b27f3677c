//! The second half of a layer: a gated network, or several of which each row passes through some.

use super::project::Target;
use super::{Stepper, sized};
use crate::kernels::gate;
use crate::model::{Layer, Linear};

impl Stepper {
    /// Adds what the second half of a layer gives to the stream.
    pub(super) fn feed_forward(&mut self, layer: &Layer<Linear, Vec<f32>>, rows: usize) {
        self.norm(&layer.feed_forward_norm, rows);
        match (&layer.router, self.model.plan.experts) {
            (Some(router), Some(experts)) => self.mix_experts(layer, router, experts, rows),
            _ => self.network(layer, rows),
        }
        self.add(layer.feed_forward_post_norm.as_deref(), rows);
    }

    /// What one network adds to the stream for all normed rows.
    fn network(&mut self, layer: &Layer<Linear, Vec<f32>>, rows: usize) {
        let (plan, buffers) = (&self.model.plan, &mut self.buffers);
        let (width, inner) = (plan.width, plan.feed_forward);
        let targets = &mut [
            Target {
                linear: &layer.gate,
                out: sized(&mut buffers.gate, rows * inner),
            },
            Target {
                linear: &layer.up,
                out: sized(&mut buffers.up, rows * inner),
            },
        ];
        self.projector
            .project(&buffers.normed[..rows * width], width, targets);
        self.gate(rows * inner);
        let buffers = &mut self.buffers;
        let target = Target {
            linear: &layer.down,
            out: sized(&mut buffers.added, rows * width),
        };
        self.projector
            .project(&buffers.gate[..rows * inner], inner, &mut [target]);
    }

    /// Applies the gates to so many values.
    pub(super) fn gate(&mut self, values: usize) {
        let plan = &self.model.plan;
        let (level, function) = (self.projector.level, plan.gate);
        // Pieces of a few microseconds; of one row a single one.
        let piece = plan.feed_forward.max(4096);
        let (gates, ups) = (
            &mut self.buffers.gate[..values],
            &mut self.buffers.up[..values],
        );
        self.projector
            .pool
            .for_pairs((gates, piece), (ups, piece), |_, gates, ups| {
                gate(level, function, gates, ups);
            });
    }
}
