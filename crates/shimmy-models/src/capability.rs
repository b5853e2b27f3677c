//! What a model can do, read from its metadata and templates. Owns the signs by which each ability
//! is known; must not know what a server does with it.

use serde::{Deserialize, Serialize};

use crate::gguf::Metadata;

/// Architectures that only make vectors, whatever their metadata leave out.
const ENCODERS: [&str; 9] = [
    "bert",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
];
/// llama.cpp's number of the pooling that ends in a score.
const POOLING_RANK: u64 = 4;

/// One thing that a model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// It continues texts.
    Completion,
    /// Its template has a place for tools.
    Tools,
    /// It fills a gap between two texts.
    Insert,
    /// It sees pictures, with a projector or by itself.
    Vision,
    /// It makes vectors of texts.
    Embedding,
    /// It ranks texts.
    Rerank,
    /// It can think before it answers.
    Thinking,
}

impl Capability {
    /// Its name in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Tools => "tools",
            Self::Insert => "insert",
            Self::Vision => "vision",
            Self::Embedding => "embedding",
            Self::Rerank => "rerank",
            Self::Thinking => "thinking",
        }
    }
}

/// Whether a model reads texts as a whole and keeps nothing of them.
pub(crate) fn is_encoder(metadata: &Metadata) -> bool {
    ENCODERS.contains(&metadata.architecture())
}

/// What a file says of itself, in the order of [`Capability`].
pub(crate) fn of_metadata(metadata: &Metadata) -> Vec<Capability> {
    let pooling = metadata.own_number("pooling_type").unwrap_or(0);
    if pooling == POOLING_RANK {
        return vec![Capability::Rerank];
    }
    if pooling > 0 || is_encoder(metadata) {
        return vec![Capability::Embedding];
    }
    let mut found = vec![Capability::Completion];
    found.extend(metadata.chat_template().into_iter().flat_map(of_template));
    if metadata.fills_gaps() {
        found.push(Capability::Insert);
    }
    if metadata.own_number("vision.block_count").is_some() {
        found.push(Capability::Vision);
    }
    sorted(found)
}

/// What a Jinja template has places for.
fn of_template(template: &str) -> Vec<Capability> {
    let has_any = |signs: &[&str]| signs.iter().any(|sign| template.contains(sign));
    let mut found = Vec::new();
    if has_word(template, "tools") {
        found.push(Capability::Tools);
    }
    // The names of the switch, of the field in messages, and the marks of the thoughts themselves.
    let thoughts = [
        "enable_thinking",
        "reasoning_content",
        "reasoning_effort",
        "<think>",
        "</think>",
        "<|channel|>analysis",
    ];
    if has_any(&thoughts) {
        found.push(Capability::Thinking);
    }
    found
}

/// What a package's template has places for: Ollama's are in Go's language, ours may be in Jinja.
pub(crate) fn of_package_template(template: &str) -> Vec<Capability> {
    match template.contains("{%") {
        true => of_template(template),
        false => of_go_template(template),
    }
}

fn of_go_template(template: &str) -> Vec<Capability> {
    let signs = [
        (".Tools", Capability::Tools),
        (".Suffix", Capability::Insert),
        (".Thinking", Capability::Thinking),
    ];
    let found = signs.iter().filter(|(sign, _)| template.contains(sign));
    found.map(|&(_, capability)| capability).collect()
}

/// Adds what is not there yet, in order.
pub(crate) fn add(to: &mut Vec<Capability>, more: impl IntoIterator<Item = Capability>) {
    to.extend(more);
    *to = sorted(std::mem::take(to));
}

fn sorted(mut found: Vec<Capability>) -> Vec<Capability> {
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether `word` occurs as a name of its own, not as a part of another one.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use shimmy_testkit::gguf::{Value, Writer};

    use super::*;

    fn of(entries: &[(&str, Value)]) -> Vec<Capability> {
        let mut writer = Writer::new();
        writer.metadata("general.architecture", "llama");
        for (key, value) in entries {
            writer.metadata(key, value.clone());
        }
        let metadata = Metadata::read(Cursor::new(writer.to_bytes())).unwrap();
        of_metadata(&metadata)
    }

    fn with_template(template: &str) -> Vec<Capability> {
        of(&[("tokenizer.chat_template", Value::from(template))])
    }

    #[test]
    fn a_template_tells_of_tools_and_thoughts() {
        use Capability::{Completion, Thinking, Tools};
        assert_eq!(of(&[]), [Completion]);
        assert_eq!(
            with_template("{% if tools %}{% endif %}"),
            [Completion, Tools]
        );
        assert_eq!(with_template("{{ builtin_tools }} toolset"), [Completion]);
        let qwen = "{%- if tools %}{%- if enable_thinking is defined %}<think>{%- endif %}";
        assert_eq!(with_template(qwen), [Completion, Tools, Thinking]);
    }

    #[test]
    fn vectors_and_ranks_are_told_from_texts() {
        let pooled = |number: u32| of(&[("llama.pooling_type", Value::from(number))]);
        assert_eq!(pooled(0), [Capability::Completion]);
        assert_eq!(pooled(3), [Capability::Embedding]);
        assert_eq!(pooled(4), [Capability::Rerank]);
    }

    #[test]
    fn a_gap_is_filled_by_who_has_a_token_for_it() {
        use Capability::{Completion, Insert};
        let few = Value::Strings(vec!["a".to_owned(), "<|fim_prefix|>".to_owned()]);
        assert_eq!(of(&[("tokenizer.ggml.tokens", few)]), [Completion, Insert]);
        let mut many = vec!["a longer token than is shown".to_owned(); 2000];
        many.push("<｜fim▁begin｜>".to_owned());
        let many = Value::Strings(many);
        assert_eq!(
            of(&[("tokenizer.ggml.tokens", many.clone())]),
            [Completion, Insert]
        );
        assert_eq!(of(&[("some.other.array", many)]), [Completion]);
        let key = ("tokenizer.ggml.fim_pre_token_id", Value::from(7_u32));
        assert_eq!(of(&[key]), [Completion, Insert]);
    }

    #[test]
    fn a_model_that_holds_its_own_eyes_sees() {
        let eyes = ("llama.vision.block_count", Value::from(2_u32));
        assert_eq!(of(&[eyes]), [Capability::Completion, Capability::Vision]);
    }

    #[test]
    fn go_templates_tell_the_same() {
        let template = "{{ if .Tools }}{{ .Tools }}{{ end }}{{ .Prompt }}{{ .Suffix }}";
        assert_eq!(
            of_go_template(template),
            [Capability::Tools, Capability::Insert]
        );
    }
}
