//! What models of an architecture compute differently from each other: one description each. Owns their
//! keys and which tensors they have; must not know how weights are drawn.

use super::Shape;
use crate::gguf::Value;

/// An architecture with the sizes and settings of its tiny model.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// `general.architecture`, with which its keys begin.
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) parts: &'static [Part],
    /// How far the norms' weights are from 1 (their standard deviation).
    pub(super) norms: f32,
    /// Keys, without the architecture's name, that the usual decoder does not have.
    pub(super) settings: Vec<(&'static str, Value)>,
}

/// What the usual decoder does not have, or has otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// No output matrix: the embeddings serve.
    TiedHead,
    /// Biases of queries, keys and values.
    InputBiases,
    /// Biases of everything behind them in a layer.
    OutputBiases,
    /// Norms of each head of queries and keys.
    HeadNorms,
    /// Norms behind attention and feed-forward network.
    PostNorms,
    /// Queries, keys and values in one matrix.
    JoinedAttention,
    /// Gate and values in one matrix.
    JoinedFeedForward,
    /// Factors of the rotation's frequencies.
    RopeFactors,
    /// One set of them for short contexts and one for long ones.
    RopeFactorsByLength,
    /// Every other layer is a short convolution instead of attention.
    ShortConvolutions,
    /// Layers are selective state spaces, without a feed-forward network.
    StateSpaces,
}

/// Heads that are wider than their share of the residual stream.
const WIDE_HEADS: Shape = Shape {
    head: 32,
    ..Shape::TINY
};

impl Architecture {
    /// Llama, with the sizes of the tiny model.
    pub fn llama() -> Self {
        Self {
            name: "llama",
            shape: Shape::TINY,
            parts: &[],
            norms: 0.0,
            settings: Vec::new(),
        }
    }

    /// Llama with the same sizes but uneven norms, as trained models have them.
    fn decoder(name: &'static str) -> Self {
        Self {
            name,
            norms: 0.25,
            ..Self::llama()
        }
    }

    fn parts(mut self, parts: &'static [Part]) -> Self {
        self.parts = parts;
        self
    }

    fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Sets a key, in place of what it was set to before.
    fn set(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.settings.retain(|(set, _)| *set != key);
        self.settings.push((key, value.into()));
        self
    }

    /// Sets the context beyond which factors by length are the other ones.
    pub fn short_context(self, tokens: u32) -> Self {
        self.set("rope.scaling.original_context_length", tokens)
    }

    /// Llama with rows of 256 numbers, which every block format can hold.
    pub fn wide() -> Self {
        let shape = Shape {
            embedding: 256,
            feed_forward: 256,
            head: 64,
            key_value_heads: 1,
            ..Shape::TINY
        };
        Self::decoder("llama").shape(shape)
    }

    /// Llama with so many heads, so many of keys and values, of such a width.
    pub fn llama_of_heads(heads: u64, key_value_heads: u64, head: u64) -> Self {
        Self::decoder("llama").shape(Shape {
            heads,
            key_value_heads,
            head,
            ..Shape::TINY
        })
    }

    /// Llama with heads wider than usual, a tied head and every bias that it may have.
    pub fn llama_with_biases() -> Self {
        Self::decoder("llama").shape(WIDE_HEADS).parts(&[
            Part::TiedHead,
            Part::InputBiases,
            Part::OutputBiases,
        ])
    }

    /// Llama whose positions are stretched.
    pub fn llama_stretched() -> Self {
        Self::decoder("llama")
            .set("rope.scaling.type", "linear")
            .set("rope.scaling.factor", 4.0)
    }

    /// Llama 3, whose frequencies have factors.
    pub fn llama_3() -> Self {
        Self::decoder("llama")
            .parts(&[Part::RopeFactors])
            .set("rope.freq_base", 500_000.0)
    }

    /// Llama with other factors for long contexts, and turned values that are scaled.
    pub fn llama_long() -> Self {
        Self::decoder("llama")
            .parts(&[Part::RopeFactorsByLength])
            .set("rope.scaling.type", "longrope")
            .set("rope.scaling.factor", 1.5)
            .short_context(256)
            .set("rope.scaling.attn_factor", 1.2)
    }

    /// Qwen 2: biases of queries, keys and values, and a tied head.
    pub fn qwen2() -> Self {
        Self::decoder("qwen2")
            .parts(&[Part::InputBiases, Part::TiedHead])
            .set("rope.freq_base", 1_000_000.0)
    }

    /// Qwen 3: norms of queries and keys.
    pub fn qwen3() -> Self {
        Self::decoder("qwen3")
            .shape(WIDE_HEADS)
            .parts(&[Part::HeadNorms])
            .set("rope.freq_base", 1_000_000.0)
    }

    /// Qwen 3 with experts, of which each token goes to some.
    pub fn qwen3moe() -> Self {
        Self::of_experts(Shape {
            feed_forward: 48,
            experts: 10,
            ..WIDE_HEADS
        })
    }

    /// The same with rows of 256 numbers, which every block format can hold.
    pub fn qwen3moe_wide() -> Self {
        Self::of_experts(Shape {
            embedding: 256,
            feed_forward: 256,
            experts: 4,
            layers: 1,
            head: 64,
            key_value_heads: 1,
            ..Shape::TINY
        })
    }

    fn of_experts(shape: Shape) -> Self {
        Self::decoder("qwen3moe")
            .shape(shape)
            .parts(&[Part::HeadNorms])
            .set("rope.freq_base", 1_000_000.0)
            .set("expert_count", shape.experts as u32)
            .set("expert_used_count", 3)
            .set("expert_feed_forward_length", shape.feed_forward as u32)
    }

