//! LoRA adapters, at the start and later.

use proptest::prelude::*;
use shimmy_engine::{AdapterId, AdapterScale, Batch, Runner, RunnerError, SequenceId, Token};
use shimmy_native::{NativeRunner, RunnerOptions};
use shimmy_testkit::gguf::TensorType;
use shimmy_testkit::tiny;

use crate::support::{A, B, Files, bytes, options, prefill_with, push};

fn adapters(chosen: &[(AdapterId, f32)]) -> Vec<AdapterScale> {
    let scales = chosen.iter().map(|&(id, scale)| AdapterScale { id, scale });
    scales.collect()
}

fn logits(runner: &mut NativeRunner, chosen: &[(AdapterId, f32)]) -> Vec<f32> {
    runner.truncate(A, 0);
    let prompt = bytes("hello you");
    prefill_with(runner, &adapters(chosen), A, 0, prompt.chunks(8))
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
    let mut gone = Batch::default();
    gone.choose_adapters(&adapters(&[(first, 1.0)]));
    push(&mut gone, B, 0, &bytes("x"));
    assert_eq!(runner.decode(&gone), Err(RunnerError::InvalidBatch));
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

#[test]
fn rows_of_one_sequence_have_the_same_adapters() {
    let files = Files::new();
    let mut runner = with_two(&files, 2);
    let mut batch = Batch::default();
    push(&mut batch, B, 0, &bytes("x"));
    batch.choose_adapters(&adapters(&[(AdapterId(0), 1.0)]));
    push(&mut batch, B, 1, &bytes("y"));
    assert_eq!(runner.decode(&batch), Err(RunnerError::InvalidBatch));
    // With another's rows in between.
    push(&mut batch, A, 0, &bytes("z"));
    assert_eq!(runner.decode(&batch), Err(RunnerError::InvalidBatch));
}

/// A runner with two adapters and so many threads.
fn with_two(files: &Files, threads: usize) -> NativeRunner {
    let kinds = [(1, TensorType::F32), (2, TensorType::Bf16)];
    let paths = kinds.map(|(seed, kind)| {
        let path = files.path(&format!("{seed}.gguf"));
        let adapter = tiny::Adapter::new().seed(seed).weights(kind);
        adapter.write(&path).unwrap();
        path
    });
    let options = RunnerOptions {
        adapters: paths.to_vec(),
        threads: Some(threads),
        ..options()
    };
    NativeRunner::new(files.open().0, options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_with_other_adapters_beside_it_change_nothing_for_a_request(
        requests in prop::collection::vec(
            (prop::collection::vec(0..256_u32, 1..20), 0..5_usize, 1..9_usize),
            1..5,
        ),
        threads in 1..4_usize,
    ) {
        let (first, second) = (AdapterId(0), AdapterId(1));
        let sets = [
            vec![],
            vec![(first, 1.0)],
            vec![(second, 0.5)],
            vec![(first, 1.0), (second, -1.0)],
            vec![(second, 1.0), (first, 1.0)],
        ];
        let files = Files::new();
        let mut alone = with_two(&files, 1);
        let expected: Vec<Vec<f32>> = requests
            .iter()
            .map(|(prompt, set, _)| {
                alone.truncate(A, 0);
                prefill_with(&mut alone, &adapters(&sets[*set]), A, 0, prompt.chunks(1))
            })
            .collect();

        // Everyone has some rows in every step, until its prompt is through.
        let mut together = with_two(&files, threads);
        let mut computed = vec![0; requests.len()];
        let done = |computed: &[usize]| {
            computed.iter().zip(&requests).all(|(&computed, (prompt, ..))| computed == prompt.len())
        };
        while !done(&computed) {
            let mut batch = Batch::default();
            let mut rows = Vec::new();
            for (number, (prompt, set, most)) in requests.iter().enumerate() {
                let first = computed[number];
                let next: &[Token] = &prompt[first..(first + *most).min(prompt.len())];
                batch.choose_adapters(&adapters(&sets[*set]));
                let row = push(&mut batch, SequenceId(number as u32), first, next);
                computed[number] += next.len();
                rows.push((!next.is_empty() && computed[number] == prompt.len()).then_some(row));
            }
            together.decode(&batch).unwrap();
            for (row, expected) in rows.iter().zip(&expected) {
                if let Some(row) = row {
                    prop_assert_eq!(together.logits(*row).unwrap(), &expected[..]);
                }
            }
        }
    }
}
