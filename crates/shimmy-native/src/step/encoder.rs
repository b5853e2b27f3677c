//! Texts through the layers of an encoder, each seeing itself and nothing else. Owns the order of the
//! parts and the buffers between them; must not know how rows become vectors.
//!
//! Keys and values of one layer at a time are needed, so that a cache of one layer does. Everything
//! but attention is computed for a part of the rows at a time: what lies between two matrices stays
//! in the processor's caches, and a long text takes little memory.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cells::{Keys, write_cells};
use super::project::{Projector, Target};
use super::rotation::Rotation;
use super::{Aborted, Rows, sized};
use crate::cache::{Cache, Run, Shape};
use crate::kernels::{
    Attention, CacheType, LayerNorm, Level, Sight, activate, add_scaled, attend, gate, layer_norm,
};
use crate::model::{Encoder, EncoderLayer, Linear, Norm, RopeFactors};
use crate::plan::EncoderPlan;
use crate::quant::TILE;

/// Rows that are computed together between two attentions.
const PART: usize = 256;

type Layer = EncoderLayer<Linear, Vec<f32>>;

/// Computes steps of one encoder.
#[derive(Debug)]
pub(crate) struct EncoderStepper {
    model: Arc<Encoder>,
    projector: Projector,
    rotation: Option<Rotation>,
    cache: Cache,
    buffers: Buffers,
}

/// Rows between the parts of a step. They keep their memory.
#[derive(Debug, Default)]
struct Buffers {
    /// What goes from layer to layer.
    stream: Vec<f32>,
    query: Vec<f32>,
    /// Keys and, once these are in the cache, what attention gives.
    key: Vec<f32>,
    value: Vec<f32>,
    partials: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    added: Vec<f32>,
    runs: Vec<Run>,
}

impl EncoderStepper {
    /// A stepper with so many threads, for so many texts of so many rows together.
    pub(crate) fn new(
        model: Arc<Encoder>,
        level: Level,
        threads: usize,
        (texts, rows): (usize, usize),
    ) -> Self {
        let plan = &model.plan;
        let rope = plan.rope.as_ref();
        let shape = Shape {
            layers: 1,
            key_heads: plan.heads,
            head: plan.head,
            kind: CacheType::F16,
        };
        Self {
            projector: Projector::new(threads, level),
            rotation: rope.map(|rope| Rotation::new(rope, &RopeFactors::default(), plan.context)),
            cache: Cache::new(shape, rows, texts),
            buffers: Buffers::default(),
            model,
        }
    }

    /// What a cell of its cache holds.
    pub(crate) fn shape(&self) -> Shape {
        self.cache.shape()
    }

    /// What it computes.
    pub(crate) fn plan(&self) -> &EncoderPlan {
        &self.model.plan
    }

    /// Computes whole texts, whose sequences are counted from 0.
    pub(crate) fn run(&mut self, rows: &Rows, abort: &AtomicBool) -> Result<(), Aborted> {
        let model = Arc::clone(&self.model);
        let texts = rows.sequences.iter();
        let wanted: Vec<_> = texts.map(|&(text, _, rows)| (text, rows)).collect();
        // It was made large enough.
        self.cache.extend(&wanted).map_err(|_| Aborted)?;
        let done = self.layers(&model, rows, abort);
        for (text, length) in wanted {
            // Only what has been counted can be forgotten.
            self.cache.advance(text, length);
            self.cache.truncate(text, 0);
        }
        done
    }

    /// The last layer's row of an output of the last step.
    pub(crate) fn vector(&self, output: usize) -> &[f32] {
        let width = self.model.plan.width;
        &self.buffers.stream[output * width..(output + 1) * width]
    }

