//! Short names of good models. Owns the list; must not know how they are fetched.

/// Names, the repositories that they stand for, and the quantisation where one is better than what
/// is chosen by itself.
const CATALOGUE: [(&str, &str, Option<&str>); 18] = [
    (
        "smollm2:135m",
        "bartowski/SmolLM2-135M-Instruct-GGUF",
        Some("Q8_0"),
    ),
    (
        "smollm2:360m",
        "bartowski/SmolLM2-360M-Instruct-GGUF",
        Some("Q8_0"),
    ),
    ("smollm2:1.7b", "bartowski/SmolLM2-1.7B-Instruct-GGUF", None),
    ("qwen3:0.6b", "Qwen/Qwen3-0.6B-GGUF", None),
    ("qwen3:1.7b", "Qwen/Qwen3-1.7B-GGUF", None),
    ("qwen3:4b", "Qwen/Qwen3-4B-GGUF", None),
    ("qwen3:8b", "Qwen/Qwen3-8B-GGUF", None),
    (
        "qwen2.5-coder:1.5b",
        "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        None,
    ),
    (
        "qwen2.5-coder:7b",
        "Qwen/Qwen2.5-Coder-7B-Instruct-GGUF",
        None,
    ),
    ("llama3.2:1b", "bartowski/Llama-3.2-1B-Instruct-GGUF", None),
    ("llama3.2:3b", "bartowski/Llama-3.2-3B-Instruct-GGUF", None),
    (
        "llama3.1:8b",
        "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF",
        None,
    ),
    ("gemma3:1b", "ggml-org/gemma-3-1b-it-GGUF", None),
    ("gemma3:4b", "ggml-org/gemma-3-4b-it-GGUF", None),
    ("phi4", "bartowski/phi-4-GGUF", None),
    (
        "mistral:7b",
        "bartowski/Mistral-7B-Instruct-v0.3-GGUF",
        None,
    ),
    ("gpt-oss:20b", "ggml-org/gpt-oss-20b-GGUF", None),
    (
        "nomic-embed-text",
        "nomic-ai/nomic-embed-text-v1.5-GGUF",
        None,
    ),
];

/// The names and the repositories that they stand for.
pub fn catalogue() -> impl Iterator<Item = (&'static str, &'static str)> {
    CATALOGUE
        .iter()
        .map(|&(name, repository, _)| (name, repository))
}

/// What a name stands for; upper and lower case and `:latest` make no difference.
pub(super) fn find(name: &str) -> Option<(&'static str, Option<&'static str>)> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(":latest").unwrap_or(&name);
    let found = CATALOGUE.iter().find(|(known, ..)| *known == name);
    found.map(|&(_, repository, quant)| (repository, quant))
}

/// The most similar names.
pub(super) fn closest(name: &str) -> Vec<String> {
    let mut names: Vec<(&str, f64)> = catalogue()
        .map(|(known, _)| (known, strsim::jaro_winkler(known, name)))
        .filter(|(_, similarity)| *similarity > 0.7)
        .collect();
    names.sort_by(|left, right| right.1.total_cmp(&left.1));
    names
        .into_iter()
        .take(3)
        .map(|(known, _)| known.to_owned())
        .collect()
}
