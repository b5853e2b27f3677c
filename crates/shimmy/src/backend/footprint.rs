//! What a model takes in memory, worked out from its file and its settings before it is loaded.
//! Owns the sums; must not know an engine's types.

use shimmy_models::Metadata;
use shimmy_models::gguf::{TensorInfo, Value};

use super::{CachePlan, KvCacheType};
use crate::size;

/// What a model takes when its cache has grown as far as it may, in bytes.
///
/// The cache grows by need, so that a model that is little used takes less. It is charged in full,
/// because a request that has been accepted must not find its memory given to another model. Not
/// charged are the buffers of a model that is asked for embeddings, which it makes when it first is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) weights: u64,
    /// Keys and values of every token that may be kept, recurrent states, and what is kept of ended
    /// requests.
    pub(crate) cache: u64,
    /// Intermediate results and logits.
    pub(crate) buffers: u64,
    pub(crate) adapters: u64,
    /// How much of all that is on GPUs.
    pub(crate) gpu: u64,
}

impl Footprint {
    /// All of it.
    pub(crate) fn total(&self) -> u64 {
        [self.weights, self.cache, self.buffers, self.adapters]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// What is in the machine's own memory.
    pub(crate) fn host(&self) -> u64 {
        self.total().saturating_sub(self.gpu)
    }

    /// The same with `placed` of `all` layers on GPUs.
    pub(super) fn with_layers_on_gpus(self, placed: u32, all: u32) -> Self {
        let part = |bytes: u64| {
            let bytes = u128::from(bytes) * u128::from(placed.min(all)) / u128::from(all.max(1));
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        Self {
            gpu: part(self.weights).saturating_add(part(self.cache)),
            ..self
        }
    }

    /// What to tell somebody who is not refused it, if it may take more than can be given.
    pub(crate) fn warning(&self, spendable: u64) -> Option<String> {
        (self.host() > spendable).then(|| {
            let (need, spendable) = (size::show(self.host()), size::show(spendable));
            let advice = self.advice();
            format!("it may take {need} of memory, and {spendable} may be used ({advice})")
        })
    }

    /// What it is made of and what makes it smaller, in words.
    pub(crate) fn advice(&self) -> String {
        let weights = size::show(self.weights.saturating_add(self.adapters));
        let cache = size::show(self.cache);
        let buffers = size::show(self.buffers);
        let remedy = if self.cache > self.weights {
            "a smaller --ctx, --cache-size or --parallel makes the cache smaller, and \
             --kv-cache-type q8_0 halves it"
        } else {
            "a smaller quantisation of the model, or a smaller --ctx, needs less"
        };
        format!("weights {weights}, cache {cache}, buffers {buffers}; {remedy}")
    }
}

/// A model's dimensions, as far as memory depends on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Dimensions {
    weights: u64,
    /// Bytes that one token takes in the cache.
    pub(super) bytes_per_cell: u64,
    /// Bytes of the state that recurrent layers keep of a sequence.
    bytes_per_sequence: u64,
    pub(super) layers: u64,
    embedding: u64,
    feed_forward: u64,
    heads: u64,
    vocabulary: u64,
}

/// Bytes of 16-bit numbers, and of 32-bit ones.
const HALF: u64 = 2;
const FULL: u64 = 4;

impl Dimensions {
    /// Those of the model whose parts have these headers, in order, with a cache of this type. An upper bound where only some
    /// layers keep all tokens. Whatever a file says, no sum wraps.
    pub(super) fn of(parts: &[Metadata], kind: KvCacheType) -> Self {
        let tensors = parts.iter().flat_map(Metadata::tensors);
        let weights = tensors.filter_map(TensorInfo::size);
        let weights = weights.fold(0, u64::saturating_add);
        let Some(first) = parts.first() else {
            return Self::default();
        };
        let get = |key: &str| first.get(&format!("{}.{key}", first.architecture()));
        let number = |key: &str| get(key).and_then(Value::as_u64);
        let layers = first.layer_count().unwrap_or(0);
        let embedding = first.embedding_length().unwrap_or(0);
        let heads = largest(get("attention.head_count"));
        let width = embedding.checked_div(heads).unwrap_or(0);
        let keys = number("attention.key_length").unwrap_or(width);
        let values = number("attention.value_length").unwrap_or(width);
        let shared_heads = match get("attention.head_count_kv") {
            _ if first.is_encoder() => 0,
            Some(count) => sum_over_layers(count, layers),
            None => heads.saturating_mul(layers),
        };
        let per_layer = recurrent_state(number, embedding);
        // A row has a place with each of its experts, in the layer's width as well as in theirs.
        let inner = largest(get("expert_feed_forward_length")).saturating_add(embedding / 2);
        let of_experts = product([largest(get("expert_used_count")), inner]);
        Self {
            weights,
            bytes_per_cell: product([
                shared_heads,
                kind.bytes(keys).saturating_add(kind.bytes(values)),
            ]),
            bytes_per_sequence: product([per_layer, layers, FULL]),
            layers,
            embedding,
            feed_forward: largest(get("feed_forward_length")).max(of_experts),
            heads,
            vocabulary: vocabulary(first),
        }
    }