    /// What the model's head makes of vectors; themselves if it has none.
    pub(crate) fn scores(&mut self, vectors: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
        let model = Arc::clone(&self.model);
        let Some(head) = &model.weights.head else {
            return vectors;
        };
        let (count, width) = (vectors.len(), model.plan.width);
        let mut rows = vectors.concat();
        if let Some(dense) = &head.dense {
            let mut inside = vec![0.0; count * width];
            let target = Target {
                linear: dense,
                out: &mut inside,
            };
            self.projector.project(&rows, width, &mut [target]);
            rows = inside.into_iter().map(f32::tanh).collect();
        }
        let labels = head.output.matrix.outputs();
        let stride = labels.next_multiple_of(TILE);
        let mut scores = vec![0.0; count * stride];
        let target = Target {
            linear: &head.output,
            out: &mut scores,
        };
        self.projector.project(&rows, width, &mut [target]);
        let scores = scores.chunks_exact(stride);
        scores.map(|row| row[..labels].to_vec()).collect()
    }

    fn layers(&mut self, model: &Encoder, rows: &Rows, abort: &AtomicBool) -> Result<(), Aborted> {
        if let Some(rotation) = &mut self.rotation {
            rotation.prepare(&rows.positions);
        }
        self.buffers.runs.clear();
        for &(text, _, count) in &rows.sequences {
            self.cache.runs(text, count, &mut self.buffers.runs);
        }
        self.embed(model, rows);
        let mut count = rows.tokens.len();
        for (number, layer) in model.weights.layers.iter().enumerate() {
            if abort.load(Ordering::Relaxed) {
                return Err(Aborted);
            }
            for part in parts(count) {
                self.attention_input(layer, part);
            }
            self.attend(rows);
            if number + 1 == model.plan.layers {
                self.keep_outputs(&rows.outputs);
                count = rows.outputs.len();
            }
            for part in parts(count) {
                self.attention_output(layer, part.clone());
                self.feed_forward(layer, part);
            }
        }
        Ok(())
    }

    /// The stream as it begins: the sums of what tokens, their type and their positions stand for.
    fn embed(&mut self, model: &Encoder, rows: &Rows) {
        let Projector { pool, level, .. } = &mut self.projector;
        let (plan, weights, level) = (&model.plan, &model.weights, *level);
        let width = plan.width;
        let stream = sized(&mut self.buffers.stream, rows.tokens.len() * width);
        let norm = layer_norm_of(&weights.embedding_norm);
        pool.for_chunks(stream, width, |row, out| {
            model.embeddings.write(rows.tokens[row] as usize, out);
            if let Some(of_type) = &weights.token_type {
                add_scaled(out, of_type, 1.0);
            }
            let position = rows.positions[row] as usize;
            let positions = weights.positions.as_deref();
            let added = positions.map(|all| &all[position * width..(position + 1) * width]);
            layer_norm(level, out, added, norm, plan.epsilon);
        });
    }

    /// Queries, keys and values of some rows.
    fn attention_input(&mut self, layer: &Layer, part: Range<usize>) {
        let width = self.model.plan.width;
        let range = part.start * width..part.end * width;
        let buffers = &mut self.buffers;
        let target = |linear, buffer| Target {
            linear,
            out: &mut sized(buffer, range.end)[range.clone()],
        };
        let targets = &mut [
            target(&layer.query, &mut buffers.query),
            target(&layer.key, &mut buffers.key),
            target(&layer.value, &mut buffers.value),
        ];
        let input = &buffers.stream[range.clone()];
        self.projector.project(input, width, targets);
    }

    /// What each row takes from its text.
    fn attend(&mut self, rows: &Rows) {
        let plan = &self.model.plan;
        let all = rows.tokens.len() * plan.width;
        let buffers = &mut self.buffers;
        let pool = &mut self.projector.pool;
        let keys = Keys {
            runs: &buffers.runs,
            key: (&mut buffers.key[..all], plan.width),
            value: &buffers.value[..all],
        };
        let queries = (&mut buffers.query[..all], plan.width);
        let rotation = self.rotation.as_ref();
        write_cells(
            pool,
            &mut self.cache,
            0,
            queries,
            keys,
            |row, query, key| {
                if let Some(rotation) = rotation {
                    rotation.turn(row, query, plan.head);
                    rotation.turn(row, key, plan.head);
                }
            },
        );
        let cache = &self.cache;
        let attention = Attention {
            level: self.projector.level,
            heads: plan.heads,
            key_heads: plan.heads,
            layout: cache.shape().layout(),
            scale: 1.0 / (plan.head as f32).sqrt(),
            cap: None,
            sight: Sight::Whole,
            blocks: cache.blocks(),
            layer: 0,
        };
        let texts = rows.sequences.iter();
        let queries = texts.map(|&(text, first, count)| cache.query(text, first, count));
        let queries: Vec<_> = queries.collect();
        attend(
            pool,
            &attention,
            &queries,
            &mut buffers.query[..all],
            &mut buffers.key[..all],
            &mut buffers.partials,
        );
    }

