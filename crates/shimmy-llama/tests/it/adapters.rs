//! LoRA adapters.

use std::sync::Arc;

use shimmy_engine::{AdapterId, AdapterScale, Batch, Runner, RunnerError, SequenceId};
use shimmy_llama::{
    AbortFlag, Adapter, Context, LlamaError, LlamaRunner, LoadOptions, Model, RunnerOptions,
};
use shimmy_testkit::tiny;

use crate::support::{self, A, B, Files, answer, bytes, options, push};

const PROMPT: &str = "tell me something";

fn write(files: &Files) {
    tiny::Adapter::new()
        .seed(7)
        .write(&files.path("one.gguf"))
        .unwrap();
    tiny::Adapter::new()
        .seed(8)
        .write(&files.path("two.gguf"))
        .unwrap();
    tiny::Adapter::for_other_model()
        .write(&files.path("foreign.gguf"))
        .unwrap();
}

fn adapters(chosen: &[(u32, f32)]) -> Vec<AdapterScale> {
    let scales = chosen.iter().map(|&(id, scale)| AdapterScale {
        id: AdapterId(id),
        scale,
    });
    scales.collect()
}

/// The answer with an empty cache and these adapters.
fn answer_with(runner: &mut LlamaRunner, chosen: &[(u32, f32)]) -> Vec<u32> {
    runner.truncate(A, 0);
    support::answer_with(runner, &adapters(chosen), A, PROMPT)
}

/// A batch of one token of each sequence, with these adapters.
fn batch(chosen: &[(SequenceId, &[(u32, f32)])]) -> Batch {
    let mut batch = Batch::default();
    for (sequence, chosen) in chosen {
        batch.choose_adapters(&adapters(chosen));
        push(&mut batch, *sequence, 0, &bytes("a"));
    }
    batch
}

#[test]
fn adapters_change_the_answer_and_leave_no_trace() {
    let files = Files::new();
    write(&files);
    let adapters = vec![files.path("one.gguf"), files.path("two.gguf")];
    let mut runner = LlamaRunner::new(
        files.model(),
        RunnerOptions {
            adapters,
            ..options()
        },
    )
    .unwrap();
    let plain = answer(&mut files.runner(), A, PROMPT);
    let mut answers = vec![plain.clone()];
    for chosen in [
        &[(0, 1.0)][..],
        &[(1, 1.0)],
        &[(0, 1.0), (1, 1.0)],
        &[(0, 0.5)],
    ] {
        let answer = answer_with(&mut runner, chosen);
        assert!(
            !answers.contains(&answer),
            "{chosen:?} says what another choice said"
        );
        assert_eq!(answer_with(&mut runner, chosen), answer);
        answers.push(answer);
    }
    assert_eq!(answer_with(&mut runner, &[]), plain);
    assert_eq!(answer_with(&mut runner, &[(0, 0.0)]), plain);
    // Twice at half strength is once at full strength.
    assert_eq!(answer_with(&mut runner, &[(0, 0.5), (0, 0.5)]), answers[1]);
}

#[test]
fn adapters_come_and_go_while_a_runner_lives() {
    let files = Files::new();
    write(&files);
    let mut runner = files.runner();
    let plain = answer(&mut runner, A, PROMPT);
    let one = runner.load_adapter(&files.path("one.gguf")).unwrap();
    let changed = answer_with(&mut runner, &[(one.0, 1.0)]);
    assert_ne!(changed, plain);

    // Unloaded while the context still applies it.
    assert!(runner.unload_adapter(one));
    assert!(!runner.unload_adapter(one));
    let gone = batch(&[(B, &[(one.0, 1.0)])]);
    assert_eq!(runner.decode(&gone), Err(RunnerError::InvalidBatch));
    assert_eq!(answer_with(&mut runner, &[]), plain);

    let again = runner.load_adapter(&files.path("one.gguf")).unwrap();
    assert_ne!(again, one);
    assert_eq!(answer_with(&mut runner, &[(again.0, 1.0)]), changed);
}

