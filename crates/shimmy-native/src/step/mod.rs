//! One step: rows of tokens through all layers. Owns the order of the parts and the buffers between
//! them; must not know batches, limits or errors of the engine.

mod cells;
mod encoder;
mod experts;
mod feed_forward;
mod output;
mod project;
mod rotation;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::{Cache, Run, Shape};
use crate::kernels::{
    Attention, CacheType, Level, Sight, add_scaled, attend, rms_norm, rms_norm_into,
};
use crate::model::{Decoder, Layer, Linear};
use crate::plan::Plan;
use cells::{Keys, write_cells};
pub(crate) use encoder::EncoderStepper;
use experts::Routes;
pub(crate) use project::Adapted;
use project::{Projector, Target};
use rotation::Rotation;

/// Rows of a step, those of a sequence one after the other.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) tokens: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    /// Sequences with their first row and how many rows they have.
    pub(crate) sequences: Vec<(usize, usize, usize)>,
    /// Rows whose logits are wanted, ascending.
    pub(crate) outputs: Vec<usize>,
    /// Rows that have adapters, ascending.
    pub(crate) adapted: Vec<Adapted>,
}

/// The step was ended before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aborted;

/// Computes steps of one decoder.
#[derive(Debug)]
pub(crate) struct Stepper {
    model: Arc<Decoder>,
    projector: Projector,
    rotation: Rotation,
    local_rotation: Option<Rotation>,
    buffers: Buffers,
}

/// Rows between the parts of a step. They keep their memory.
#[derive(Debug, Default)]
struct Buffers {
    /// The residual stream.
    stream: Vec<f32>,
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attention: Vec<f32>,
    partials: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// How well each expert suits a row.
    scores: Vec<f32>,
    routes: Routes,
    /// What the experts of all rows give.
    of_experts: Vec<f32>,
    /// What a half of a layer adds to the stream.
    added: Vec<f32>,
    logits: Vec<f32>,
    runs: Vec<Run>,
}

/// The first `length` values of a buffer that is made long enough.
fn sized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

impl Rows {
    /// Forgets the rows and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.outputs.clear();
        self.adapted.clear();
    }
}

impl Stepper {
    /// A stepper with so many threads, for contexts up to so many tokens.
    pub(crate) fn new(model: Arc<Decoder>, level: Level, threads: usize, context: usize) -> Self {
        let (plan, factors) = (&model.plan, &model.weights.rope_factors);
        let local = plan.local.as_ref();
        Self {
            projector: Projector::new(threads, level),
            rotation: Rotation::new(&plan.rope, factors, context),
            local_rotation: local.map(|local| Rotation::new(&local.rope, factors, context)),
            buffers: Buffers::default(),
            model,
        }
    }

    /// What a cell of the model's cache holds.
    pub(crate) fn shape(plan: &Plan, kind: CacheType) -> Shape {
        Shape {
            layers: plan.layers,
            key_heads: plan.key_heads,
            head: plan.head,
            kind,
        }
    }

    /// What it computes.
    pub(crate) fn plan(&self) -> &Plan {
        &self.model.plan
    }

    /// Computes rows, for which the cache has room, and writes their keys and values into it.
    pub(crate) fn run(
        &mut self,
        rows: &Rows,
        cache: &mut Cache,
        abort: &AtomicBool,
    ) -> Result<(), Aborted> {
        self.layers(rows, cache, abort)?;
        if !rows.outputs.is_empty() {
            self.output(rows.outputs.len());
        }
        Ok(())
    }

    /// The same, but what comes out are rows of the last layer instead of logits.
    pub(crate) fn run_to_vectors(
        &mut self,
        rows: &Rows,
        cache: &mut Cache,
        abort: &AtomicBool,
    ) -> Result<(), Aborted> {
        self.layers(rows, cache, abort)?;
        let model = Arc::clone(&self.model);
        self.norm(&model.weights.output_norm, rows.outputs.len());
        Ok(())
    }

    fn layers(
        &mut self,
        rows: &Rows,
        cache: &mut Cache,
        abort: &AtomicBool,
    ) -> Result<(), Aborted> {
        let model = Arc::clone(&self.model);
        let width = model.plan.width;
        self.projector.adapted.clone_from(&rows.adapted);
        self.rotation.prepare(&rows.positions);
        if let Some(rotation) = &mut self.local_rotation {
            rotation.prepare(&rows.positions);
        }
        self.buffers.runs.clear();
        for &(sequence, _, count) in &rows.sequences {
            cache.runs(sequence, count, &mut self.buffers.runs);
        }
        let stream = sized(&mut self.buffers.stream, rows.tokens.len() * width);
        self.projector.pool.for_chunks(stream, width, |row, out| {
            model.embed(rows.tokens[row] as usize, out);
        });
        let mut count = rows.tokens.len();
        for (number, layer) in model.weights.layers.iter().enumerate() {
            if abort.load(Ordering::Relaxed) {
                return Err(Aborted);
            }
            self.attention_input(layer, count);
            self.write_cache(number, layer, cache);
            self.attend(number, rows, cache);
            if number + 1 == model.plan.layers {
                self.keep_outputs(&rows.outputs);
                count = rows.outputs.len();
            }
            if count > 0 {
                self.attention_output(layer, count);
                self.feed_forward(layer, count);
            }
        }
        Ok(())
    }