    /// The same with weights that an engine holds in a form of its own, if it does.
    pub(super) fn with_weights(self, weights: Option<u64>) -> Self {
        Self {
            weights: weights.unwrap_or(self.weights),
            ..self
        }
    }

    /// What it takes with a cache of this size and with these adapters.
    pub(super) fn footprint(&self, cache: &CachePlan, adapters: u64) -> Footprint {
        let cells = u64::from(cache.cells) + u64::from(cache.rounding);
        let sequences = u64::from(cache.sequences);
        let rows = u64::from(cache.batch);
        // The rows of one step in the widest places of a layer, the mask of who sees whom (once as
        // floats, once for the kernels), and the logits of each sequence (once computed, once
        // kept).
        let widest = [
            self.embedding.saturating_mul(4),
            self.feed_forward.saturating_mul(3),
        ];
        let widest = widest.into_iter().fold(0, u64::saturating_add);
        let buffers = [
            product([rows, widest, FULL]),
            product([rows, cells, FULL + HALF]),
            product([sequences, self.vocabulary, FULL, 2]),
        ];
        Footprint {
            weights: self.weights,
            cache: product([cells, self.bytes_per_cell])
                .saturating_add(product([sequences, self.bytes_per_sequence]))
                .saturating_add(cache.offload_bytes),
            buffers: buffers.into_iter().fold(0, u64::saturating_add),
            adapters,
            gpu: 0,
        }
    }
}

/// Numbers that the state of one recurrent layer has, for Mamba's family and RWKV's.
fn recurrent_state(number: impl Fn(&str) -> Option<u64>, embedding: u64) -> u64 {
    if let Some(inner) = number("ssm.inner_size") {
        let state = number("ssm.state_size").unwrap_or(0);
        let groups = number("ssm.group_count").unwrap_or(0);
        let kernel = number("ssm.conv_kernel").unwrap_or(0).saturating_sub(1);
        let mixed = product([2, groups, state]).saturating_add(inner);
        return product([kernel, mixed]).saturating_add(product([state, inner]));
    }
    let head = number("wkv.head_size").unwrap_or(0);
    match head {
        0 => 0,
        head => embedding.saturating_mul(head.saturating_add(2)),
    }
}

/// A number that may differ from layer to layer, in the layer where it is largest.
fn largest(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_u64).max().unwrap_or(0),
        Some(value) => value.as_u64().unwrap_or(0),
        None => 0,
    }
}

/// Such a number, of all layers together.
fn sum_over_layers(value: &Value, layers: u64) -> u64 {
    match value {
        Value::Array(list) => {
            let each = list.iter().filter_map(Value::as_u64);
            each.fold(0, u64::saturating_add)
        }
        value => value.as_u64().unwrap_or(0).saturating_mul(layers),
    }
}

fn vocabulary(metadata: &Metadata) -> u64 {
    match metadata.get("tokenizer.ggml.tokens") {
        Some(Value::LongArray { length, .. }) => *length,
        Some(Value::Array(list)) => list.len() as u64,
        _ => 0,
    }
}

