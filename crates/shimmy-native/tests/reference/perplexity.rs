//! Perplexities over thousands of tokens: the bar for what `--engine auto` gives to this engine.

use std::path::Path;
use std::sync::Arc;

use shimmy_engine::{Batch, Row, Runner, SequenceId, Specials, Token, Tokenizer};
use shimmy_llama::LlamaRunner;
use shimmy_native::{CacheType, NativeRunner, Options};

use super::logits::{best, probabilities};
use super::{models, reference_model};

/// Documents of this project as they once were, so that figures stay comparable: prose, lists and code.
const TEXT: &str = include_str!("prose.txt");

/// Tokens of which each is read with those before it.
const WINDOW: usize = 512;
/// Windows of one model.
const WINDOWS: usize = 12;
/// Rows of a batch, all of them with output.
const ROWS: usize = 64;

/// What one engine says of all tokens.
#[derive(Debug, Default)]
struct Reading {
    /// Of each token minus the logarithm of what was given to it.
    surprises: Vec<f64>,
    /// The likeliest token at each place, and by how much it is likelier than the second.
    choices: Vec<(usize, f64)>,
}

impl Reading {
    fn perplexity(&self) -> f64 {
        (self.surprises.iter().sum::<f64>() / self.surprises.len() as f64).exp()
    }
}

fn read(runner: &mut dyn Runner, tokens: &[Token], beginning: Option<Token>) -> Reading {
    let mut reading = Reading::default();
    for window in tokens.chunks_exact(WINDOW) {
        assert!(runner.truncate(SequenceId(0), 0));
        let window: Vec<Token> = beginning
            .into_iter()
            .chain(window.iter().copied())
            .collect();
        for (number, rows) in window.chunks(ROWS).enumerate() {
            let mut batch = Batch::default();
            for (index, &token) in rows.iter().enumerate() {
                batch.push(Row {
                    token,
                    position: (number * ROWS + index) as u32,
                    sequence: SequenceId(0),
                    output: true,
                });
            }
            runner.decode(&batch).unwrap();
            for index in 0..rows.len() {
                let Some(&next) = window.get(number * ROWS + index + 1) else {
                    break;
                };
                let row = probabilities(runner.logits(index).unwrap());
                reading.surprises.push(-row[next as usize].max(1e-30).ln());
                let first = best(&row);
                let second = row.iter().enumerate().filter(|&(token, _)| token != first);
                let second = second.fold(0.0, |all: f64, (_, &one)| all.max(one));
                reading.choices.push((first, (row[first] / second).ln()));
            }
        }
    }
    reading
}

/// Compares the engines on one model and says what came out.
fn compare(path: &Path) -> String {
    let (model, tokenizer) = shimmy_native::open(path, &Options::default()).unwrap();
    let mut tokens = tokenizer.tokenize(TEXT, Specials::Literal).unwrap();
    tokens.truncate(WINDOW * WINDOWS);
    let beginning = tokenizer.beginning_of_sequence();
    let [ours, in_bytes] = [CacheType::F16, CacheType::Q8_0].map(|cache_type| {
        let options = shimmy_native::RunnerOptions {
            cache_type,
            ..shimmy_native::RunnerOptions::default()
        };
        let mut native = NativeRunner::new(Arc::clone(&model), options).unwrap();
        read(&mut native, &tokens, beginning)
    });
    let mut options = shimmy_llama::RunnerOptions::default();
    // Room for as many outputs as a batch has rows.
    options.context.sequences = ROWS as u32;
    let mut llama = LlamaRunner::new(reference_model(path), options).unwrap();
    let theirs = read(&mut llama, &tokens, beginning);

    let count = ours.surprises.len();
    let pairs = || ours.choices.iter().zip(&theirs.choices);
    let same = pairs().filter(|(ours, theirs)| ours.0 == theirs.0).count();
    // Of the places where the choices differ, how sure llama.cpp was of its own.
    let surest = pairs()
        .filter(|(ours, theirs)| ours.0 != theirs.0)
        .fold(0.0, |all: f64, (_, theirs)| all.max(theirs.1));
    let ratio = ours.perplexity() / theirs.perplexity();
    let of_bytes = in_bytes.perplexity() / ours.perplexity();
    let name = path.display();
    let figures = format!(
        "{name}: {count} tokens, perplexity {:.4} against {:.4} (× {ratio:.5}), same choice {:.4}, \
         where not, llama.cpp's was at most {surest:.3} nats ahead; with a cache of bytes × \
         {of_bytes:.5}",
        ours.perplexity(),
        theirs.perplexity(),
        same as f64 / count as f64,
    );
    assert!((ratio - 1.0).abs() < 0.005, "{name}: perplexity × {ratio}");
    assert!(
        (of_bytes - 1.0).abs() < 0.005,
        "{name}: with a cache of bytes, perplexity × {of_bytes}"
    );
    assert!(surest < MARGIN, "{name}: other choices by {surest} nats");
    figures
}

/// How far ahead the likeliest token may be and yet not be chosen by the other engine, in nats.
const MARGIN: f64 = 1.0;

#[test]
fn perplexities_are_the_same() {
    let (_dir, paths) = models();
    // The tiny model's text of random weights says nothing.
    for path in &paths[1..] {
        println!("{}", compare(path));
    }
}
