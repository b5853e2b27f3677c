//! LoRA adapters for the tiny model. Owns their metadata and weights; must not know how values are
//! laid out in a file.

use std::path::Path;
use std::{fs, io};

use super::Shape;
use crate::gguf::{Tensor, TensorType, Writer};
use crate::random::Random;

/// The width of the bottleneck between the two matrices of a pair.
const RANK: u64 = 4;

/// Builds a LoRA adapter (GGUF, a few kB) for [`super::Model`], strong enough to change what it says
/// from the first tokens on.
#[derive(Debug, Clone)]
pub struct Adapter {
    name: String,
    seed: u64,
    alpha: f32,
    shape: Shape,
    weights: TensorType,
}

impl Default for Adapter {
    fn default() -> Self {
        Self::new()
    }
}

impl Adapter {
    /// An adapter with seed 1.
    pub fn new() -> Self {
        Self {
            name: "Tiny adapter".to_owned(),
            seed: 1,
            alpha: 8.0,
            shape: Shape::TINY,
            weights: TensorType::F32,
        }
    }

    /// An adapter for [`super::Model::other`]: its shapes do not fit the tiny model.
    pub fn for_other_model() -> Self {
        Self {
            name: "Adapter of another model".to_owned(),
            shape: Shape::OTHER,
            ..Self::new()
        }
    }

    /// Sets `general.name`.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets the seed of the weights; different seeds push the model in different directions.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets `adapter.lora.alpha`; the update is scaled by `alpha / 4`.
    pub fn alpha(mut self, alpha: f32) -> Self {
        self.alpha = alpha;
        self
    }

    /// Sets how the matrices are stored; their rows are 4 and at least 64 numbers long.
    pub fn weights(mut self, kind: TensorType) -> Self {
        self.weights = kind;
        self
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .metadata("general.architecture", "llama")
            .metadata("general.type", "adapter")
            .metadata("general.name", self.name.as_str())
            .metadata("general.file_type", self.weights.file_type())
            .metadata("general.base_model.count", 1)
            .metadata("general.base_model.0.name", "Tiny Llama")
            .metadata("adapter.type", "lora")
            .metadata("adapter.lora.alpha", self.alpha);
        let Shape {
            embedding,
            feed_forward,
            layers,
            ..
        } = self.shape;
        for layer in 0..layers {
            let weight = |part: &str| format!("blk.{layer}.{part}.weight");
            self.put_pair(&mut writer, &weight("attn_q"), [embedding, embedding]);
            self.put_pair(
                &mut writer,
                &weight("attn_v"),
                [embedding, self.shape.key_value()],
            );
            self.put_pair(&mut writer, &weight("ffn_down"), [feed_forward, embedding]);
        }
        writer.to_bytes()
    }

    /// Writes the adapter.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, self.to_bytes())
    }

    /// The two matrices that update `weight`, of `[inputs, outputs]`: A is `[inputs, RANK]`, B is
    /// `[RANK, outputs]`.
    fn put_pair(&self, writer: &mut Writer, weight: &str, [inputs, outputs]: [u64; 2]) {
        let unit = 1.0 / (inputs as f32).sqrt();
        for (suffix, dims, deviation) in [
            ("lora_a", [inputs, RANK], unit),
            ("lora_b", [RANK, outputs], 0.4),
        ] {
            let name = format!("{weight}.{suffix}");
            let count = (dims[0] * dims[1]) as usize;
            let values = Random::new(self.seed, &name).normals(count, deviation);
            writer.tensor(Tensor::new(&name, &dims, self.weights, &values));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Adapter;

    #[test]
    fn seeds_give_different_adapters_of_one_size() {
        let (one, two) = (Adapter::new().to_bytes(), Adapter::new().seed(2).to_bytes());
        assert_eq!(one.len(), two.len());
        assert!(one != two);
        assert!(one.len() < Adapter::for_other_model().to_bytes().len());
    }
}