    /// Behind the last layer's attention only the rows with output matter.
    fn keep_outputs(&mut self, outputs: &[usize]) {
        let width = self.model.plan.width;
        for (to, &from) in outputs.iter().enumerate() {
            for buffer in [&mut self.buffers.stream, &mut self.buffers.key] {
                buffer.copy_within(from * width..(from + 1) * width, to * width);
            }
        }
    }

    fn attention_output(&mut self, layer: &Layer, part: Range<usize>) {
        let width = self.model.plan.width;
        let (first, count) = (part.start * width, part.len() * width);
        let target = Target {
            linear: &layer.attention_output,
            out: sized(&mut self.buffers.added, count),
        };
        let input = &self.buffers.key[first..first + count];
        self.projector.project(input, width, &mut [target]);
        self.add(&layer.attention_norm, part);
    }

    fn feed_forward(&mut self, layer: &Layer, part: Range<usize>) {
        let (width, inner) = (self.model.plan.width, self.model.plan.feed_forward);
        let function = self.model.plan.function;
        let (first, count) = (part.start * width, part.len() * width);
        let values = part.len() * inner;
        let buffers = &mut self.buffers;
        let input = &buffers.stream[first..first + count];
        let projector = &mut self.projector;
        let up = Target {
            linear: &layer.up,
            out: sized(&mut buffers.up, values),
        };
        // Pieces of a few microseconds; of one row a single one.
        let (level, piece) = (projector.level, inner.max(4096));
        if let Some(linear) = &layer.gate {
            let out = sized(&mut buffers.gate, values);
            let gates = Target { linear, out };
            projector.project(input, width, &mut [gates, up]);
            let pair = (&mut buffers.gate[..values], &mut buffers.up[..values]);
            let pool = &mut projector.pool;
            pool.for_pairs((pair.0, piece), (pair.1, piece), |_, gates, ups| {
                gate(level, function, gates, ups);
            });
        } else {
            projector.project(input, width, &mut [up]);
            let ups = &mut buffers.up[..values];
            let pool = &mut projector.pool;
            pool.for_chunks(ups, piece, |_, ups| activate(level, function, ups));
        }
        let inside = if layer.gate.is_some() {
            &buffers.gate
        } else {
            &buffers.up
        };
        let target = Target {
            linear: &layer.down,
            out: sized(&mut buffers.added, count),
        };
        projector.project(&inside[..values], inner, &mut [target]);
        self.add(&layer.output_norm, part);
    }

    /// Adds what a half of a layer computed to the stream, and norms that.
    fn add(&mut self, norm: &Norm<Vec<f32>>, part: Range<usize>) {
        let (width, epsilon) = (self.model.plan.width, self.model.plan.epsilon);
        let Projector { pool, level, .. } = &mut self.projector;
        let (level, norm) = (*level, layer_norm_of(norm));
        let stream = &mut self.buffers.stream[part.start * width..part.end * width];
        let added = &mut self.buffers.added[..part.len() * width];
        let piece = level.group() * width;
        pool.for_pairs((stream, piece), (added, piece), |_, stream, added| {
            let rows = stream.chunks_exact_mut(width);
            for (stream, added) in rows.zip(added.chunks_exact(width)) {
                layer_norm(level, stream, Some(added), norm, epsilon);
            }
        });
    }
}

fn parts(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..rows).step_by(PART);
    starts.map(move |start| start..rows.min(start + PART))
}

fn layer_norm_of(norm: &Norm<Vec<f32>>) -> LayerNorm<'_> {
    LayerNorm {
        weight: &norm.weight,
        bias: &norm.bias,
    }
}
