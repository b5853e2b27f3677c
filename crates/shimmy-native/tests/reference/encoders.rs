//! Vectors of encoders: tiny ones of both families, in every format and with every way of pooling.

use shimmy_engine::{Runner, Token};
use shimmy_llama::LlamaRunner;
use shimmy_native::{NativeRunner, Options};
use shimmy_testkit::gguf::TensorType;
use shimmy_testkit::tiny::{Encoder, encoder};

use super::reference_model;

/// Tokens of the longest text of the tiny encoders, and of their vocabulary.
const LONGEST: usize = 128;
const VOCABULARY: Token = 77;

/// How far cosines may be from 1. Where weights are no floats both engines quantise activations to
/// eight bits, with other scales.
fn tolerance(kind: TensorType) -> f64 {
    match kind {
        TensorType::F32 | TensorType::F16 => 5e-6,
        // llama.cpp rounds activations to the weights' sixteen bits.
        TensorType::Bf16 => 2e-5,
        _ => 1e-3,
    }
}

/// Texts of all lengths, some of which are together longer than a step.
fn texts() -> Vec<Vec<Token>> {
    [3, LONGEST, 17, 65, 3, 40, LONGEST]
        .iter()
        .enumerate()
        .map(|(number, &length)| text(number as u32, length))
        .collect()
}

/// A text of so many tokens, its marks included.
fn text(number: u32, length: usize) -> Vec<Token> {
    let token = |place: u32| {
        let mixed = (place * 131 + number + 1).wrapping_mul(2_654_435_761) >> 16;
        5 + mixed % (VOCABULARY - 5)
    };
    let mut tokens: Vec<Token> = (0..length as u32).map(token).collect();
    tokens[0] = encoder::CLASS;
    tokens[length - 1] = encoder::SEPARATOR;
    tokens
}

/// What both engines make of the texts.
fn vectors(model: &Encoder) -> [Vec<Vec<f32>>; 2] {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("encoder.gguf");
    model.write(&path).unwrap();
    let (native, _) = shimmy_native::open(&path, &Options::default()).unwrap();
    let options = shimmy_native::RunnerOptions {
        batch: 100,
        ..shimmy_native::RunnerOptions::default()
    };
    let mut native = NativeRunner::new(native, options).unwrap();
    let mut options = shimmy_llama::RunnerOptions::default();
    // Threads that wait for each other are slow on a machine with other work.
    options.context.threads = Some(1);
    let mut llama = LlamaRunner::new(reference_model(&path), options).unwrap();
    assert_eq!(native.embedding(), llama.embedding());
    assert_eq!(native.limits().generates, llama.limits().generates);
    let texts = texts();
    let ours = native.embed(&texts).unwrap();
    // In turn: each alone has the vector that all are compared with.
    let theirs = texts
        .chunks(1)
        .map(|text| llama.embed(text).unwrap().remove(0));
    let theirs = theirs.collect();
    [ours, theirs]
}

/// How far the vectors' cosines are from 1, in the mean.
fn distance([ours, theirs]: &[Vec<Vec<f32>>; 2]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        products.sum::<f64>()
    };
    let pairs = ours.iter().zip(theirs);
    let distances = pairs.map(|(a, b)| 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
    distances.sum::<f64>() / ours.len() as f64
}

/// Compares the engines and says what came out, which is an error if they are too far apart.
fn check(name: &str, model: &Encoder, kind: TensorType) -> Result<String, String> {
    let model = model.clone().weights(kind);
    let distance = distance(&vectors(&model));
    let report = format!("{name} in {kind:?}: cosines are {distance:.2e} from 1");
    match distance < tolerance(kind) {
        true => Ok(report),
        false => Err(report),
    }
}

#[test]
fn every_format_of_both_families_agrees() {
    let models = [("bert", Encoder::new()), ("nomic-bert", Encoder::nomic())];
    let mut wrong = Vec::new();
    for (name, model) in models {
        for kind in TensorType::ALL {
            match check(name, &model.clone().wide(), kind) {
                Ok(report) => println!("{report}"),
                Err(report) => wrong.push(report),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_way_of_pooling_agrees() {
    for pooling in [1, 2, 3] {
        for model in [Encoder::new(), Encoder::nomic()] {
            let model = model.pooling(pooling);
            let name = format!("pooling {pooling}");
            println!("{}", check(&name, &model, TensorType::F32).unwrap());
        }
    }
}

#[test]
fn scores_agree() {
    let [ours, theirs] = vectors(&Encoder::new().pooling(4));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let [ours, theirs] = [ours, theirs].map(|scores| {
            assert_eq!(scores.len(), 1);
            scores[0]
        });
        // llama.cpp's function is a table of halves.
        assert!((ours - theirs).abs() < 5e-3, "{ours} {theirs}");
    }
}

#[test]
fn long_texts_agree() {
    let model = Encoder::nomic().context_length(2048);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("encoder.gguf");
    model.write(&path).unwrap();
    let texts = [text(1, 1500)];
    let (native, _) = shimmy_native::open(&path, &Options::default()).unwrap();
    let options = shimmy_native::RunnerOptions::default();
    let mut native = NativeRunner::new(native, options).unwrap();
    let mut llama = LlamaRunner::new(reference_model(&path), Default::default()).unwrap();
    let both = [native.embed(&texts).unwrap(), llama.embed(&texts).unwrap()];
    let distance = distance(&both);
    assert!(distance < 1e-5, "{distance}");
}