#[test]
fn a_batch_that_mixes_adapters_is_refused_and_changes_nothing() {
    let files = Files::new();
    write(&files);
    let mut runner = files.runner();
    let one = runner.load_adapter(&files.path("one.gguf")).unwrap();
    assert!(!runner.limits().mixes_adapters);
    let plain = answer(&mut runner, A, PROMPT);
    runner.truncate(A, 0);
    let mixed = batch(&[(A, &[]), (B, &[(one.0, 1.0)])]);
    assert_eq!(runner.decode(&mixed), Err(RunnerError::InvalidBatch));
    assert_eq!(answer_with(&mut runner, &[]), plain);
}

#[test]
fn a_reset_forgets_the_choice_but_not_the_adapters() {
    let files = Files::new();
    write(&files);
    let mut runner = files.runner();
    let plain = answer(&mut runner, A, PROMPT);
    let one = runner.load_adapter(&files.path("one.gguf")).unwrap();
    let changed = answer_with(&mut runner, &[(one.0, 1.0)]);
    runner.reset().unwrap();
    assert_eq!(answer(&mut runner, A, PROMPT), plain);
    assert_eq!(answer_with(&mut runner, &[(one.0, 1.0)]), changed);
}

#[test]
fn an_adapter_that_does_not_fit_is_an_error_and_harms_nothing() {
    let files = Files::new();
    write(&files);
    std::fs::write(files.path("broken.gguf"), b"not an adapter").unwrap();
    let mut runner = files.runner();
    let plain = answer(&mut runner, A, PROMPT);
    for (name, expected) in [
        ("foreign.gguf", "wrong base model"),
        ("tiny.gguf", "'adapter'"),
        ("broken.gguf", "invalid magic"),
        ("missing.gguf", "No such file"),
    ] {
        match runner.load_adapter(&files.path(name)) {
            Err(reason) => {
                assert!(reason.contains(name), "{name}: {reason}");
                assert!(reason.contains(expected), "{name}: {reason}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(answer_with(&mut runner, &[]), plain);
}

#[test]
fn a_context_takes_adapters_of_its_own_model_only() {
    let files = Files::new();
    write(&files);
    let (model, twin) = (files.model(), files.model());
    let adapter = Adapter::load(&twin, &files.path("one.gguf")).unwrap();
    let mut context =
        Context::new(Arc::clone(&model), &options().context, AbortFlag::default()).unwrap();
    let outcome = context.set_adapters(&[(adapter, 1.0)]);
    assert!(
        matches!(outcome, Err(LlamaError::AdapterOfOtherModel { .. })),
        "{outcome:?}"
    );
    let adapter = Adapter::load(&model, &files.path("one.gguf")).unwrap();
    let outcome = context.set_adapters(&[(Arc::clone(&adapter), f32::NAN)]);
    assert!(
        matches!(outcome, Err(LlamaError::AdapterScale(_))),
        "{outcome:?}"
    );
    context.set_adapters(&[(adapter, 1.0)]).unwrap();
}

#[test]
fn adapters_are_loaded_and_dropped_while_another_thread_decodes() {
    let files = Files::new();
    write(&files);
    let model = files.model();
    std::thread::scope(|scope| {
        let decoding = Arc::clone(&model);
        let files = &files;
        scope.spawn(move || {
            let mut runner = LlamaRunner::new(decoding, options()).unwrap();
            let one = runner.load_adapter(&files.path("one.gguf")).unwrap();
            for round in 0..40 {
                runner.truncate(B, 0);
                let scale = if round % 2 == 0 { 1.0 } else { 0.5 };
                let mut batch = Batch::default();
                batch.choose_adapters(&adapters(&[(one.0, scale)]));
                push(&mut batch, B, 0, &bytes(PROMPT));
                runner.decode(&batch).unwrap();
            }
        });
        for _ in 0..40 {
            Adapter::load(&model, &files.path("two.gguf")).unwrap();
        }
    });
}

#[test]
fn an_adapter_outlives_the_callers_model() {
    let files = Files::new();
    write(&files);
    let model = Model::load(&files.path("tiny.gguf"), &LoadOptions::default()).unwrap();
    let adapter = Adapter::load(&model, &files.path("one.gguf")).unwrap();
    drop(model);
    assert_eq!(adapter.path(), files.path("one.gguf"));
    assert!(adapter.model().parameters() > 0);
}
