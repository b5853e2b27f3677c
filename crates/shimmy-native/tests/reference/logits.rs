//! Logits and what follows from them.

use std::path::Path;

use shimmy_engine::{
    AdapterId, AdapterScale, Batch, Row, Runner, SequenceId, Specials, Token, Tokenizer,
};
use shimmy_llama::LlamaRunner;
use shimmy_native::{NativeRunner, Options};
use shimmy_testkit::gguf::TensorType;
use shimmy_testkit::tiny;

use super::{STEP, TEXT, logits, models, reference_model};

/// How far two rows of logits are apart.
struct Distance {
    /// The root of the squared differences over that of the squared (centred) values.
    relative: f64,
    /// Kullback-Leibler divergence of the distributions, in nats.
    divergence: f64,
    same_choice: bool,
}

fn distance(native: &[f32], reference: &[f32]) -> Distance {
    let mean = |row: &[f32]| row.iter().map(|&x| f64::from(x)).sum::<f64>() / row.len() as f64;
    let (a, b) = (mean(native), mean(reference));
    let (mut difference, mut size) = (0.0, 0.0);
    for (x, y) in native.iter().zip(reference) {
        let (x, y) = (f64::from(*x) - a, f64::from(*y) - b);
        difference += (x - y) * (x - y);
        size += y * y;
    }
    let (p, q) = (probabilities(reference), probabilities(native));
    let divergence = p
        .iter()
        .zip(&q)
        .map(|(p, q)| p * (p.max(1e-30) / q.max(1e-30)).ln())
        .sum();
    Distance {
        relative: (difference / size).sqrt(),
        divergence,
        same_choice: best(&q) == best(&p),
    }
}

/// The place of the largest.
pub(super) fn best(row: &[f64]) -> usize {
    let places = 0..row.len();
    places.max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap()
}

