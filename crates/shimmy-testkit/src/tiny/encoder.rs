//! The tiny encoder: a model that reads texts as a whole and makes vectors of them. Owns its metadata,
//! its WordPiece vocabulary and its weights; must not know how values are laid out in a file.

use std::path::Path;
use std::{fs, io};

use super::Shape;
use crate::gguf::{Tensor, TensorType, Value, Writer};
use crate::random::Random;

/// The token that stands before every text.
pub const CLASS: u32 = 2;
/// The token that stands after every text.
pub const SEPARATOR: u32 = 3;

const SPECIAL_TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Builds a GGUF model of the BERT architecture below 1 MB: 2 layers, 64 dimensions, 4 heads, and a
/// vocabulary of letters and digits, at the beginning of a word and within one.
#[derive(Debug, Clone)]
pub struct Encoder {
    seed: u64,
    context_length: u32,
    pooling: u32,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder with seed 1, texts of up to 128 tokens, and the mean of all tokens as vector.
    pub fn new() -> Self {
        Self {
            seed: 1,
            context_length: 128,
            pooling: 1,
        }
    }

    /// Sets `bert.pooling_type`: 1 the mean, 2 the first token, 3 the last.
    pub fn pooling(mut self, kind: u32) -> Self {
        self.pooling = kind;
        self
    }

    /// Writes the model as one file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut writer = Writer::new();
        self.put_metadata(&mut writer);
        for tensor in self.tensors() {
            writer.tensor(tensor);
        }
        fs::write(path, writer.to_bytes())
    }

    fn put_metadata(&self, writer: &mut Writer) {
        let shape = Shape::TINY;
        writer
            .metadata("general.architecture", "bert")
            .metadata("general.type", "model")
            .metadata("general.name", "Tiny Encoder")
            .metadata("general.file_type", TensorType::F32.file_type())
            .metadata("bert.context_length", self.context_length)
            .metadata("bert.embedding_length", shape.embedding as u32)
            .metadata("bert.block_count", shape.layers as u32)
            .metadata("bert.feed_forward_length", shape.feed_forward as u32)
            .metadata("bert.attention.head_count", shape.heads as u32)
            .metadata("bert.attention.layer_norm_epsilon", 1e-12)
            .metadata("bert.attention.causal", false)
            .metadata("bert.pooling_type", self.pooling)
            .metadata("tokenizer.ggml.model", "bert")
            .metadata("tokenizer.ggml.token_type_count", 2)
            .metadata("tokenizer.ggml.tokens", Value::Strings(tokens()))
            .metadata("tokenizer.ggml.token_type", Value::I32s(token_types()))
            .metadata("tokenizer.ggml.padding_token_id", 0)
            .metadata("tokenizer.ggml.unknown_token_id", 1)
            .metadata("tokenizer.ggml.cls_token_id", CLASS)
            .metadata("tokenizer.ggml.bos_token_id", CLASS)
            .metadata("tokenizer.ggml.seperator_token_id", SEPARATOR)
            .metadata("tokenizer.ggml.mask_token_id", 4);
    }

    fn tensors(&self) -> Vec<Tensor> {
        let Shape {
            embedding,
            feed_forward,
            layers,
            ..
        } = Shape::TINY;
        let unit = 1.0 / (embedding as f32).sqrt();
        let positions = u64::from(self.context_length);
        let mut tensors = vec![
            self.matrix("token_embd", [embedding, tokens().len() as u64], 1.0),
            self.matrix("token_types", [embedding, 2], 0.1),
            self.matrix("position_embd", [embedding, positions], 0.3),
        ];
        tensors.extend(norm("token_embd_norm"));
        for layer in 0..layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
                tensors.push(self.matrix(&name(part), [embedding, embedding], 1.4 * unit));
                tensors.push(self.bias(&name(part), embedding));
            }
            tensors.extend(norm(&name("attn_output_norm")));
            tensors.push(self.matrix(&name("ffn_up"), [embedding, feed_forward], 1.4 * unit));
            tensors.push(self.bias(&name("ffn_up"), feed_forward));
            tensors.push(self.matrix(&name("ffn_down"), [feed_forward, embedding], unit));
            tensors.push(self.bias(&name("ffn_down"), embedding));
            tensors.extend(norm(&name("layer_output_norm")));
        }
        tensors
    }

    fn matrix(&self, part: &str, dims: [u64; 2], deviation: f32) -> Tensor {
        let name = format!("{part}.weight");
        let values = self.values(&name, dims[0] * dims[1], deviation);
        Tensor::new(&name, &dims, TensorType::F32, &values)
    }

    fn bias(&self, part: &str, length: u64) -> Tensor {
        let name = format!("{part}.bias");
        let values = self.values(&name, length, 0.1);
        Tensor::new(&name, &[length], TensorType::F32, &values)
    }

    fn values(&self, name: &str, count: u64, deviation: f32) -> Vec<f32> {
        Random::new(self.seed, name).normals(count as usize, deviation)
    }
}

/// A norm that changes nothing but the scale.
fn norm(part: &str) -> [Tensor; 2] {
    let length = Shape::TINY.embedding;
    let tensor = |kind: &str, value: f32| {
        let values = vec![value; length as usize];
        Tensor::new(
            &format!("{part}.{kind}"),
            &[length],
            TensorType::F32,
            &values,
        )
    };
    [tensor("weight", 1.0), tensor("bias", 0.0)]
}

/// Every token's text: the special ones, then each letter and digit as the first of a word, which
/// is written with `▁`, and within one.
fn tokens() -> Vec<String> {
    let letters = || ('a'..='z').chain('0'..='9');
    let special = SPECIAL_TOKENS.iter().map(ToString::to_string);
    let first = letters().map(|letter| format!("▁{letter}"));
    let within = letters().map(String::from);
    special.chain(first).chain(within).collect()
}

/// Every token's type: 1 for text, 2 for the unknown, 3 for control (`llama_token_type`).
fn token_types() -> Vec<i32> {
    let kind = |(id, _)| match id {
        1 => 2,
        id if id < SPECIAL_TOKENS.len() => 3,
        _ => 1,
    };
    tokens().into_iter().enumerate().map(kind).collect()
}
