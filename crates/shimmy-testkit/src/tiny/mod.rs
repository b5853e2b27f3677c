//! Tiny models, adapters and an encoder with random weights. Owns their shapes and
//! the keys that llama.cpp asks for; must not know the layout of a GGUF file.

mod adapter;
mod architecture;
pub mod encoder;
mod model;
mod vocabulary;
mod weights;
mod word_pieces;

pub use adapter::Adapter;
pub use architecture::Architecture;
pub use encoder::Encoder;
pub use model::{CHATML_TEMPLATE, Model};
pub use vocabulary::{
    BOS, END_OF_TEXT, EOS, IM_END, IM_START, KINDS, MERGES, VOCABULARY_SIZE, Vocabulary,
};

/// The sizes that a model and its adapters must agree on.
#[derive(Debug, Clone, Copy)]
struct Shape {
    embedding: u64,
    /// The inner width of the feed-forward network, or of each expert.
    feed_forward: u64,
    /// Experts of a layer; none by 0.
    experts: u64,
    layers: u64,
    heads: u64,
    key_value_heads: u64,
    /// The width of one head.
    head: u64,
}

impl Shape {
    const TINY: Self = Self {
        embedding: 64,
        feed_forward: 128,
        experts: 0,
        layers: 2,
        heads: 4,
        key_value_heads: 2,
        head: 16,
    };

    /// Like the tiny one, but wider: nothing made for one fits the other.
    const OTHER: Self = Self {
        embedding: 96,
        feed_forward: 192,
        head: 24,
        ..Self::TINY
    };

    /// The width of the queries of all heads together.
    const fn query(&self) -> u64 {
        self.head * self.heads
    }

    /// The width of the keys, and of the values, of all key-value heads together.
    const fn key_value(&self) -> u64 {
        self.head * self.key_value_heads
    }
}