pub(super) fn probabilities(row: &[f32]) -> Vec<f64> {
    let largest = row.iter().fold(f32::NEG_INFINITY, |all, &x| all.max(x));
    let weights: Vec<f64> = row.iter().map(|&x| f64::from(x - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// The mean of minus the logarithms of what was given to the tokens that came next.
fn surprise(logits: &[Vec<f32>], tokens: &[Token]) -> f64 {
    let next = tokens.iter().skip(STEP).step_by(STEP);
    let pairs: Vec<_> = logits.iter().zip(next).collect();
    let of = |&(row, &next): &(&Vec<f32>, &Token)| -probabilities(row)[next as usize].ln();
    let sum: f64 = pairs.iter().map(of).sum();
    sum / pairs.len() as f64
}

fn runners(path: &Path) -> (NativeRunner, LlamaRunner, Vec<Token>) {
    let (model, tokenizer) = shimmy_native::open(path, &Options::default()).unwrap();
    let native = NativeRunner::new(model, shimmy_native::RunnerOptions::default()).unwrap();
    let mut options = shimmy_llama::RunnerOptions::default();
    // Threads that wait for each other are slow on a machine with other work.
    options.context.threads = Some(1);
    let llama = LlamaRunner::new(reference_model(path), options).unwrap();
    let mut tokens: Vec<Token> = tokenizer.beginning_of_sequence().into_iter().collect();
    tokens.extend(
        tokenizer
            .tokenize(&TEXT.repeat(2), Specials::Literal)
            .unwrap(),
    );
    tokens.truncate(512);
    (native, llama, tokens)
}

#[test]
fn logits_are_nearly_the_same() {
    let (_dir, paths) = models();
    for path in paths {
        let (mut native, mut llama, tokens) = runners(&path);
        let ours = logits(&mut native, &tokens, &[]);
        let theirs = logits(&mut llama, &tokens, &[]);
        let distances: Vec<_> = ours
            .iter()
            .zip(&theirs)
            .map(|(ours, theirs)| distance(ours, theirs))
            .collect();
        let count = distances.len() as f64;
        let relative = distances.iter().map(|d| d.relative).sum::<f64>() / count;
        let divergence = distances.iter().map(|d| d.divergence).sum::<f64>() / count;
        let choices = distances.iter().filter(|d| d.same_choice).count() as f64 / count;
        let perplexities = [
            surprise(&ours, &tokens).exp(),
            surprise(&theirs, &tokens).exp(),
        ];
        println!(
            "{}: {count} rows, relative error {relative:.5}, divergence {divergence:.6}, same \
             choice {choices:.4}, perplexity {:.4} against {:.4}",
            path.display(),
            perplexities[0],
            perplexities[1],
        );
        // Both quantise activations to eight bits, with other scales, and keep the cache in halves.
        let name = path.display();
        assert!(relative < 0.06, "{name}: relative error {relative}");
        assert!(divergence < 0.006, "{name}: divergence {divergence}");
        assert!(choices > 0.9, "{name}: {choices}");
        let ratio = perplexities[0] / perplexities[1];
        assert!((ratio - 1.0).abs() < 0.02, "{name}: perplexity × {ratio}");
    }
}

#[test]
fn tiny_models_of_every_kind_agree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let adapter = dir.path().join("adapter.gguf");
    for weights in [TensorType::F32, TensorType::F16] {
        tiny::Adapter::new()
            .weights(weights)
            .write(&adapter)
            .unwrap();
        tiny::Model::new().weights(weights).write(&path).unwrap();
        for scale in [0.0, 1.0, 0.3] {
            let (mut native, mut llama, tokens) = runners(&path);
            native.load_adapter(&adapter).unwrap();
            llama.load_adapter(&adapter).unwrap();
            let chosen = [adapter_scale(0, scale)];
            let chosen = if scale == 0.0 { &[][..] } else { &chosen[..] };
            let ours = logits(&mut native, &tokens[..160], chosen);
            let theirs = logits(&mut llama, &tokens[..160], chosen);
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let relative = distance(ours, theirs).relative;
                assert!(relative < 0.005, "{weights:?} × {scale}: {relative}");
            }
        }
    }
}

fn adapter_scale(id: u32, scale: f32) -> AdapterScale {
    AdapterScale {
        id: AdapterId(id),
        scale,
    }
}

#[test]
fn rows_with_different_adapters_in_one_batch_agree_with_one_set_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    tiny::Model::new().write(&path).unwrap();
    let (mut native, mut llama, tokens) = runners(&path);
    for seed in [1, 2] {
        let adapter = dir.path().join(format!("{seed}.gguf"));
        tiny::Adapter::new().seed(seed).write(&adapter).unwrap();
        native.load_adapter(&adapter).unwrap();
        llama.load_adapter(&adapter).unwrap();
    }
    let (one, two) = (adapter_scale(0, 1.0), adapter_scale(1, 0.7));
    let sets = [vec![], vec![one], vec![two], vec![one, two]];
    let expected: Vec<_> = sets
        .iter()
        .map(|set| {
            llama.truncate(SequenceId(0), 0);
            logits(&mut llama, &tokens[..64], set)
        })
        .collect();
    for (number, tokens) in tokens[..64].chunks_exact(STEP).enumerate() {
        let mut batch = Batch::default();
        for (sequence, set) in (0..).map(SequenceId).zip(&sets) {
            batch.choose_adapters(set);
            for (index, &token) in tokens.iter().enumerate() {
                batch.push(Row {
                    token,
                    position: (number * STEP + index) as u32,
                    sequence,
                    output: index + 1 == STEP,
                });
            }
        }
        native.decode(&batch).unwrap();
        for (sequence, expected) in expected.iter().enumerate() {
            let ours = native.logits(sequence * STEP + STEP - 1).unwrap();
            let relative = distance(ours, &expected[number]).relative;
            assert!(relative < 0.005, "set {sequence}: {relative}");
        }
    }
}