fn product<const N: usize>(factors: [u64; N]) -> u64 {
    factors.into_iter().fold(1, u64::saturating_mul)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use shimmy_testkit::gguf::{Tensor, TensorType, Value, Writer};

    use super::*;

    fn metadata(entries: &[(&str, Value)]) -> Metadata {
        let mut writer = Writer::new();
        writer.metadata("general.architecture", "llama");
        for (key, value) in entries {
            writer.metadata(key, value.clone());
        }
        writer.tensor(Tensor::new("a", &[8, 4], TensorType::F32, &[0.0; 32]));
        Metadata::read(Cursor::new(writer.to_bytes())).unwrap()
    }

    fn sizes() -> Vec<(&'static str, Value)> {
        vec![
            ("llama.block_count", Value::U32(10)),
            ("llama.embedding_length", Value::U32(64)),
            ("llama.attention.head_count", Value::U32(8)),
            ("llama.feed_forward_length", Value::U32(256)),
        ]
    }

    #[test]
    fn who_is_not_refused_is_told_what_does_not_fit_and_what_would() {
        let need = Footprint {
            weights: 8 << 30,
            cache: 1 << 30,
            gpu: 1 << 30,
            ..Footprint::default()
        };
        assert_eq!(need.warning(8 << 30), None);
        let warning = need.warning((8 << 30) - 1).unwrap();
        assert!(
            warning.starts_with("it may take 8.0 GiB of memory, and 8.0 GiB may be used"),
            "{warning}"
        );
        assert!(warning.contains("a smaller quantisation"), "{warning}");
    }

    #[test]
    fn a_cell_takes_the_keys_and_values_of_every_layer() {
        let mut entries = sizes();
        // As many heads for keys as for queries where the file does not say.
        let plain = Dimensions::of(&[metadata(&entries)], KvCacheType::F16);
        assert_eq!(plain.bytes_per_cell, 10 * 8 * (8 + 8) * 2);
        assert_eq!(plain.weights, 128);
        entries.push(("llama.attention.head_count_kv", Value::U32(2)));
        entries.push(("llama.attention.value_length", Value::U32(4)));
        let shared = Dimensions::of(&[metadata(&entries)], KvCacheType::F16);
        assert_eq!(shared.bytes_per_cell, 10 * 2 * (8 + 4) * 2);
        // Layers of their own: three with a cache, the others without.
        let counts = vec![4, 0, 4, 0, 4, 0, 0, 0, 0, 0];
        entries[4].1 = Value::U32s(counts);
        let hybrid = Dimensions::of(&[metadata(&entries)], KvCacheType::F16);
        assert_eq!(hybrid.bytes_per_cell, 12 * (8 + 4) * 2);
        let plan = CachePlan {
            cells: 1000,
            sequences: 4,
            batch: 512,
            ..CachePlan::default()
        };
        assert_eq!(hybrid.footprint(&plan, 7).cache, 1000 * 12 * 12 * 2);
        // Of heads of 8 and 4 values each takes a part of 32 with its scale.
        let bytes = Dimensions::of(&[metadata(&entries)], KvCacheType::Q8_0);
        assert_eq!(bytes.bytes_per_cell, 12 * (34 + 34));
        assert_eq!(hybrid.footprint(&plan, 7).adapters, 7);
    }

    #[test]
    fn an_encoder_has_no_cache() {
        let path = tempfile::NamedTempFile::new().unwrap();
        shimmy_testkit::tiny::Encoder::new()
            .write(path.path())
            .unwrap();
        let encoder = Metadata::open(path.path()).unwrap();
        let dimensions = Dimensions::of(&[encoder], KvCacheType::F16);
        assert_eq!(dimensions.bytes_per_cell, 0);
        assert_eq!(dimensions.layers, 2);
    }

    #[test]
    fn a_row_has_a_place_with_each_of_its_experts() {
        let plan = CachePlan {
            batch: 512,
            ..CachePlan::default()
        };
        let mut entries = sizes();
        let dense = Dimensions::of(&[metadata(&entries)], KvCacheType::F16).footprint(&plan, 0);
        entries.push(("llama.expert_used_count", Value::U32(8)));
        entries.push(("llama.expert_feed_forward_length", Value::U32(32)));
        let mixed = Dimensions::of(&[metadata(&entries)], KvCacheType::F16).footprint(&plan, 0);
        assert_eq!(mixed.buffers - dense.buffers, 512 * 3 * (8 * 64 - 256) * 4);
    }

    #[test]
    fn recurrent_layers_keep_a_state_for_each_sequence() {
        let mut entries = sizes();
        entries.push(("llama.attention.head_count_kv", Value::U32(0)));
        entries.push(("llama.ssm.inner_size", Value::U32(128)));
        entries.push(("llama.ssm.state_size", Value::U32(16)));
        entries.push(("llama.ssm.conv_kernel", Value::U32(4)));
        let model = Dimensions::of(&[metadata(&entries)], KvCacheType::F16);
        let plan = CachePlan {
            cells: 1000,
            sequences: 3,
            ..CachePlan::default()
        };
        let state = 3 * 128 + 16 * 128;
        assert_eq!(model.footprint(&plan, 0).cache, 3 * 10 * state * 4);
    }

    #[test]
    fn absurd_numbers_do_not_wrap() {
        let entries = [
            ("llama.block_count", Value::U32(512)),
            ("llama.embedding_length", Value::U64(u64::MAX)),
            ("llama.attention.head_count", Value::U64(1)),
            ("llama.attention.head_count_kv", Value::U64(u64::MAX)),
        ];
        let model = Dimensions::of(&[metadata(&entries)], KvCacheType::F16);
        let plan = CachePlan {
            cells: u32::MAX,
            sequences: 256,
            batch: 512,
            ..CachePlan::default()
        };
        let footprint = model.footprint(&plan, u64::MAX);
        assert_eq!(footprint.total(), u64::MAX);
        assert_eq!(footprint.with_layers_on_gpus(3, 2).gpu, u64::MAX);
    }

    #[test]
    fn layers_on_gpus_take_their_part_along() {
        let footprint = Footprint {
            weights: 1000,
            cache: 500,
            buffers: 80,
            ..Footprint::default()
        };
        let half = footprint.with_layers_on_gpus(2, 4);
        assert_eq!((half.gpu, half.host()), (750, 830));
        assert_eq!(footprint.with_layers_on_gpus(9, 4).host(), 80);
    }
}
