//! A tiny model on disk, and logits of sequences.

use std::path::PathBuf;
use std::sync::Arc;

use shimmy_engine::{AdapterScale, Batch, Row, Runner, SequenceId, Token};
use shimmy_native::{
    CacheType, Model, NativeRunner, NativeTokenizer, Options, RunnerOptions, open,
};
use shimmy_testkit::tiny;
use tempfile::TempDir;

/// A folder with one tiny model.
pub(crate) struct Files {
    dir: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self::of(&tiny::Model::new())
    }

    /// A folder with this one.
    pub(crate) fn of(model: &tiny::Model) -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        model.write(&files.path("tiny.gguf")).unwrap();
        files
    }

    /// A folder with this encoder.
    pub(crate) fn of_encoder(encoder: &tiny::Encoder) -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        encoder.write(&files.path("tiny.gguf")).unwrap();
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn open(&self) -> (Arc<Model>, NativeTokenizer) {
        open(&self.path("tiny.gguf"), &Options::default()).unwrap()
    }

    /// A runner with 512 cells, 4 sequences and batches of 32 rows.
    pub(crate) fn runner(&self) -> NativeRunner {
        self.runner_with(CacheType::F16)
    }

    /// The same with a cache of this type.
    pub(crate) fn runner_with(&self, cache_type: CacheType) -> NativeRunner {
        let options = RunnerOptions {
            cache_type,
            ..options()
        };
        NativeRunner::new(self.open().0, options).unwrap()
    }
}

pub(crate) fn options() -> RunnerOptions {
    RunnerOptions {
        cells: Some(512),
        sequences: 4,
        batch: 32,
        threads: Some(2),
        ..RunnerOptions::default()
    }
}

pub(crate) const CACHE_TYPES: [CacheType; 2] = [CacheType::F16, CacheType::Q8_0];

pub(crate) const A: SequenceId = SequenceId(0);
pub(crate) const B: SequenceId = SequenceId(1);
pub(crate) const C: SequenceId = SequenceId(2);

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
        last = batch.push(Row {
            token,
            position: (first + offset) as u32,
            sequence,
            output: offset + 1 == tokens.len(),
        });
    }
    last
}

/// Computes tokens in chunks and returns the logits after the last.
pub(crate) fn prefill(
    runner: &mut NativeRunner,
    sequence: SequenceId,
    first: usize,
    tokens: &[Token],
    chunk: usize,
) -> Vec<f32> {
    prefill_with(runner, &[], sequence, first, tokens.chunks(chunk))
}

/// The same with adapters.
pub(crate) fn prefill_with<'a>(
    runner: &mut NativeRunner,
    adapters: &[AdapterScale],
    sequence: SequenceId,
    mut first: usize,
    chunks: impl Iterator<Item = &'a [Token]>,
) -> Vec<f32> {
    let mut logits = Vec::new();
    for tokens in chunks {
        let mut batch = Batch::default();
        batch.choose_adapters(adapters);
        let row = push(&mut batch, sequence, first, tokens);
        first += tokens.len();
        runner.decode(&batch).unwrap();
        logits = runner.logits(row).unwrap().to_vec();
    }
    assert!(logits.iter().all(|logit| logit.is_finite()));
    logits
}
