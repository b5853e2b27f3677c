//! The tiny model. Owns its metadata and weights, and how they split into shards; must not know
//! how values are laid out in a file.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Shape, vocabulary};
use crate::gguf::{Tensor, TensorType, Value, Writer};
use crate::random::Random;

/// A chat template in the ChatML format, the tiny model's default.
pub const CHATML_TEMPLATE: &str = "\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
";

/// Multi-byte characters that the model tends to finish once it has begun one, so that streams meet
/// characters cut in the middle: `é` and `😀`.
const CHAINS: [&[u8]; 2] = ["é".as_bytes(), "😀".as_bytes()];

/// The weight of a continuation byte against a letter's: enough to win after the byte it continues
/// (the current token is the largest single part of the residual stream), rarely elsewhere.
const CONTINUATION: f32 = 0.85;

/// The deviation of the output weights: it makes the logits' deviation about 3, so that sampling
/// at temperature 1 has clear favourites and yet more than one.
const OUTPUT_DEVIATION: f32 = 0.35;

/// Builds a GGUF model below 1 MB: Llama architecture, 2 layers, 64 dimensions, 4 heads (2 for keys
/// and values), a byte-level BPE vocabulary with ChatML's control tokens.
///
/// Text it generates is gibberish of ASCII letters and the occasional `é` or `😀`; it depends on the
/// whole prompt and, by default, practically never ends by itself.
#[derive(Debug, Clone)]
pub struct Model {
    name: String,
    seed: u64,
    shape: Shape,
    context_length: u32,
    add_bos: bool,
    chat_template: Option<String>,
    stop_weight: f32,
    weights: TensorType,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// A model with seed 1, a context of 2048 tokens, the ChatML template and no BOS token.
    pub fn new() -> Self {
        Self {
            name: "Tiny Llama".to_owned(),
            seed: 1,
            shape: Shape::TINY,
            context_length: 2048,
            add_bos: false,
            chat_template: Some(CHATML_TEMPLATE.to_owned()),
            stop_weight: 0.05,
            weights: TensorType::F32,
        }
    }

    /// A model with other sizes, for which the tiny model's adapters are no fit.
    pub fn other() -> Self {
        Self {
            name: "Other Llama".to_owned(),
            shape: Shape::OTHER,
            ..Self::new()
        }
    }

    /// Sets `general.name`.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets the seed of the weights; models of different seeds say different things.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets `llama.context_length`, in tokens.
    pub fn context_length(mut self, tokens: u32) -> Self {
        self.context_length = tokens;
        self
    }

    /// Sets `tokenizer.ggml.add_bos_token`.
    pub fn add_bos(mut self, add: bool) -> Self {
        self.add_bos = add;
        self
    }

    /// Sets `tokenizer.chat_template`, or leaves it out.
    pub fn chat_template(mut self, template: Option<&str>) -> Self {
        self.chat_template = template.map(ToOwned::to_owned);
        self
    }

    /// Sets how strongly the two tokens that end a text compete: 0.05 by default (practically
    /// never), 1 as strongly as a letter, 3 to end within a few tokens, or at once.
    pub fn stop_weight(mut self, weight: f32) -> Self {
        self.stop_weight = weight;
        self
    }

    /// Sets how the matrices are stored; `general.file_type` follows.
    pub fn weights(mut self, kind: TensorType) -> Self {
        self.weights = kind;
        self
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_writer().to_bytes()
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

    /// Writes the model as one file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, self.to_bytes())
    }

    /// Writes the model as `count` files `STEM-00001-of-0000N.gguf` in `dir`, and returns their
    /// paths in order. The first carries the metadata; each carries its part of the tensors.
    pub fn write_shards(&self, dir: &Path, stem: &str, count: u16) -> io::Result<Vec<PathBuf>> {
        let tensors = self.tensors();
        let per_shard = tensors.len().div_ceil(usize::from(count.max(1)));
        let mut groups = tensors.chunks(per_shard);
        let mut paths = Vec::new();
        for number in 0..count {
            let mut writer = Writer::new();
            if number == 0 {
                self.put_metadata(&mut writer);
            }
            writer.metadata("split.no", Value::U16(number));
            writer.metadata("split.count", Value::U16(count));
            writer.metadata("split.tensors.count", Value::I32(tensors.len() as i32));
            for tensor in groups.next().unwrap_or_default() {
                writer.tensor(tensor.clone());
            }
            let path = dir.join(format!("{stem}-{:05}-of-{count:05}.gguf", number + 1));
            writer.write(&path)?;
            paths.push(path);
        }
        Ok(paths)
    }

