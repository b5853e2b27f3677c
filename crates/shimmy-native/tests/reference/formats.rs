//! Every format of weights, in the same model: both engines against each other, and llama.cpp against
//! what it says with the weights as floats.

use shimmy_testkit::gguf::TensorType;
use shimmy_testkit::tiny::{Architecture, Model};

use super::pair::{Pair, relative};

/// How far the engines may be apart. Where weights are no floats both quantise activations to eight bits;
/// for the formats of 256 weights llama.cpp does so with one scale for all of them.
fn tolerance(kind: TensorType) -> f64 {
    match kind {
        TensorType::F32 | TensorType::F16 => 0.005,
        // llama.cpp rounds activations to the weights' sixteen bits.
        TensorType::Bf16 => 0.01,
        TensorType::Q4_0 | TensorType::Q4_1 | TensorType::Q5_0 | TensorType::Q5_1 => 0.03,
        TensorType::Q8_0 | TensorType::Iq4Nl => 0.03,
        TensorType::Q2K | TensorType::Q3K | TensorType::Q4K | TensorType::Q5K => 0.05,
        TensorType::Q6K | TensorType::Iq4Xs => 0.05,
    }
}

/// How far llama.cpp may be from what it says with floats, if blocks are filled as they should be.
fn loss(kind: TensorType) -> f64 {
    match kind {
        TensorType::F32 | TensorType::F16 => 0.005,
        TensorType::Bf16 | TensorType::Q8_0 => 0.03,
        TensorType::Q6K => 0.15,
        TensorType::Q5_0 | TensorType::Q5_1 | TensorType::Q5K => 0.3,
        TensorType::Q4_0 | TensorType::Q4_1 | TensorType::Q4K => 0.5,
        TensorType::Iq4Nl | TensorType::Iq4Xs => 0.5,
        TensorType::Q3K => 0.9,
        TensorType::Q2K => 1.0,
    }
}

#[test]
fn every_format_agrees_and_holds_what_it_was_given() {
    println!("{}", check(Architecture::wide));
}

#[test]
fn every_format_of_experts_agrees_and_holds_what_it_was_given() {
    println!("{}", check(Architecture::qwen3moe_wide));
}

/// Compares the engines in every format and says what came out.
fn check(architecture: fn() -> Architecture) -> String {
    let model = |kind| Model::of(architecture()).weights(kind);
    let mut floats = Pair::of(&model(TensorType::F32), 512);
    let tokens = floats.tokens[..32].to_vec();
    let [_, expected] = floats.step(0, &tokens);
    let (mut report, mut wrong) = (String::new(), Vec::new());
    for kind in TensorType::ALL {
        let mut pair = Pair::of(&model(kind), 512);
        let [_, row] = pair.step(0, &tokens);
        let loss_here = relative(&row, &expected);
        let mut pair = Pair::of(&model(kind), 512);
        let (error, cosine) = (pair.compare(&format!("{kind:?}")), pair.cosine());
        report += &format!(
            "{kind:?}: relative error {error:.5}, cosine {cosine:.6}, loss {loss_here:.4}\n"
        );
        if !(error < tolerance(kind) && loss_here < loss(kind) && cosine >= 0.999) {
            wrong.push(kind);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}\n{report}");
    report
}
