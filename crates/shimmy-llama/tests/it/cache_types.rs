//! Caches of other numbers than halves.

use std::sync::Arc;

use shimmy_engine::Runner;
use shimmy_llama::{
    CacheType, ContextOptions, LlamaError, LlamaRunner, LoadOptions, Model, RunnerOptions,
};
use shimmy_testkit::tiny::{self, Architecture};

use crate::support::{A, B, Files, bytes, options, prefill};

/// A model whose heads have as many values as a block of 8-bit numbers, and twice.
fn wide(files: &Files) -> Arc<Model> {
    let path = files.path("wide.gguf");
    let model = tiny::Model::of(Architecture::wide());
    model.write(&path).unwrap();
    Model::load(&path, &LoadOptions::default()).unwrap()
}

fn with(cache_type: CacheType) -> RunnerOptions {
    let context = ContextOptions {
        cells: Some(512),
        cache_keys: cache_type,
        cache_values: cache_type,
        ..options().context
    };
    RunnerOptions {
        context,
        ..options()
    }
}

#[test]
fn a_cache_of_bytes_says_nearly_the_same_and_takes_half() {
    let files = Files::new();
    let model = wide(&files);
    let text = bytes(&"the hello user ".repeat(9));
    let [halves, in_bytes] = [CacheType::F16, CacheType::Q8_0].map(|cache_type| {
        let mut runner = LlamaRunner::new(Arc::clone(&model), with(cache_type)).unwrap();
        prefill(&mut runner, A, 0, &text);
        let row = (text.len() - 1) % runner.limits().batch;
        let logits = runner.logits(row).unwrap().to_vec();
        (logits, runner.save(A).unwrap(), runner)
    });
    assert_ne!(halves.0, in_bytes.0);
    let largest = halves.0.iter().fold(0.0_f32, |all, x| all.max(x.abs()));
    for (half, byte) in halves.0.iter().zip(&in_bytes.0) {
        assert!((half - byte).abs() < 0.03 * largest, "{half} {byte}");
    }
    let [of_halves, of_bytes] =
        [CacheType::F16, CacheType::Q8_0].map(|kind| model.bytes_per_cell(kind));
    assert_eq!(of_bytes * 64, of_halves * 34);
    // A state is of one type.
    let (_, state, mut runner) = in_bytes;
    assert!(!runner.restore(B, &halves.1));
    assert!(runner.restore(B, &state));
}

#[test]
fn heads_that_are_no_whole_blocks_are_refused_with_the_reason() {
    let files = Files::new();
    let error = LlamaRunner::new(files.model(), with(CacheType::Q8_0)).unwrap_err();
    assert!(matches!(error, LlamaError::Context { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("q8_0") && text.contains("32"), "{text}");
}
