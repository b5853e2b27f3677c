//! The tiny model. Owns its metadata and how it splits into shards; must not know how weights are drawn,
//! nor how values are laid out in a file.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::weights::Weights;
use super::{Architecture, Shape, Vocabulary};
use crate::gguf::{Tensor, TensorType, Value, Writer};

/// A chat template in the ChatML format, the tiny model's default.
pub const CHATML_TEMPLATE: &str = "\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
";

/// Builds a GGUF model below 1 MB: Llama architecture, 2 layers, 64 dimensions, 4 heads (2 for keys
/// and values), a byte-level BPE vocabulary with ChatML's control tokens.
///
/// Text it generates is gibberish of ASCII letters and the occasional `é` or `😀`; it depends on the
/// whole prompt and, by default, practically never ends by itself.
#[derive(Debug, Clone)]
pub struct Model {
    name: String,
    seed: u64,
    architecture: Architecture,
    vocabulary: Vocabulary,
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
            architecture: Architecture::llama(),
            vocabulary: Vocabulary::tiny(),
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
            architecture: Architecture {
                shape: Shape::OTHER,
                ..Architecture::llama()
            },
            ..Self::new()
        }
    }

    /// A model of this architecture.
    pub fn of(architecture: Architecture) -> Self {
        Self {
            // Not the architecture's: some names have a meaning to llama.cpp.
            name: "Tiny model".to_owned(),
            architecture,
            ..Self::new()
        }
    }

    /// Sets the vocabulary, and with it how texts become tokens.
    pub fn vocabulary(mut self, vocabulary: Vocabulary) -> Self {
        self.vocabulary = vocabulary;
        self
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

    /// Sets the context that the file names, in tokens.
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
        let key = |name: &str| format!("{}.{name}", self.architecture.name());
        let size = self.vocabulary.len() as u32;
        writer
            .metadata("general.architecture", self.architecture.name())
            .metadata("general.type", "model")
            .metadata("general.name", self.name.as_str())
            .metadata("general.file_type", self.weights.file_type())
            .metadata(&key("vocab_size"), size)
            .metadata(&key("context_length"), self.context_length);
        for (key, value) in self.architecture.metadata() {
            writer.metadata(&key, value);
        }
        for (key, value) in self.vocabulary.metadata() {
            writer.metadata(key, value);
        }
        writer
            .metadata("tokenizer.ggml.add_bos_token", self.add_bos)
            .metadata("tokenizer.ggml.add_eos_token", false);
        if let Some(template) = &self.chat_template {
            writer.metadata("tokenizer.chat_template", template.as_str());
        }
    }

    fn tensors(&self) -> Vec<Tensor> {
        let weights = Weights {
            architecture: &self.architecture,
            vocabulary: &self.vocabulary,
            seed: self.seed,
            kind: self.weights,
            stop_weight: self.stop_weight,
        };
        weights.tensors()
    }
}

#[cfg(test)]
mod tests {
    use super::{Architecture, Model};
    use crate::gguf::TensorType;

    #[test]
    fn the_file_is_small_and_reproducible() {
        let bytes = Model::new().to_bytes();
        assert!(bytes.len() < 1_000_000, "{} bytes", bytes.len());
        assert!(bytes == Model::new().to_bytes());
        assert!(bytes != Model::new().seed(2).to_bytes());
    }

    #[test]
    fn models_of_every_architecture_are_small() {
        for architecture in [
            Architecture::llama_with_biases(),
            Architecture::llama_stretched(),
            Architecture::llama_3(),
            Architecture::llama_long(),
            Architecture::qwen2(),
            Architecture::qwen3(),
            Architecture::qwen3moe(),
            Architecture::gemma(),
            Architecture::gemma2(),
            Architecture::gemma2_in_threes(),
            Architecture::gemma3(),
            Architecture::gemma3_in_threes(),
            Architecture::phi3(),
            Architecture::phi4(),
            Architecture::granite(),
            Architecture::lfm2(),
            Architecture::mamba(),
        ] {
            let bytes = Model::of(architecture.clone()).to_bytes().len();
            assert!(bytes < 2_000_000, "{architecture:?}: {bytes} bytes");
        }
        let halved = Model::of(Architecture::wide()).weights(TensorType::F16);
        assert!(halved.to_bytes().len() < 2_000_000);
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
