//! The native engine against llama.cpp: the same tokens, nearly the same logits.
//!
//! On tiny models always; on the models whose paths `SHIMMY_TEST_MODEL` lists (divided by colons)
//! too, so that every format and architecture at hand can be checked.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod architectures;
mod encoders;
mod formats;
mod logits;
mod pair;
mod perplexity;
mod tokens;
mod vocabularies;
mod word_pieces;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shimmy_engine::{AdapterScale, Batch, Row, Runner, SequenceId, Token};
use shimmy_testkit::tiny;
use tempfile::TempDir;

/// Models to compare on; the folder keeps the tiny one.
fn models() -> (TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let tiny_path = dir.path().join("tiny.gguf");
    tiny::Model::new().write(&tiny_path).unwrap();
    let named = std::env::var("SHIMMY_TEST_MODEL").unwrap_or_default();
    let named = named
        .split(':')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    (dir, [tiny_path].into_iter().chain(named).collect())
}

fn reference_model(path: &Path) -> Arc<shimmy_llama::Model> {
    shimmy_llama::Model::load(path, &shimmy_llama::LoadOptions::default()).unwrap()
}

/// A text of several kinds of characters, long enough for several hundred tokens.
const TEXT: &str = "The quick brown fox jumps over the lazy dog. In 1789 the people of Paris stormed \
    the Bastille; 14 July is still celebrated. fn main() { println!(\"{}\", 40 + 2); }\n\nDer Gruß \
    kostet 3,50 €, sagte sie – und lächelte. 日本語のテキストもあります。\n\t- A list, isn't it?\n\t- \
    The list's second item, which they'd forgotten.\n\nWater boils at 100 degrees Celsius at sea \
    level because its vapour pressure then equals that of the air around it. Higher up the air is \
    thinner, so water boils at a lower temperature and potatoes take longer to cook. ";

/// Tokens of a batch. Only the last has output: llama.cpp is given room for one of a sequence.
const STEP: usize = 8;

/// Logits after every eighth token of a sequence with these adapters.
fn logits(runner: &mut dyn Runner, tokens: &[Token], adapters: &[AdapterScale]) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for (number, tokens) in tokens.chunks_exact(STEP).enumerate() {
        let mut batch = Batch::default();
        batch.choose_adapters(adapters);
        for (index, &token) in tokens.iter().enumerate() {
            batch.push(Row {
                token,
                position: (number * STEP + index) as u32,
                sequence: SequenceId(0),
                output: index + 1 == STEP,
            });
        }
        runner.decode(&batch).unwrap();
        all.push(runner.logits(STEP - 1).unwrap().to_vec());
    }
    all
}
