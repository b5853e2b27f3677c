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

/// `pooling_type` of a model that ranks.
const RANK: u32 = 4;

/// Builds a GGUF model of BERT's family below 1 MB: 2 layers, 64 dimensions, 4 heads, and a
/// vocabulary of letters and digits, at the beginning of a word and within one.
#[derive(Debug, Clone)]
pub struct Encoder {
    seed: u64,
    family: Family,
    shape: Shape,
    context_length: u32,
    pooling: u32,
    causal: bool,
    weights: TensorType,
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Embeddings of positions, biases everywhere, a plain feed-forward network.
    Bert,
    /// Positions that turn, no biases, a gated network, queries, keys and values in one matrix.
    Nomic,
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
            family: Family::Bert,
            shape: Shape::TINY,
            context_length: 128,
            pooling: 1,
            causal: false,
            weights: TensorType::F32,
        }
    }

    /// The same of the architecture `nomic-bert`.
    pub fn nomic() -> Self {
        Self {
            family: Family::Nomic,
            ..Self::new()
        }
    }

    /// Makes rows of 256 numbers, which every block format can hold.
    pub fn wide(mut self) -> Self {
        self.shape = Shape {
            embedding: 256,
            feed_forward: 512,
            head: 64,
            ..Shape::TINY
        };
        self
    }

    /// Gives it the sizes of a real one: layers, the width of a row and that inside of the feed-forward
    /// network, and heads.
    pub fn sized(mut self, layers: u64, [width, inner]: [u64; 2], heads: u64) -> Self {
        self.shape = Shape {
            layers,
            embedding: width,
            feed_forward: inner,
            heads,
            head: width / heads,
            ..Shape::TINY
        };
        self
    }

    /// Sets the length of the longest text, in tokens.
    pub fn context_length(mut self, tokens: u32) -> Self {
        self.context_length = tokens;
        self
    }

    /// Sets `pooling_type`: 1 the mean, 2 the first token, 3 the last, 4 a score of two texts.
    pub fn pooling(mut self, kind: u32) -> Self {
        self.pooling = kind;
        self
    }

    /// Sets `attention.causal`: whether a token sees only those before it.
    pub fn causal(mut self, causal: bool) -> Self {
        self.causal = causal;
        self
    }

    /// Sets how the matrices are stored; `general.file_type` follows.
    pub fn weights(mut self, kind: TensorType) -> Self {
        self.weights = kind;
        self
    }

    /// Writes the model as one file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, self.to_writer().to_bytes())
    }

    /// The file as a writer, for a test that adds or repeats entries.
    pub fn to_writer(&self) -> Writer {
        let mut writer = Writer::new();
        self.put_metadata(&mut writer);
        for tensor in self.tensors() {
            writer.tensor(tensor);
        }
        writer
    }

    fn architecture(&self) -> &'static str {
        match self.family {
            Family::Bert => "bert",
            Family::Nomic => "nomic-bert",
        }
    }

    fn put_metadata(&self, writer: &mut Writer) {
        let shape = self.shape;
        let key = |name: &str| format!("{}.{name}", self.architecture());
        writer
            .metadata("general.architecture", self.architecture())
            .metadata("general.type", "model")
            .metadata("general.name", "Tiny Encoder")
            .metadata("general.file_type", self.weights.file_type())
            .metadata(&key("context_length"), self.context_length)
            .metadata(&key("embedding_length"), shape.embedding as u32)
            .metadata(&key("block_count"), shape.layers as u32)
            .metadata(&key("feed_forward_length"), shape.feed_forward as u32)
            .metadata(&key("attention.head_count"), shape.heads as u32)
            .metadata(&key("attention.layer_norm_epsilon"), 1e-12)
            .metadata(&key("attention.causal"), self.causal)
            .metadata(&key("pooling_type"), self.pooling);
        if self.family == Family::Nomic {
            writer.metadata(&key("rope.freq_base"), 1000.0);
        }
        writer
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
        let (width, layers) = (self.shape.embedding, self.shape.layers);
        let unit = 1.0 / (width as f32).sqrt();
        let vocabulary = [width, tokens().len() as u64];
        let mut tensors = vec![
            self.matrix("token_embd", vocabulary, 1.0),
            self.floats("token_types.weight", &[width, 2], 0.3),
        ];
        if self.family == Family::Bert {
            let positions = [width, u64::from(self.context_length)];
            tensors.push(self.floats("position_embd.weight", &positions, 0.3));
        }
        tensors.extend(self.norm("token_embd_norm"));
        for layer in 0..layers {
            tensors.extend(self.layer(layer));
        }
        if self.pooling == RANK {
            tensors.extend(self.linear("cls", [width, width], 1.4 * unit));
            tensors.extend(self.linear("cls.output", [width, 1], unit));
        }
        tensors
    }

    fn layer(&self, layer: u64) -> Vec<Tensor> {
        let (width, inner) = (self.shape.embedding, self.shape.feed_forward);
        let unit = 1.0 / (width as f32).sqrt();
        let squashed = 1.0 / (inner as f32).sqrt();
        let name = |part: &str| format!("blk.{layer}.{part}");
        let inputs: &[(&str, u64)] = match self.family {
            Family::Bert => &[
                ("attn_q", width),
                ("attn_k", width),
                ("attn_v", width),
                ("ffn_up", inner),
            ],
            Family::Nomic => &[
                ("attn_qkv", 3 * width),
                ("ffn_gate", inner),
                ("ffn_up", inner),
            ],
        };
        let mut tensors = Vec::new();
        for &(part, outputs) in inputs {
            // What gates multiply are errors, too.
            let deviation = if part == "ffn_gate" { unit } else { 1.4 * unit };
            tensors.extend(self.linear(&name(part), [width, outputs], deviation));
        }
        tensors.extend(self.linear(&name("attn_output"), [width, width], 1.4 * unit));
        tensors.extend(self.linear(&name("ffn_down"), [inner, width], squashed));
        tensors.extend(self.norm(&name("attn_output_norm")));
        tensors.extend(self.norm(&name("layer_output_norm")));
        tensors
    }

    /// A matrix, with a bias where the family has some.
    fn linear(&self, part: &str, dims: [u64; 2], deviation: f32) -> Vec<Tensor> {
        let mut tensors = vec![self.matrix(part, dims, deviation)];
        if self.family == Family::Bert {
            tensors.push(self.floats(&format!("{part}.bias"), &dims[1..], 0.1));
        }
        tensors
    }

    fn matrix(&self, part: &str, dims: [u64; 2], deviation: f32) -> Tensor {
        let name = format!("{part}.weight");
        let values = self.values(&name, dims[0] * dims[1], deviation);
        Tensor::new(&name, &dims, self.weights, &values)
    }

    /// What stays F32 in every file type.
    fn floats(&self, name: &str, dims: &[u64], deviation: f32) -> Tensor {
        let values = self.values(name, dims.iter().product(), deviation);
        Tensor::new(name, dims, TensorType::F32, &values)
    }

    /// An uneven norm, as trained models have them.
    fn norm(&self, part: &str) -> [Tensor; 2] {
        let dims = [self.shape.embedding];
        let name = format!("{part}.weight");
        let weights = self.values(&name, dims[0], 0.25);
        let weights: Vec<f32> = weights.iter().map(|weight| 1.0 + weight).collect();
        [
            Tensor::new(&name, &dims, TensorType::F32, &weights),
            self.floats(&format!("{part}.bias"), &dims, 0.1),
        ]
    }

    fn values(&self, name: &str, count: u64, deviation: f32) -> Vec<f32> {
        Random::new(self.seed, name).normals(count as usize, deviation)
    }
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
