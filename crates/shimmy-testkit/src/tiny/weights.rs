//! The weights of a tiny model. Owns which tensors an architecture has and how they are drawn; must not
//! know metadata.

use super::architecture::{Architecture, Part};
use super::vocabulary::{self, Vocabulary};
use crate::gguf::{Tensor, TensorType};
use crate::random::Random;

/// Multi-byte characters that the model tends to finish once it has begun one, so that streams meet
/// characters cut in the middle: `é` and `😀`.
const CHAINS: [&[u8]; 2] = ["é".as_bytes(), "😀".as_bytes()];

/// The weight of a continuation byte against a letter's: enough to win after the byte it continues
/// (the current token is the largest single part of the residual stream), rarely elsewhere.
const CONTINUATION: f32 = 0.85;

/// The deviation of the output weights: it makes the logits' deviation about 3, so that sampling
/// at temperature 1 has clear favourites and yet more than one.
const OUTPUT_DEVIATION: f32 = 0.35;

/// Draws the weights of one model.
#[derive(Debug)]
pub(super) struct Weights<'a> {
    pub(super) architecture: &'a Architecture,
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) seed: u64,
    /// How matrices are stored.
    pub(super) kind: TensorType,
    /// How strongly the tokens that end a text compete.
    pub(super) stop_weight: f32,
}

