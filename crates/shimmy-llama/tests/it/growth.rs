//! A cache that grows by need gives the answers of one that was large from the start.

use std::path::Path;

use shimmy_engine::{AdapterId, AdapterScale, Runner, Token};
use shimmy_llama::{ContextOptions, LlamaRunner, LoadOptions, Model, RunnerOptions};
use shimmy_testkit::tiny;

use crate::support::{A, B, Files, generate, generate_with, options, prefill, prefill_with};

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

/// A runner of this model whose cache may grow to `CELLS`.
fn runner_of(path: &Path) -> LlamaRunner {
    let model = Model::load(path, &LoadOptions::default()).unwrap();
    let context = ContextOptions {
        cells: Some(CELLS),
        ..options().context
    };
    let options = RunnerOptions {
        context,
        ..options()
    };
    LlamaRunner::new(model, options).unwrap()
}

fn text(seed: u32, length: u32) -> Vec<Token> {
    (0..length).map(|n| 97 + (n * 7 + seed) % 26).collect()
}

/// Two sequences that share a prefix and together need `CELLS`, with an adapter.
fn answers(runner: &mut LlamaRunner) -> [Vec<Token>; 2] {
    let adapters = [AdapterScale {
        id: AdapterId(0),
        scale: 1.0,
    }];
    prefill_with(runner, &adapters, A, 0, &text(1, 1500));
    runner.copy(A, B, 1000);
    // Past 2048 cells, then past 4096.
    let a = prefill_with(runner, &adapters, A, 1500, &text(2, 1700));
    let b = prefill_with(runner, &adapters, B, 1000, &text(3, 1500));
    [
        generate_with(runner, &adapters, A, 3200, vec![a], 16),
        generate_with(runner, &adapters, B, 2500, vec![b], 16),
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

#[test]
fn positions_turn_by_the_factors_of_the_whole_context_from_the_start() {
    let files = Files::new();
    let path = files.path("factors.gguf");
    for architecture in [tiny::Architecture::phi3(), tiny::Architecture::llama_long()] {
        // More than the cells of a new cache, fewer than it may grow to.
        tiny::Model::of(architecture.short_context(3000))
            .context_length(8192)
            .write(&path)
            .unwrap();
        let (mut growing, mut large) = (runner_of(&path), runner_of(&path));
        large.reserve(CELLS as usize).unwrap();
        let tokens = text(5, 200);
        for runner in [&mut growing, &mut large] {
            prefill(runner, A, 0, &tokens);
        }
        let rows = [&mut growing, &mut large].map(|runner| {
            let row = (0..32).rev().find(|&row| runner.logits(row).is_some());
            runner.logits(row.unwrap()).unwrap().to_vec()
        });
        for (a, b) in rows[0].iter().zip(&rows[1]) {
            assert!((a - b).abs() < 0.05, "{a} {b}");
        }
    }
}

#[test]
fn windows_and_states_move_with_a_cache_that_grows() {
    let files = Files::new();
    let path = files.path("forgetful.gguf");
    for architecture in [
        tiny::Architecture::gemma3_in_threes(),
        tiny::Architecture::lfm2(),
        tiny::Architecture::mamba(),
    ] {
        let name = architecture.name();
        tiny::Model::of(architecture)
            .context_length(8192)
            .write(&path)
            .unwrap();
        let answers = |first: u32| {
            let mut runner = runner_of(&path);
            runner.reserve(first as usize).unwrap();
            let a = prefill(&mut runner, A, 0, &text(1, 1500));
            assert!(runner.copy(A, B, 1500));
            // Past 2048 cells in one sequence, and the other as it was.
            let beyond = prefill(&mut runner, A, 1500, &text(2, 1100));
            [
                generate(&mut runner, A, 2600, beyond, 16),
                generate(&mut runner, B, 1500, a, 16),
            ]
        };
        assert_eq!(answers(1), answers(CELLS), "{name}");
    }
}
