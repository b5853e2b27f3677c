//! Encoders of BERT's family: models that read a text as a whole and make a vector of it. Owns what they
//! do differently from each other.

use shimmy_engine::Pooling;

use super::families::{pooling, rope};
use super::keys::Keys;
use super::{Pairs, PlanError, Rope, check_counts, check_rope, check_widths};
use crate::kernels::Gate;

/// An encoder: for each layer attention to the whole text and a feed-forward network, with a norm behind
/// each of them. Which biases there are, the tensors say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EncoderPlan {
    pub(crate) layers: usize,
    /// Values of a row between the layers.
    pub(crate) width: usize,
    pub(crate) heads: usize,
    /// Values of a head.
    pub(crate) head: usize,
    /// Values inside of the feed-forward network.
    pub(crate) feed_forward: usize,
    pub(crate) function: Gate,
    /// Whether the function's values gate those of a second matrix.
    pub(crate) is_gated: bool,
    pub(crate) vocabulary: usize,
    /// Tokens of the longest text.
    pub(crate) context: usize,
    pub(crate) epsilon: f32,
    /// How positions turn queries and keys; where they do not, each has an embedding of its own.
    pub(crate) rope: Option<Rope>,
    /// How a text becomes a vector.
    pub(crate) pooling: Pooling,
}

/// The plan of an encoder; none if the architecture is not one of these.
pub(super) fn describe(keys: &Keys<'_>) -> Result<Option<EncoderPlan>, PlanError> {
    let plan = match keys.metadata.architecture() {
        "bert" => encoder(keys, Gate::Gelu)?,
        "nomic-bert" => {
            let plan = encoder(keys, Gate::Silu)?;
            let rope = rope(keys, Pairs::Halves, plan.head)?;
            check_rope(&rope, plan.head)?;
            EncoderPlan {
                is_gated: true,
                rope: Some(rope),
                ..plan
            }
        }
        _ => return Ok(None),
    };
    plan.check()?;
    Ok(Some(plan))
}

fn encoder(keys: &Keys<'_>, function: Gate) -> Result<EncoderPlan, PlanError> {
    // llama.cpp takes a file that does not say so for one whose rows see only those before them.
    if keys.flag("attention.causal") != Some(false) {
        return Err(keys.unsupported("attention.causal", "true"));
    }
    let heads = keys.number("attention.head_count")?;
    let width = keys.number("embedding_length")?;
    let head = width.checked_div(heads).unwrap_or(0);
    for (name, usual) in [
        ("attention.head_count_kv", heads),
        ("attention.key_length", head),
        ("attention.value_length", head),
    ] {
        if let Some(value) = keys.find_number(name)?.filter(|&value| value != usual) {
            return Err(keys.unsupported(name, &value.to_string()));
        }
    }
    Ok(EncoderPlan {
        layers: keys.number("block_count")?,
        width,
        heads,
        head,
        feed_forward: keys.number("feed_forward_length")?,
        function,
        is_gated: false,
        vocabulary: keys.vocabulary()?,
        context: keys.number("context_length")?,
        epsilon: keys.float("attention.layer_norm_epsilon")?,
        rope: None,
        pooling: encoder_pooling(keys)?,
    })
}

/// As of any model, or a score of the first row by a head of its own.
fn encoder_pooling(keys: &Keys<'_>) -> Result<Pooling, PlanError> {
    if keys.find_number("pooling_type")? != Some(4) {
        return pooling(keys);
    }
    match keys.find_number("classifier.pooling_type")? {
        None | Some(2) => Ok(Pooling::Rank),
        Some(other) => Err(keys.unsupported("classifier.pooling_type", &other.to_string())),
    }
}

impl EncoderPlan {
    /// What the kernels rely on.
    fn check(&self) -> Result<(), PlanError> {
        check_counts(&[
            (self.layers, "block_count"),
            (self.heads, "attention.head_count"),
            (self.head, "attention.head_count"),
            (self.vocabulary, "tokenizer.ggml.tokens"),
            (self.context, "context_length"),
        ])?;
        check_widths(&[
            (self.width, "embedding_length"),
            (self.heads * self.head, "attention.head_count"),
            (self.feed_forward, "feed_forward_length"),
        ])
    }
}
