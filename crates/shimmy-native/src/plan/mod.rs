//! What a model computes: sizes and choices, read from its metadata. Owns one description for each
//! family of architectures; must not know how anything is computed.

mod encoder;
mod families;
mod keys;

use shimmy_engine::Pooling;
use shimmy_models::Metadata;

use crate::error::{Fault, Unsupported};
use crate::kernels::Gate;
pub(crate) use encoder::EncoderPlan;
use keys::Keys;

/// What kind of model it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Described {
    /// One that continues texts.
    Decoder(Plan),
    /// One that reads texts as a whole.
    Encoder(EncoderPlan),
}

/// A decoder of the usual kind: for each layer attention and a gated feed-forward network, each with
/// a norm before it and perhaps one behind it. Which norms and biases there are, the tensors say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) layers: usize,
    /// Values of a row between the layers.
    pub(crate) width: usize,
    pub(crate) heads: usize,
    /// Heads of keys and values.
    pub(crate) key_heads: usize,
    /// Values of a head.
    pub(crate) head: usize,
    /// Values inside of the feed-forward network, or of each expert.
    pub(crate) feed_forward: usize,
    /// The experts that every layer has in place of one network.
    pub(crate) experts: Option<Experts>,
    pub(crate) vocabulary: usize,
    /// Tokens that the model was made for.
    pub(crate) context: usize,
    pub(crate) epsilon: f32,
    pub(crate) gate: Gate,
    pub(crate) rope: Rope,
    /// The layers that see a part of the context only.
    pub(crate) local: Option<Local>,
    pub(crate) scores: Scores,
    pub(crate) scales: Scales,
    /// How a text becomes a vector.
    pub(crate) pooling: Pooling,
}

/// Networks of which each row passes through a few. A softmax over all says which and with what
/// weights; the weights of the chosen ones add up to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Experts {
    pub(crate) count: usize,
    /// How many a row passes through.
    pub(crate) used: usize,
}

/// How positions turn queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rope {
    pub(crate) pairs: Pairs,
    /// The first values of a head, which are turned.
    pub(crate) dimensions: usize,
    pub(crate) base: f32,
    /// What positions are divided by.
    pub(crate) stretch: f32,
    /// What turned values are multiplied with.
    pub(crate) magnitude: f32,
    /// The context up to which a model with two sets of factors uses the first.
    pub(crate) short_context: usize,
}

/// Which values of a head are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// Values 2i and 2i + 1.
    Adjacent,
    /// Values i and i + half.
    Halves,
}

/// Layers with a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Local {
    /// Cells that a row sees, itself included.
    pub(crate) window: u32,
    /// Every so many layers, the last one sees everything.
    pub(crate) period: usize,
    pub(crate) rope: Rope,
}

/// What becomes of attention's scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scores {
    pub(crate) scale: f32,
    pub(crate) cap: Option<f32>,
}

/// Constant factors and bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scales {
    pub(crate) embedding: f32,
    /// Of what each half of a layer adds.
    pub(crate) residual: f32,
    pub(crate) logits: f32,
    pub(crate) logit_cap: Option<f32>,
}

impl Default for Scales {
    fn default() -> Self {
        Self {
            embedding: 1.0,
            residual: 1.0,
            logits: 1.0,
            logit_cap: None,
        }
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlanError {
    Unsupported(Unsupported),
    Fault(Fault),
}

impl From<Unsupported> for PlanError {
    fn from(unsupported: Unsupported) -> Self {
        Self::Unsupported(unsupported)
    }
}

impl From<Fault> for PlanError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// More than any size of a model that is one.
const MOST: usize = 1 << 24;

/// Experts of a layer, at most; as in llama.cpp.
const MOST_EXPERTS: usize = 512;

impl Described {
    /// Reads the plan of a model.
    pub(crate) fn read(metadata: &Metadata) -> Result<Self, PlanError> {
        let keys = Keys::new(metadata);
        if let Some(plan) = encoder::describe(&keys)? {
            return Ok(Self::Encoder(plan));
        }
        let plan = families::describe(&keys)?;
        plan.check()?;
        Ok(Self::Decoder(plan))
    }
}

impl Plan {
    /// The window of a layer, if it has one.
    pub(crate) fn window(&self, layer: usize) -> Option<u32> {
        self.local_at(layer).map(|local| local.window)
    }

    /// Whether and how a layer is a local one.
    pub(crate) fn local_at(&self, layer: usize) -> Option<&Local> {
        let local = self.local.as_ref()?;
        (!(layer + 1).is_multiple_of(local.period)).then_some(local)
    }

    /// Values of all heads of the queries together.
    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head
    }

    /// Values of all heads of the keys, or of the values, together.
    pub(crate) fn key_width(&self) -> usize {
        self.key_heads * self.head
    }

    /// What the kernels rely on. Every published model of these families fulfils it.
    fn check(&self) -> Result<(), PlanError> {
        check_counts(&[
            (self.layers, "block_count"),
            (self.heads, "attention.head_count"),
            (self.key_heads, "attention.head_count_kv"),
            (self.head, "attention.key_length"),
            (self.vocabulary, "tokenizer.ggml.tokens"),
        ])?;
        if !self.heads.is_multiple_of(self.key_heads) {
            return Err(key("attention.head_count_kv"));
        }
        let inner = match self.experts {
            Some(_) => "expert_feed_forward_length",
            None => "feed_forward_length",
        };
        check_widths(&[
            (self.width, "embedding_length"),
            (self.feed_forward, inner),
            (self.query_width(), "attention.head_count"),
            (self.key_width(), "attention.head_count_kv"),
        ])?;
        if let Some(Experts { count, used }) = self.experts {
            if count == 0 || count > MOST_EXPERTS {
                return Err(key("expert_count"));
            }
            if used == 0 || used > count {
                return Err(key("expert_used_count"));
            }
        }
        check_rope(&self.rope, self.head)
    }
}

fn key(name: &str) -> PlanError {
    Fault::Key(name.to_owned()).into()
}

/// Numbers that are neither zero nor absurd.
fn check_counts(counts: &[(usize, &str)]) -> Result<(), PlanError> {
    match counts.iter().find(|(count, _)| !(1..=MOST).contains(count)) {
        Some((_, name)) => Err(key(name)),
        None => Ok(()),
    }
}

/// The same of numbers of values, which are whole tiles.
fn check_widths(widths: &[(usize, &str)]) -> Result<(), PlanError> {
    check_counts(widths)?;
    let mut widths = widths.iter();
    match widths.find(|(width, _)| !width.is_multiple_of(crate::quant::TILE)) {
        Some((width, name)) => Err(Unsupported::Setting {
            key: (*name).to_owned(),
            value: width.to_string(),
        }
        .into()),
        None => Ok(()),
    }
}

fn check_rope(rope: &Rope, head: usize) -> Result<(), PlanError> {
    let turned = rope.dimensions;
    if turned == 0 || turned > head || !turned.is_multiple_of(2) {
        return Err(key("rope.dimension_count"));
    }
    Ok(())
}