    fn put_metadata(&self, writer: &mut Writer) {
        let shape = self.shape;
        writer
            .metadata("general.architecture", "llama")
            .metadata("general.type", "model")
            .metadata("general.name", self.name.as_str())
            .metadata("general.file_type", self.weights as u32)
            .metadata("llama.vocab_size", vocabulary::VOCABULARY_SIZE)
            .metadata("llama.context_length", self.context_length)
            .metadata("llama.embedding_length", shape.embedding as u32)
            .metadata("llama.block_count", shape.layers as u32)
            .metadata("llama.feed_forward_length", shape.feed_forward as u32)
            .metadata("llama.attention.head_count", shape.heads as u32)
            .metadata(
                "llama.attention.head_count_kv",
                shape.key_value_heads as u32,
            )
            .metadata("llama.attention.layer_norm_rms_epsilon", 1e-5)
            .metadata("llama.rope.dimension_count", shape.head() as u32)
            .metadata("llama.rope.freq_base", 10_000.0)
            .metadata("tokenizer.ggml.model", "gpt2")
            .metadata("tokenizer.ggml.pre", "gpt-2")
            .metadata(
                "tokenizer.ggml.tokens",
                Value::Strings(vocabulary::tokens()),
            )
            .metadata(
                "tokenizer.ggml.token_type",
                Value::I32s(vocabulary::token_types()),
            )
            .metadata(
                "tokenizer.ggml.merges",
                Value::Strings(vocabulary::merges()),
            )
            .metadata("tokenizer.ggml.bos_token_id", vocabulary::BOS)
            .metadata("tokenizer.ggml.eos_token_id", vocabulary::EOS)
            .metadata("tokenizer.ggml.eot_token_id", vocabulary::IM_END)
            .metadata("tokenizer.ggml.padding_token_id", vocabulary::END_OF_TEXT)
            .metadata("tokenizer.ggml.add_bos_token", self.add_bos)
            .metadata("tokenizer.ggml.add_eos_token", false);
        if let Some(template) = &self.chat_template {
            writer.metadata("tokenizer.chat_template", template.as_str());
        }
    }

    /// All tensors. The deviations keep every layer's contribution to the residual stream near 1,
    /// so that no part of the network drowns the others and the next token depends on all of it.
    fn tensors(&self) -> Vec<Tensor> {
        let Shape {
            embedding,
            feed_forward,
            ..
        } = self.shape;
        let key_value = self.shape.key_value();
        let vocabulary = u64::from(vocabulary::VOCABULARY_SIZE);
        let unit = 1.0 / (embedding as f32).sqrt();
        let tokens = self.values("token_embd.weight", vocabulary * embedding, 1.0);
        let output = self.output(&tokens);
        let mut tensors = vec![
            Tensor::new(
                "token_embd.weight",
                &[embedding, vocabulary],
                self.weights,
                &tokens,
            ),
            self.norm("output_norm.weight"),
            Tensor::new(
                "output.weight",
                &[embedding, vocabulary],
                self.weights,
                &output,
            ),
        ];
        let squashed = 0.8 / (feed_forward as f32).sqrt();
        for layer in 0..self.shape.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            tensors.extend([
                self.norm(&name("attn_norm")),
                self.matrix(&name("attn_q"), [embedding, embedding], 1.4 * unit),
                self.matrix(&name("attn_k"), [embedding, key_value], 1.4 * unit),
                self.matrix(&name("attn_v"), [embedding, key_value], 1.4 * unit),
                self.matrix(&name("attn_output"), [embedding, embedding], unit),
                self.norm(&name("ffn_norm")),
                self.matrix(&name("ffn_gate"), [embedding, feed_forward], 1.4 * unit),
                self.matrix(&name("ffn_up"), [embedding, feed_forward], 1.4 * unit),
                self.matrix(&name("ffn_down"), [feed_forward, embedding], squashed),
            ]);
        }
        tensors
    }

    /// The output matrix: each token's row scaled by how often it should win, and the rows of
    /// continuation bytes turned towards the embedding of the byte they continue.
    fn output(&self, embeddings: &[f32]) -> Vec<f32> {
        let width = self.shape.embedding as usize;
        let count = u64::from(vocabulary::VOCABULARY_SIZE) * self.shape.embedding;
        let mut output = self.values("output.weight", count, OUTPUT_DEVIATION);
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
            _ if vocabulary::is_control(id) => self.stop_weight,
            Ok(b' ' | b'a'..=b'z' | b'A'..=b'Z' | b'.') => 1.0,
            Ok(byte) if CHAINS.iter().any(|chain| chain[0] == byte) => 1.1,
            Ok(_) => 0.25,
            Err(_) => 0.9,
        }
    }

    fn matrix(&self, name: &str, dims: [u64; 2], deviation: f32) -> Tensor {
        let values = self.values(name, dims[0] * dims[1], deviation);
        Tensor::new(name, &dims, self.weights, &values)
    }

    fn values(&self, name: &str, count: u64, deviation: f32) -> Vec<f32> {
        Random::new(self.seed, name).normals(count as usize, deviation)
    }

    /// Norms stay F32 in every file type: llama.cpp expects them so.
    fn norm(&self, name: &str) -> Tensor {
        let ones = vec![1.0; self.shape.embedding as usize];
        Tensor::new(name, &[self.shape.embedding], TensorType::F32, &ones)
    }
}

#[cfg(test)]
mod tests {
    use super::Model;
    use crate::gguf::TensorType;

    #[test]
    fn the_file_is_small_and_reproducible() {
        let bytes = Model::new().to_bytes();
        assert!(bytes.len() < 1_000_000, "{} bytes", bytes.len());
        assert!(bytes == Model::new().to_bytes());
        assert!(bytes != Model::new().seed(2).to_bytes());
    }

    #[test]
    fn half_precision_halves_the_matrices() {
        let halved = Model::new().weights(TensorType::F16).to_bytes();
        assert!(halved.len() < Model::new().to_bytes().len() * 6 / 10);
    }

    #[test]
    fn the_shards_hold_every_tensor_once() {
        let dir = std::env::temp_dir().join(format!("shimmy-testkit-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let paths = Model::new().write_shards(&dir, "t", 3).unwrap();
        let counts = paths.iter().map(|path| {
            let bytes = std::fs::read(path).unwrap();
            u64::from_le_bytes(bytes[8..16].try_into().unwrap())
        });
        let counts: Vec<_> = counts.collect();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(paths[1].ends_with("t-00002-of-00003.gguf"));
        assert_eq!(counts.iter().sum::<u64>(), 21);
        assert!(counts.iter().all(|&count| count > 0));
    }
}
