//! A cache that grows by need gives the answers of one that was large from the start.

use shimmy_engine::{AdapterId, Runner, Token};
use shimmy_llama::{ContextOptions, LlamaRunner, LoadOptions, Model, RunnerOptions};
use shimmy_testkit::tiny;

use crate::support::{A, B, Files, generate, options, prefill};

/// More than twice the cells that a cache starts with.
const CELLS: u32 = 6144;

fn runner(files: &Files) -> LlamaRunner {
    let path = files.path("long.gguf");
    tiny::Model::new()
        .context_length(8192)
        .write(&path)
        .unwrap();
    tiny::Adapter::new()
        .write(&files.path("adapter.gguf"))
        .unwrap();
    let model = Model::load(&path, &LoadOptions::default()).unwrap();
    let context = ContextOptions {
        cells: Some(CELLS),
        batch: 256,
        micro_batch: 256,
        ..options().context
    };
    let adapters = vec![files.path("adapter.gguf")];
    LlamaRunner::new(
        model,
        RunnerOptions {
            context,
            adapters,
            ..options()
        },
    )
    .unwrap()
}

fn text(seed: u32, length: u32) -> Vec<Token> {
    (0..length).map(|n| 97 + (n * 7 + seed) % 26).collect()
}

/// Two sequences that share a prefix and together need `CELLS`, with an adapter.
fn answers(runner: &mut LlamaRunner) -> [Vec<Token>; 2] {
    runner.set_adapters(&[(AdapterId(0), 1.0)]).unwrap();
    prefill(runner, A, 0, &text(1, 1500));
    runner.copy(A, B, 1000);
    // Past 2048 cells, then past 4096.
    let a = prefill(runner, A, 1500, &text(2, 1700));
    let b = prefill(runner, B, 1000, &text(3, 1500));
    [
        generate(runner, A, 3200, a, 16),
        generate(runner, B, 2500, b, 16),
    ]
}

#[test]
fn growing_by_need_or_at_once_gives_the_same_answers() {
    let files = Files::new();
    let mut large = runner(&files);
    large.reserve(CELLS as usize).unwrap();
    let expected = answers(&mut large);
    let mut growing = runner(&files);
    assert_eq!(answers(&mut growing), expected);
    assert_eq!(growing.limits().cells, CELLS as usize);
}

#[test]
fn a_reservation_in_the_middle_changes_nothing() {
    let files = Files::new();
    let mut large = runner(&files);
    large.reserve(CELLS as usize).unwrap();
    let next = prefill(&mut large, A, 0, &text(4, 1200));
    let expected = generate(&mut large, A, 1200, next, 20);

    let mut growing = runner(&files);
    let next = prefill(&mut growing, A, 0, &text(4, 1200));
    let mut said = generate(&mut growing, A, 1200, next, 10);
    growing.reserve(5000).unwrap();
    let last = said.pop().unwrap();
    said.extend(generate(&mut growing, A, 1209, last, 11));
    assert_eq!(said, expected);
}