    /// Gemma: scaled embeddings and another gate.
    pub fn gemma() -> Self {
        Self::decoder("gemma")
            .shape(WIDE_HEADS)
            .parts(&[Part::TiedHead])
    }

    /// Gemma 2: scores and logits are capped, and every other layer sees a window.
    pub fn gemma2() -> Self {
        Self::decoder("gemma2")
            .shape(Shape {
                layers: 4,
                ..WIDE_HEADS
            })
            .parts(&[Part::TiedHead, Part::PostNorms])
            // Low enough to matter.
            .set("attn_logit_softcapping", 2.0)
            .set("final_logit_softcapping", 5.0)
            .set("attention.sliding_window", 24)
    }

    /// Gemma 2 with a rhythm and a base of its own.
    pub fn gemma2_in_threes() -> Self {
        Self::gemma2()
            .set("attention.sliding_window_pattern", 3)
            .set("rope.freq_base_swa", 500.0)
    }

    /// Gemma 3: five of six layers see a window and turn by another base.
    pub fn gemma3() -> Self {
        Self::decoder("gemma3")
            .shape(Shape {
                layers: 6,
                ..WIDE_HEADS
            })
            .parts(&[Part::TiedHead, Part::HeadNorms, Part::PostNorms])
            .set("attention.sliding_window", 24)
            .set("rope.freq_base", 1_000_000.0)
            .set("rope.scaling.type", "linear")
            .set("rope.scaling.factor", 8.0)
    }

    /// Gemma 3 with a rhythm of its own and capped logits.
    pub fn gemma3_in_threes() -> Self {
        Self::decoder("gemma3")
            .shape(Shape {
                layers: 3,
                ..WIDE_HEADS
            })
            .parts(&[Part::HeadNorms, Part::PostNorms])
            .set("attention.sliding_window", 24)
            .set("attention.sliding_window_pattern", 3)
            .set("rope.freq_base", 1_000_000.0)
            .set("rope.freq_base_swa", 20_000.0)
            .set("final_logit_softcapping", 5.0)
    }

    /// Phi 3: joined matrices, and factors by the length of the context.
    pub fn phi3() -> Self {
        Self::decoder("phi3")
            .parts(&[
                Part::JoinedAttention,
                Part::JoinedFeedForward,
                Part::RopeFactorsByLength,
            ])
            .short_context(256)
            .set("rope.scaling.attn_factor", 1.2)
    }

    /// Phi 4 mini: the same with a tied head, and only a part of each head turns.
    pub fn phi4() -> Self {
        Self::phi3()
            .parts(&[
                Part::JoinedAttention,
                Part::JoinedFeedForward,
                Part::RopeFactorsByLength,
                Part::TiedHead,
            ])
            .set("rope.dimension_count", 12)
    }

    /// Granite: everything has a scale.
    pub fn granite() -> Self {
        Self::decoder("granite")
            .parts(&[Part::TiedHead])
            .set("attention.scale", 0.4)
            .set("embedding_scale", 3.0)
            .set("residual_scale", 0.4)
            .set("logit_scale", 2.0)
    }

    /// LFM 2: short convolutions and attention in turn. A cache of cells and a state at once.
    pub fn lfm2() -> Self {
        Self::decoder("lfm2")
            .parts(&[Part::HeadNorms, Part::ShortConvolutions])
            .set("attention.head_count_kv", Value::I32s(vec![0, 2]))
            .set("shortconv.l_cache", 3)
    }

    /// Mamba: a state and no cache.
    pub fn mamba() -> Self {
        Self::decoder("mamba")
            .parts(&[Part::StateSpaces])
            .set("ssm.conv_kernel", 4)
            .set("ssm.inner_size", 128)
            .set("ssm.state_size", 16)
            .set("ssm.time_step_rank", 4)
            .set("attention.head_count", 0)
            .set("feed_forward_length", 0)
    }

    /// `general.architecture`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// How many values of a head turn.
    pub(super) fn rope_dimensions(&self) -> u64 {
        let set = self.settings.iter().find_map(|(key, value)| match value {
            Value::U32(dimensions) if *key == "rope.dimension_count" => Some(*dimensions),
            _ => None,
        });
        set.map_or(self.shape.head, u64::from)
    }

    /// The keys of the usual decoder, with what this one sets otherwise or beside them.
    pub(super) fn metadata(&self) -> Vec<(String, Value)> {
        let shape = self.shape;
        let usual: [(&str, Value); 10] = [
            ("embedding_length", (shape.embedding as u32).into()),
            ("block_count", (shape.layers as u32).into()),
            ("feed_forward_length", (shape.feed_forward as u32).into()),
            ("attention.head_count", (shape.heads as u32).into()),
            (
                "attention.head_count_kv",
                (shape.key_value_heads as u32).into(),
            ),
            ("attention.key_length", (shape.head as u32).into()),
            ("attention.value_length", (shape.head as u32).into()),
            ("attention.layer_norm_rms_epsilon", 1e-5.into()),
            ("rope.dimension_count", (shape.head as u32).into()),
            ("rope.freq_base", 10_000.0.into()),
        ];
        let is_set = |key: &str| self.settings.iter().any(|(set, _)| *set == key);
        let usual = usual.into_iter().filter(|(key, _)| !is_set(key));
        usual
            .chain(self.settings.iter().cloned())
            .map(|(key, value)| (format!("{}.{key}", self.name), value))
            .collect()
    }
}
