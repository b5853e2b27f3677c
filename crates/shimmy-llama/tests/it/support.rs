//! A tiny model on disk, and greedy generation with a runner.

use std::path::PathBuf;
use std::sync::Arc;

use shimmy_engine::{AdapterScale, Batch, Row, Runner, SequenceId, Token};
use shimmy_llama::{ContextOptions, LlamaRunner, LoadOptions, Model, RunnerOptions};
use shimmy_testkit::tiny;
use tempfile::TempDir;

/// A folder with one tiny model.
pub(crate) struct Files {
    dir: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        tiny::Model::new().write(&files.path("tiny.gguf")).unwrap();
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn model(&self) -> Arc<Model> {
        Model::load(&self.path("tiny.gguf"), &LoadOptions::default()).unwrap()
    }

    /// A runner for the tiny model with 256 cells, 4 sequences and batches of 32 rows.
    pub(crate) fn runner(&self) -> LlamaRunner {
        LlamaRunner::new(self.model(), options()).unwrap()
    }
}

pub(crate) fn options() -> RunnerOptions {
    let context = ContextOptions {
        cells: Some(256),
        sequences: 4,
        batch: 32,
        micro_batch: 32,
        threads: Some(1),
        ..ContextOptions::default()
    };
    RunnerOptions {
        context,
        ..RunnerOptions::default()
    }
}

pub(crate) const A: SequenceId = SequenceId(0);
pub(crate) const B: SequenceId = SequenceId(1);

/// The tokens of a text that the tiny model spells byte by byte.
pub(crate) fn bytes(text: &str) -> Vec<Token> {
    text.bytes().map(Token::from).collect()
}

/// Appends tokens of one sequence to a batch, the last with output; returns that one's row.
pub(crate) fn push(
    batch: &mut Batch,
    sequence: SequenceId,
    first: usize,
    tokens: &[Token],
) -> usize {
    let mut last = 0;
    for (offset, &token) in tokens.iter().enumerate() {
        let output = offset + 1 == tokens.len();
        last = batch.push(Row {
            token,
            position: (first + offset) as u32,
            sequence,
            output,
        });
    }
    last
}

/// The likeliest token after a row of the last batch.
pub(crate) fn greedy(runner: &mut LlamaRunner, row: usize) -> Token {
    let logits = runner.logits(row).unwrap();
    assert!(logits.iter().all(|logit| logit.is_finite()));
    (0..logits.len())
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap() as Token
}

/// Computes tokens in chunks and returns the likeliest next one.
pub(crate) fn prefill(
    runner: &mut LlamaRunner,
    sequence: SequenceId,
    first: usize,
    tokens: &[Token],
) -> Token {
    prefill_with(runner, &[], sequence, first, tokens)
}

/// The same with adapters.
pub(crate) fn prefill_with(
    runner: &mut LlamaRunner,
    adapters: &[AdapterScale],
    sequence: SequenceId,
    first: usize,
    tokens: &[Token],
) -> Token {
    let mut next = 0;
    let chunk = runner.limits().batch;
    for (index, tokens) in tokens.chunks(chunk).enumerate() {
        let mut batch = Batch::default();
        batch.choose_adapters(adapters);
        let row = push(&mut batch, sequence, first + index * chunk, tokens);
        runner.decode(&batch).unwrap();
        next = greedy(runner, row);
    }
    next
}

/// Continues a sequence that holds `held` tokens by `count` greedy ones, beginning with `next`.
pub(crate) fn generate(
    runner: &mut LlamaRunner,
    sequence: SequenceId,
    held: usize,
    next: Token,
    count: usize,
) -> Vec<Token> {
    generate_with(runner, &[], sequence, held, vec![next], count)
}

/// The same with adapters; `tokens` are those to begin with.
pub(crate) fn generate_with(
    runner: &mut LlamaRunner,
    adapters: &[AdapterScale],
    sequence: SequenceId,
    held: usize,
    mut tokens: Vec<Token>,
    count: usize,
) -> Vec<Token> {
    for position in held..held + count - tokens.len() {
        let last = &tokens[tokens.len() - 1..];
        let next = prefill_with(runner, adapters, sequence, position, last);
        tokens.push(next);
    }
    tokens
}

/// A prompt's greedy answer of 12 tokens.
pub(crate) fn answer(runner: &mut LlamaRunner, sequence: SequenceId, prompt: &str) -> Vec<Token> {
    answer_with(runner, &[], sequence, prompt)
}

/// The same with adapters.
pub(crate) fn answer_with(
    runner: &mut LlamaRunner,
    adapters: &[AdapterScale],
    sequence: SequenceId,
    prompt: &str,
) -> Vec<Token> {
    let prompt = bytes(prompt);
    let next = prefill_with(runner, adapters, sequence, 0, &prompt);
    generate_with(runner, adapters, sequence, prompt.len(), vec![next], 12)
}
