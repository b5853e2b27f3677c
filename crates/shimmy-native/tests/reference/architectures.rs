//! Every architecture: tiny models whose weights are floats, so that nothing but the arithmetic differs.

use shimmy_testkit::gguf::TensorType;
use shimmy_testkit::tiny::{Architecture, Model};

use super::pair::Pair;

/// The bar for weights of 32 bits; what is left comes from caches of 16 bits and the order of sums.
const TOLERANCE: f64 = 0.005;

/// Compares the engines and says what came out.
fn check(name: &str, model: &Model, cells: usize) -> String {
    let mut pair = Pair::of(model, cells);
    let (error, cosine) = (pair.compare(name), pair.cosine());
    assert!(error < TOLERANCE, "{name}: relative error {error}");
    assert!(cosine >= 0.999, "{name}: cosine {cosine}");
    format!("{name}: relative error {error:.6}, cosine {cosine:.6}")
}

/// One test for each architecture: all are tried, whatever is wrong with one.
macro_rules! agree {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let model = Model::of(Architecture::$name());
            println!("{}", check(stringify!($name), &model, 512));
        }
    )*};
}

agree!(
    wide,
    llama_with_biases,
    llama_stretched,
    llama_3,
    llama_long,
    qwen2,
    qwen3,
    gemma,
    gemma2,
    gemma2_in_threes,
    gemma3,
    gemma3_in_threes,
    phi3,
    phi4,
    granite,
);

#[test]
fn qwen3moe() {
    // Two experts that suit a token equally well may change places by a rounding, which is no error but
    // changes everything behind it. So of three models the middle one counts.
    let mut errors = [2, 3, 4].map(|seed| {
        let model = Model::of(Architecture::qwen3moe()).seed(seed);
        let mut pair = Pair::of(&model, 512);
        let (error, cosine) = (pair.compare("qwen3moe"), pair.cosine());
        println!("qwen3moe {seed}: relative error {error:.6}, cosine {cosine:.6}");
        (error, cosine)
    });
    errors.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (error, cosine) = errors[1];
    assert!(error < TOLERANCE, "relative error {error}");
    assert!(cosine >= 0.999, "cosine {cosine}");
}

#[test]
fn heads_of_every_size_and_number_agree() {
    for (heads, key_value_heads, head) in [
        (4, 4, 80),
        (4, 1, 256),
        (6, 2, 96),
        (14, 2, 64),
        (3, 3, 48),
        (5, 1, 128),
    ] {
        let architecture = Architecture::llama_of_heads(heads, key_value_heads, head);
        let name = format!("{heads} heads of {head}, {key_value_heads} of keys");
        println!("{}", check(&name, &Model::of(architecture), 512));
    }
}

#[test]
fn short_contexts_have_factors_of_their_own() {
    // The embedder of the other engine has a context of its own length.
    for architecture in [Architecture::phi3(), Architecture::llama_long()] {
        let mut pair = Pair::of(&Model::of(architecture), 256);
        let error = pair.compare("short");
        assert!(error < TOLERANCE, "relative error {error}");
    }
}

#[test]
fn halves_agree_in_every_family() {
    for architecture in [
        Architecture::gemma3(),
        Architecture::phi3(),
        Architecture::granite(),
    ] {
        let name = architecture.name();
        let model = Model::of(architecture).weights(TensorType::F16);
        println!("{}", check(name, &model, 512));
    }
}