    /// Queries, keys and values of all rows.
    fn attention_input(&mut self, layer: &Layer<Linear, Vec<f32>>, rows: usize) {
        self.norm(&layer.attention_norm, rows);
        let plan = &self.model.plan;
        let buffers = &mut self.buffers;
        let targets = &mut [
            Target {
                linear: &layer.query,
                out: sized(&mut buffers.query, rows * plan.query_width()),
            },
            Target {
                linear: &layer.key,
                out: sized(&mut buffers.key, rows * plan.key_width()),
            },
            Target {
                linear: &layer.value,
                out: sized(&mut buffers.value, rows * plan.key_width()),
            },
        ];
        let normed = &buffers.normed[..rows * plan.width];
        self.projector.project(normed, plan.width, targets);
    }

    /// Turns queries and keys by their positions and puts keys and values into the cache.
    fn write_cache(&mut self, number: usize, layer: &Layer<Linear, Vec<f32>>, cache: &mut Cache) {
        let plan = &self.model.plan;
        let (level, epsilon, head) = (self.projector.level, plan.epsilon, plan.head);
        let rotation = match (&self.local_rotation, plan.local_at(number)) {
            (Some(local), Some(_)) => local,
            _ => &self.rotation,
        };
        let buffers = &mut self.buffers;
        let keys = Keys {
            runs: &buffers.runs,
            key: (&mut buffers.key[..], plan.key_width()),
            value: &buffers.value,
        };
        let queries = (&mut buffers.query[..], plan.query_width());
        let pool = &mut self.projector.pool;
        write_cells(pool, cache, number, queries, keys, |row, query, key| {
            if let Some(norm) = &layer.query_norm {
                let heads = query.chunks_exact_mut(head);
                heads.for_each(|head| rms_norm(level, head, norm, epsilon));
            }
            if let Some(norm) = &layer.key_norm {
                let heads = key.chunks_exact_mut(head);
                heads.for_each(|head| rms_norm(level, head, norm, epsilon));
            }
            rotation.turn(row, query, head);
            rotation.turn(row, key, head);
        });
    }

    fn attend(&mut self, number: usize, rows: &Rows, cache: &Cache) {
        let plan = &self.model.plan;
        let attention = Attention {
            level: self.projector.level,
            heads: plan.heads,
            key_heads: plan.key_heads,
            layout: cache.shape().layout(),
            scale: plan.scores.scale,
            cap: plan.scores.cap,
            sight: Sight::Before(plan.window(number)),
            blocks: cache.blocks(),
            layer: cache.shape().layer(number),
        };
        let queries: Vec<_> = rows
            .sequences
            .iter()
            .map(|&(sequence, first, count)| cache.query(sequence, first, count))
            .collect();
        let buffers = &mut self.buffers;
        let out = sized(
            &mut buffers.attention,
            rows.tokens.len() * plan.query_width(),
        );
        let pool = &mut self.projector.pool;
        attend(
            pool,
            &attention,
            &queries,
            &mut buffers.query,
            out,
            &mut buffers.partials,
        );
    }

    /// Behind the last layer's attention only the rows with output matter.
    fn keep_outputs(&mut self, outputs: &[usize]) {
        let plan = &self.model.plan;
        for (to, &from) in outputs.iter().enumerate() {
            for (buffer, width) in [
                (&mut self.buffers.stream, plan.width),
                (&mut self.buffers.attention, plan.query_width()),
            ] {
                buffer.copy_within(from * width..(from + 1) * width, to * width);
            }
        }
        let place = |row: usize| outputs.partition_point(|&output| output < row);
        for Adapted { rows, .. } in &mut self.projector.adapted {
            *rows = place(rows.start)..place(rows.end);
        }
    }

    fn attention_output(&mut self, layer: &Layer<Linear, Vec<f32>>, rows: usize) {
        let plan = &self.model.plan;
        let input = &self.buffers.attention[..rows * plan.query_width()];
        let target = Target {
            linear: &layer.attention_output,
            out: sized(&mut self.buffers.added, rows * plan.width),
        };
        self.projector
            .project(input, plan.query_width(), &mut [target]);
        self.add(layer.attention_post_norm.as_deref(), rows);
    }

    /// Norms the stream.
    fn norm(&mut self, weight: &[f32], rows: usize) {
        let (width, epsilon) = (self.model.plan.width, self.model.plan.epsilon);
        let level = self.projector.level;
        let stream = &mut self.buffers.stream[..rows * width];
        let normed = sized(&mut self.buffers.normed, rows * width);
        let piece = level.group() * width;
        self.projector
            .pool
            .for_pairs((normed, piece), (stream, piece), |_, normed, stream| {
                let rows = normed
                    .chunks_exact_mut(width)
                    .zip(stream.chunks_exact(width));
                for (normed, stream) in rows {
                    rms_norm_into(level, stream, weight, epsilon, normed);
                }
            });
    }

    /// Adds what a half of a layer computed to the stream.
    fn add(&mut self, post_norm: Option<&[f32]>, rows: usize) {
        let plan = &self.model.plan;
        let (width, epsilon, scale) = (plan.width, plan.epsilon, plan.scales.residual);
        let level = self.projector.level;
        let stream = &mut self.buffers.stream[..rows * width];
        let added = &mut self.buffers.added[..rows * width];
        let piece = level.group() * width;
        self.projector
            .pool
            .for_pairs((stream, piece), (added, piece), |_, stream, added| {
                let rows = stream
                    .chunks_exact_mut(width)
                    .zip(added.chunks_exact_mut(width));
                for (stream, added) in rows {
                    if let Some(norm) = post_norm {
                        rms_norm(level, added, norm, epsilon);
                    }
                    add_scaled(stream, added, scale);
                }
            });
    }
}
