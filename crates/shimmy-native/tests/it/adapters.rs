//! LoRA adapters, at the start and later.

use shimmy_engine::{AdapterId, Runner, RunnerError};
use shimmy_native::{NativeRunner, RunnerOptions};
use shimmy_testkit::tiny;

use crate::support::{A, Files, bytes, options, prefill};

fn logits(runner: &mut NativeRunner, adapters: &[(AdapterId, f32)]) -> Vec<f32> {
    runner.set_adapters(adapters).unwrap();
    runner.truncate(A, 0);
    prefill(runner, A, 0, &bytes("hello you"), 8)
}

#[test]
fn an_adapter_changes_what_is_said_by_its_scale_and_only_while_it_is_chosen() {
    let files = Files::new();
    let path = files.path("adapter.gguf");
    tiny::Adapter::new().write(&path).unwrap();
    let options = RunnerOptions {
        adapters: vec![path.clone()],
        ..options()
    };
    let mut runner = NativeRunner::new(files.open().0, options).unwrap();
    let plain = logits(&mut runner, &[]);
    let first = AdapterId(0);
    let full = logits(&mut runner, &[(first, 1.0)]);
    let half = logits(&mut runner, &[(first, 0.5)]);
    assert_ne!(full, plain);
    assert_ne!(half, full);
    assert_eq!(logits(&mut runner, &[(first, 0.0)]), plain);
    assert_eq!(logits(&mut runner, &[]), plain);

    // A second one of the same file does the other half.
    let second = runner.load_adapter(&path).unwrap();
    let both = logits(&mut runner, &[(first, 0.5), (second, 0.5)]);
    for (both, full) in both.iter().zip(&full) {
        assert!((both - full).abs() < 1e-3, "{both} {full}");
    }
    assert!(runner.unload_adapter(first));
    assert!(!runner.unload_adapter(first));
    assert_eq!(
        runner.set_adapters(&[(first, 1.0)]),
        Err(RunnerError::InvalidBatch)
    );
    assert_eq!(logits(&mut runner, &[(second, 1.0)]), full);
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let files = Files::new();
    let path = files.path("other.gguf");
    tiny::Adapter::for_other_model().write(&path).unwrap();
    let mut runner = files.runner();
    let reasons: Vec<String> = ["other.gguf", "tiny.gguf", "missing.gguf"]
        .iter()
        .map(|name| runner.load_adapter(&files.path(name)).unwrap_err())
        .collect();
    for (at, reason) in reasons.iter().enumerate() {
        assert!(!reason.is_empty());
        assert!(!reasons[..at].contains(reason), "{reason}");
    }
}
