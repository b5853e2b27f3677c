//! Both engines on one tiny model, and how far they are apart.

use std::path::Path;

use shimmy_engine::{Batch, Row, Runner, SequenceId, Specials, Token, Tokenizer};
use shimmy_llama::LlamaRunner;
use shimmy_native::{NativeRunner, Options};
use shimmy_testkit::tiny;

use super::{TEXT, reference_model};

/// The native engine and llama.cpp, with one model.
pub(super) struct Pair {
    pub(super) native: NativeRunner,
    pub(super) llama: LlamaRunner,
    pub(super) tokens: Vec<Token>,
}

impl Pair {
    /// Both with caches of so many cells, and the tokens of a text.
    pub(super) fn open(path: &Path, cells: usize) -> Self {
        let (model, tokenizer) = shimmy_native::open(path, &Options::default()).unwrap();
        let native_options = shimmy_native::RunnerOptions {
            cells: Some(cells),
            ..shimmy_native::RunnerOptions::default()
        };
        let mut options = shimmy_llama::RunnerOptions::default();
        options.context.cells = Some(cells as u32);
        // Threads that wait for each other are slow on a machine with other work.
        options.context.threads = Some(1);
        Self {
            native: NativeRunner::new(model, native_options).unwrap(),
            llama: LlamaRunner::new(reference_model(path), options).unwrap(),
            tokens: tokenizer.tokenize(TEXT, Specials::Literal).unwrap(),
        }
    }

    /// Writes a model and opens it.
    pub(super) fn of(model: &tiny::Model, cells: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        model.write(&path).unwrap();
        Self::open(&path, cells)
    }

    /// The logits behind a sequence that goes on with these tokens, of both.
    pub(super) fn step(&mut self, position: usize, tokens: &[Token]) -> [Vec<f32>; 2] {
        let runners: [&mut dyn Runner; 2] = [&mut self.native, &mut self.llama];
        runners.map(|runner| {
            let mut batch = Batch::default();
            for (offset, &token) in tokens.iter().enumerate() {
                batch.push(Row {
                    token,
                    position: (position + offset) as u32,
                    sequence: SequenceId(0),
                    output: offset + 1 == tokens.len(),
                });
            }
            runner.decode(&batch).unwrap();
            runner.logits(tokens.len() - 1).unwrap().to_vec()
        })
    }

    /// The mean relative error over a text and a greedy continuation of it. Panics where the engines
    /// choose otherwise although llama.cpp's choice is ahead by more than the error.
    pub(super) fn compare(&mut self, name: &str) -> f64 {
        let prompt = self.tokens[..PROMPT].to_vec();
        let mut errors = Vec::new();
        let mut rows = Vec::new();
        for (number, tokens) in prompt.chunks(CHUNK).enumerate() {
            rows = self.step(number * CHUNK, tokens).to_vec();
            errors.push(relative(&rows[0], &rows[1]));
        }
        for position in PROMPT..PROMPT + ANSWER {
            let (choice, ahead) = choice(&rows[1]);
            let apart = rows[0].iter().zip(&rows[1]).map(|(a, b)| (a - b).abs());
            let apart = apart.fold(0.0, f32::max);
            if ahead > 2.0 * apart {
                assert_eq!(self::choice(&rows[0]).0, choice, "{name}: at {position}");
            }
            rows = self.step(position, &[choice]).to_vec();
            errors.push(relative(&rows[0], &rows[1]));
        }
        errors.iter().sum::<f64>() / errors.len() as f64
    }

    /// The smallest cosine of vectors of a few texts.
    pub(super) fn cosine(&mut self) -> f64 {
        let texts: Vec<Vec<Token>> = [3, 1, 40]
            .map(|length| self.tokens[length..2 * length].to_vec())
            .into();
        let ours = self.native.embed(&texts).unwrap();
        let theirs = self.llama.embed(&texts).unwrap();
        let dot = |a: &[f32], b: &[f32]| {
            let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
            products.sum::<f64>()
        };
        let cosines = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
        cosines.fold(1.0, f64::min)
    }
}

/// Tokens that are read before the answer, in chunks of so many; more than any window.
const PROMPT: usize = 120;
const CHUNK: usize = 8;
/// Tokens of the answer.
const ANSWER: usize = 40;

/// The root of the squared differences over that of the squared (centred) values.
pub(super) fn relative(row: &[f32], reference: &[f32]) -> f64 {
    let mean = |row: &[f32]| row.iter().map(|&x| f64::from(x)).sum::<f64>() / row.len() as f64;
    let (a, b) = (mean(row), mean(reference));
    let (mut difference, mut size) = (0.0, 0.0);
    for (x, y) in row.iter().zip(reference) {
        let (x, y) = (f64::from(*x) - a, f64::from(*y) - b);
        difference += (x - y) * (x - y);
        size += y * y;
    }
    (difference / size).sqrt()
}

/// The likeliest token, and how far it is ahead of the next.
fn choice(row: &[f32]) -> (Token, f32) {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    (order[0] as Token, row[order[0]] - row[order[1]])
}
