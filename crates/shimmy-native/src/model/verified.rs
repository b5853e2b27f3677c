//! What has been compared with llama.cpp. Owns the lists; whoever compares another architecture,
//! format or tokenizer with `tests/reference` adds it here.

use shimmy_models::Metadata;
use shimmy_models::gguf::Value;

use crate::quant::Kind;

/// Architectures whose logits and greedy texts agreed.
const ARCHITECTURES: [&str; 2] = ["llama", "qwen2"];

/// How those models split texts into words.
const WORDS: [&str; 3] = ["gpt-2", "qwen2", "smollm"];

/// Whether a model's tokens and logits are known to be right.
pub(super) fn is_verified(metadata: &Metadata, mut kinds: impl Iterator<Item = Kind>) -> bool {
    let words = metadata
        .get("tokenizer.ggml.pre")
        .and_then(Value::as_str)
        .unwrap_or_default();
    ARCHITECTURES.contains(&metadata.architecture())
        && WORDS.contains(&words)
        && kinds.all(has_been_compared)
}

/// Formats that were in those models.
fn has_been_compared(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::F32 | Kind::F16 | Kind::Q4_1 | Kind::Q5_0 | Kind::Q8_0 | Kind::Q4K | Kind::Q6K
    )
}