impl Weights<'_> {
    /// All tensors. The deviations keep every layer's contribution to the residual stream near 1,
    /// so that no part of the network drowns the others and the next token depends on all of it.
    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let shape = self.architecture.shape;
        let size = self.vocabulary.len() as u64;
        let dims = [shape.embedding, size];
        // A head that is the embeddings' own gets logits from them.
        let deviation = if self.has(Part::TiedHead) {
            OUTPUT_DEVIATION
        } else {
            1.0
        };
        let tokens = self.values("token_embd.weight", size * shape.embedding, deviation);
        let mut tensors = vec![
            Tensor::new("token_embd.weight", &dims, self.kind, &tokens),
            self.output_norm(),
        ];
        if !self.has(Part::TiedHead) {
            let output = self.output(&tokens);
            tensors.push(Tensor::new("output.weight", &dims, self.kind, &output));
        }
        tensors.extend(self.rope_factors());
        for layer in 0..shape.layers {
            if self.has(Part::StateSpaces) {
                tensors.extend(self.state_space(layer));
                continue;
            }
            if self.has(Part::ShortConvolutions) && layer % 2 == 0 {
                tensors.extend(self.short_convolution(layer));
            } else {
                tensors.extend(self.attention(layer));
            }
            tensors.extend(self.feed_forward(layer));
        }
        tensors
    }

    fn has(&self, part: Part) -> bool {
        self.architecture.has(part)
    }

    fn output_norm(&self) -> Tensor {
        let width = self.architecture.shape.embedding;
        if self.has(Part::ShortConvolutions) {
            // Its files call it so.
            return self.norm("token_embd_norm.weight", width);
        }
        self.norm("output_norm.weight", width)
    }

    fn rope_factors(&self) -> Vec<Tensor> {
        let names: &[&str] = if self.has(Part::RopeFactors) {
            &["rope_freqs.weight"]
        } else if self.has(Part::RopeFactorsByLength) {
            &["rope_factors_long.weight", "rope_factors_short.weight"]
        } else {
            &[]
        };
        let half = self.architecture.rope_dimensions() / 2;
        let factors = names.iter().map(|name| {
            let values = self.values(name, half, 0.5);
            let values: Vec<f32> = values.iter().map(|value| 1.0 + value.abs()).collect();
            Tensor::new(name, &[half], TensorType::F32, &values)
        });
        factors.collect()
    }

    fn attention(&self, layer: u64) -> Vec<Tensor> {
        let shape = self.architecture.shape;
        let (width, query, key) = (shape.embedding, shape.query(), shape.key_value());
        let unit = 1.0 / (width as f32).sqrt();
        let name = |part: &str| format!("blk.{layer}.{part}");
        let norm = |part: &str, length: u64| self.norm(&name(&format!("{part}.weight")), length);
        let mut tensors = vec![norm("attn_norm", width)];
        let inputs: &[(&str, u64)] = match self.has(Part::JoinedAttention) {
            true => &[("attn_qkv", query + 2 * key)],
            false => &[("attn_q", query), ("attn_k", key), ("attn_v", key)],
        };
        for &(part, outputs) in inputs {
            tensors.push(self.matrix(&name(part), [width, outputs], 1.4 * unit));
            if self.has(Part::InputBiases) {
                tensors.push(self.bias(&name(part), outputs));
            }
        }
        if self.has(Part::HeadNorms) {
            tensors.push(norm("attn_q_norm", shape.head));
            tensors.push(norm("attn_k_norm", shape.head));
        }
        let unit = 1.0 / (query as f32).sqrt();
        tensors.push(self.matrix(&name("attn_output"), [query, width], unit));
        if self.has(Part::OutputBiases) {
            tensors.push(self.bias(&name("attn_output"), width));
        }
        if self.has(Part::PostNorms) {
            tensors.push(norm("post_attention_norm", width));
        }
        tensors
    }

    /// Experts, and what chooses among them: clearly, so that a small error seldom chooses others.
    fn experts(&self, layer: u64) -> Vec<Tensor> {
        let shape = self.architecture.shape;
        let (width, inner, count) = (shape.embedding, shape.feed_forward, shape.experts);
        let unit = 1.4 / (width as f32).sqrt();
        let squashed = 1.2 / (inner as f32).sqrt();
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let router = self.values(&name("ffn_gate_inp"), width * count, 2.0 * unit);
        let matrices = |part: &str, dims: [u64; 3], deviation| {
            let values = self.values(&name(part), dims.iter().product(), deviation);
            Tensor::new(&name(part), &dims, self.kind, &values)
        };
        vec![
            self.norm(&name("ffn_norm"), width),
            Tensor::new(
                &name("ffn_gate_inp"),
                &[width, count],
                TensorType::F32,
                &router,
            ),
            matrices("ffn_gate_exps", [width, inner, count], unit),
            matrices("ffn_up_exps", [width, inner, count], unit),
            matrices("ffn_down_exps", [inner, width, count], squashed),
        ]
    }

    fn feed_forward(&self, layer: u64) -> Vec<Tensor> {
        let shape = self.architecture.shape;
        if shape.experts > 0 {
            return self.experts(layer);
        }
        let (width, inner) = (shape.embedding, shape.feed_forward);
        let unit = 1.4 / (width as f32).sqrt();
        let squashed = 0.8 / (inner as f32).sqrt();
        let name = |part: &str| format!("blk.{layer}.{part}");
        let matrices: &[(&str, [u64; 2], f32)] = match self.has(Part::JoinedFeedForward) {
            true => &[
                ("ffn_up", [width, 2 * inner], unit),
                ("ffn_down", [inner, width], squashed),
            ],
            false => &[
                ("ffn_gate", [width, inner], unit),
                ("ffn_up", [width, inner], unit),
                ("ffn_down", [inner, width], squashed),
            ],
        };
        let mut tensors = vec![self.norm(&name("ffn_norm.weight"), width)];
        for &(part, dims, deviation) in matrices {
            tensors.push(self.matrix(&name(part), dims, deviation));
            if self.has(Part::OutputBiases) {
                tensors.push(self.bias(&name(part), dims[1]));
            }
        }
        if self.has(Part::PostNorms) {
            tensors.push(self.norm(&name("post_ffw_norm.weight"), width));
        }
        tensors
    }

    /// What LFM 2 has in place of attention.
    fn short_convolution(&self, layer: u64) -> Vec<Tensor> {
        let width = self.architecture.shape.embedding;
        let unit = 1.0 / (width as f32).sqrt();
        let name = |part: &str| format!("blk.{layer}.{part}");
        let kernel = self.values(&name("shortconv.conv.weight"), 3 * width, 0.6);
        let dims = [3, width];
        vec![
            self.norm(&name("attn_norm.weight"), width),
            Tensor::new(
                &name("shortconv.conv.weight"),
                &dims,
                TensorType::F32,
                &kernel,
            ),
            self.matrix(&name("shortconv.in_proj"), [width, 3 * width], 1.4 * unit),
            self.matrix(&name("shortconv.out_proj"), [width, width], unit),
        ]
    }

    /// A layer of Mamba, with the sizes that its architecture sets.
    fn state_space(&self, layer: u64) -> Vec<Tensor> {
        let width = self.architecture.shape.embedding;
        let (inner, state, rank, kernel) = (2 * width, 16, 4, 4);
        let unit = 1.0 / (width as f32).sqrt();
        let name = |part: &str| format!("blk.{layer}.{part}");
        let floats = |part: &str, dims: &[u64], value: &dyn Fn(f32) -> f32| {
            let values = self.values(&name(part), dims.iter().product(), 1.0);
            let values: Vec<f32> = values.into_iter().map(value).collect();
            Tensor::new(&name(part), dims, TensorType::F32, &values)
        };
        vec![
            self.norm(&name("attn_norm.weight"), width),
            self.matrix(&name("ssm_in"), [width, 2 * inner], 1.4 * unit),
            floats("ssm_conv1d.weight", &[kernel, inner], &|x| 0.6 * x),
            floats("ssm_conv1d.bias", &[inner], &|x| 0.1 * x),
            self.matrix(&name("ssm_x"), [inner, rank + 2 * state], unit),
            self.matrix(&name("ssm_dt"), [rank, inner], 0.5),
            // Steps of some tenths: the state remembers a few dozen tokens.
            floats("ssm_dt.bias", &[inner], &|x| x - 2.0),
            floats("ssm_a", &[state, inner], &|x| -0.1 - x.abs()),
            floats("ssm_d", &[inner], &|x| 1.0 + 0.2 * x),
            self.matrix(&name("ssm_out"), [inner, width], unit),
        ]
    }

    /// The output matrix: each token's row scaled by how often it should win, and the rows of
    /// continuation bytes turned towards the embedding of the byte they continue.
    fn output(&self, embeddings: &[f32]) -> Vec<f32> {
        let width = self.architecture.shape.embedding as usize;
        let count = self.vocabulary.len() * width;
        let mut output = self.values("output.weight", count as u64, OUTPUT_DEVIATION);
        for (id, row) in output.chunks_mut(width).enumerate() {
            let scale = self.output_scale(id as u32);
            row.iter_mut().for_each(|weight| *weight *= scale);
        }
        for (byte, next) in CHAINS
            .iter()
            .flat_map(|chain| chain.iter().zip(&chain[1..]))
        {
            let from = usize::from(*byte) * width;
            let to = usize::from(*next) * width;
            for column in 0..width {
                output[to + column] = CONTINUATION * OUTPUT_DEVIATION * embeddings[from + column];
            }
        }
        output
    }

    fn output_scale(&self, id: u32) -> f32 {
        match u8::try_from(id) {
            _ if id == vocabulary::IM_START => 0.05,
            _ if self.vocabulary.is_control(id) => self.stop_weight,
            Ok(b' ' | b'a'..=b'z' | b'A'..=b'Z' | b'.') => 1.0,
            Ok(byte) if CHAINS.iter().any(|chain| chain[0] == byte) => 1.1,
            Ok(_) => 0.25,
            Err(_) => 0.9,
        }
    }

    fn matrix(&self, part: &str, dims: [u64; 2], deviation: f32) -> Tensor {
        let name = format!("{part}.weight");
        let values = self.values(&name, dims[0] * dims[1], deviation);
        Tensor::new(&name, &dims, self.kind, &values)
    }

    fn bias(&self, part: &str, length: u64) -> Tensor {
        let name = format!("{part}.bias");
        let values = self.values(&name, length, 0.3);
        Tensor::new(&name, &[length], TensorType::F32, &values)
    }

    fn values(&self, name: &str, count: u64, deviation: f32) -> Vec<f32> {
        Random::new(self.seed, name).normals(count as usize, deviation)
    }

    /// Norms stay F32 in every file type: llama.cpp expects them so.
    fn norm(&self, name: &str, length: u64) -> Tensor {
        let values = self.values(name, length, self.architecture.norms);
        let values: Vec<f32> = values.into_iter().map(|value| 1.0 + value).collect();
        Tensor::new(name, &[length], TensorType::F32, &values)
    }
}
