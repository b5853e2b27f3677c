//! Models that load, and those that do not.

use std::path::Path;
use std::sync::Arc;

use shimmy_engine::Runner;
use shimmy_llama::{
    ContextOptions, LlamaError, LlamaRunner, LlamaTokenizer, LoadOptions, Model, Placement, Pool,
    RunnerOptions, VocabularyKind, devices, gpu_offload_supported,
};
use shimmy_testkit::{broken, tiny};

use crate::support::{A, Files, answer, options};

#[test]
fn a_models_facts_are_those_of_its_file() {
    let files = Files::new();
    let model = files.model();
    assert_eq!(model.path(), files.path("tiny.gguf"));
    assert_eq!(model.context_length(), 2048);
    assert_eq!(model.vocabulary(), tiny::VOCABULARY_SIZE as usize);
    assert_eq!(model.vocabulary_kind(), VocabularyKind::BytePair);
    assert_eq!(model.architecture().as_deref(), Some("llama"));
    assert_eq!(
        model.metadata("llama.context_length").as_deref(),
        Some("2048")
    );
    assert_eq!(model.metadata("no.such.key"), None);
    assert_eq!(model.metadata("no\0key"), None);
    // Longer than the first buffer.
    assert!(model.chat_template().unwrap().len() > 128);
    assert_eq!(
        model.chat_template(),
        model.metadata("tokenizer.chat_template")
    );
    assert!(model.description().starts_with("llama"));
    assert!(model.parameters() > 1000 && model.bytes() > 1000 && model.layers() > 0);
    assert!(model.has_decoder() && !model.has_encoder());
    assert!(!model.is_recurrent() && !model.is_hybrid() && !model.is_diffusion());
    assert_eq!(model.sliding_window(), None);
    if !gpu_offload_supported() {
        assert_eq!(model.placement(), Placement::Cpu);
    }
}

#[test]
fn the_ways_of_loading_give_the_same_model() {
    let files = Files::new();
    let expected = answer(&mut files.runner(), A, "once upon a time");
    let ways = [
        LoadOptions {
            mmap: false,
            ..LoadOptions::default()
        },
        LoadOptions {
            repack: false,
            ..LoadOptions::default()
        },
        LoadOptions {
            gpu_layers: Some(0),
            ..LoadOptions::default()
        },
    ];
    for way in ways {
        let model = Model::load(&files.path("tiny.gguf"), &way).unwrap();
        let mut runner = LlamaRunner::new(model, options()).unwrap();
        assert_eq!(
            answer(&mut runner, A, "once upon a time"),
            expected,
            "{way:?}"
        );
    }
}

#[test]
fn shards_load_by_the_first_ones_path() {
    let files = Files::new();
    let expected = answer(&mut files.runner(), A, "once upon a time");
    let shards = tiny::Model::new()
        .write_shards(files.folder(), "split", 3)
        .unwrap();
    let model = Model::load(&shards[0], &LoadOptions::default()).unwrap();
    let mut runner = LlamaRunner::new(model, options()).unwrap();
    assert_eq!(answer(&mut runner, A, "once upon a time"), expected);
}

fn reason(path: &Path) -> String {
    match Model::load(path, &LoadOptions::default()) {
        Err(LlamaError::Load {
            path: named,
            reason,
        }) => {
            assert_eq!(named, path);
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_cannot_be_loaded_is_an_error_with_llamas_reason() {
    let files = Files::new();
    let whole = tiny::Model::new().to_bytes();
    let cases: [(&str, &[u8], &str); 3] = [
        ("zip.gguf", &broken::not_gguf(), "invalid magic"),
        (
            "cut.gguf",
            &whole[..whole.len() - 1000],
            "not within the file bounds",
        ),
        ("short.gguf", &whole[..100], "failed to load model"),
    ];
    for (name, bytes, expected) in cases {
        std::fs::write(files.path(name), bytes).unwrap();
        let reason = reason(&files.path(name));
        assert!(reason.contains(expected), "{name}: {reason}");
    }
    let missing = reason(&files.path("missing.gguf"));
    assert!(missing.contains("No such file"), "{missing}");
}

#[test]
fn a_missing_shard_is_named() {
    let files = Files::new();
    let shards = tiny::Model::new()
        .write_shards(files.folder(), "split", 3)
        .unwrap();
    std::fs::remove_file(&shards[1]).unwrap();
    let reason = reason(&shards[0]);
    assert!(reason.contains("split-00002-of-00003.gguf"), "{reason}");
}

#[test]
fn a_path_with_nul_is_an_error() {
    let outcome = Model::load(Path::new("model\0.gguf"), &LoadOptions::default());
    assert!(
        matches!(outcome, Err(LlamaError::PathWithNul { .. })),
        "{outcome:?}"
    );
}

#[test]
fn progress_is_reported_and_can_cancel() {
    let files = Files::new();
    let load = |progress: &mut dyn FnMut(f32) -> bool| {
        Model::load_with_progress(&files.path("tiny.gguf"), &LoadOptions::default(), progress)
    };
    let mut last = 0.0;
    load(&mut |part| {
        assert!(part >= last);
        last = part;
        true
    })
    .unwrap();
    assert!((last - 1.0).abs() < 1e-6);
    let cancelled = load(&mut |_| false);
    assert!(
        matches!(cancelled, Err(LlamaError::LoadCancelled { .. })),
        "{cancelled:?}"
    );
}

#[test]
fn a_panic_in_the_progress_callback_crosses_cpp_unharmed() {
    let files = Files::new();
    let outcome = std::panic::catch_unwind(|| {
        Model::load_with_progress(
            &files.path("tiny.gguf"),
            &LoadOptions::default(),
            &mut |_| panic!("in a callback"),
        )
    });
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"in a callback"));
    // The process and the library are still good.
    files.model();
}

#[test]
fn impossible_options_are_errors() {
    let files = Files::new();
    let model = files.model();
    let base = ContextOptions::default();
    let impossible = [
        ContextOptions {
            cells: Some(0),
            ..base.clone()
        },
        ContextOptions {
            cells: Some(u32::MAX),
            ..base.clone()
        },
        ContextOptions {
            sequences: 0,
            ..base.clone()
        },
        ContextOptions {
            sequences: 257,
            ..base.clone()
        },
        ContextOptions {
            batch: 0,
            ..base.clone()
        },
        ContextOptions {
            batch: 2,
            sequences: 4,
            embeddings: Some(Pool::Model),
            ..base
        },
    ];
    for context in impossible {
        let options = RunnerOptions {
            context,
            ..RunnerOptions::default()
        };
        let outcome = LlamaRunner::new(Arc::clone(&model), options.clone());
        assert!(
            matches!(outcome, Err(LlamaError::Options(_))),
            "{options:?}: {outcome:?}"
        );
    }
}

#[test]
fn the_order_of_dropping_does_not_matter() {
    let files = Files::new();
    let model = files.model();
    let tokenizer = LlamaTokenizer::new(Arc::clone(&model)).unwrap();
    let mut runner = LlamaRunner::new(Arc::clone(&model), options()).unwrap();
    drop(model);
    assert_eq!(answer(&mut runner, A, "still here").len(), 12);
    drop(runner);
    assert_eq!(shimmy_engine::Tokenizer::vocabulary(&tokenizer), 275);
}

#[test]
fn a_model_is_shared_between_threads() {
    let files = Files::new();
    let model = files.model();
    let expected = answer(&mut files.runner(), A, "together");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let model = Arc::clone(&model);
            let expected = &expected;
            scope.spawn(move || {
                let mut runner = LlamaRunner::new(model, options()).unwrap();
                assert_eq!(answer(&mut runner, A, "together"), *expected);
            });
        }
    });
}

#[test]
fn the_cpu_is_a_device() {
    let devices = devices();
    assert!(
        devices
            .iter()
            .any(|device| device.name == "CPU" && device.memory_total > 0)
    );
}

/// Runs the next test in a process of its own, where no other test's memory is counted.
#[test]
#[cfg(target_os = "linux")]
fn loading_and_unloading_keeps_memory_bounded() {
    let outcome = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "loading::fifty_cycles",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(
        outcome.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
#[ignore = "run by the test above"]
#[cfg(target_os = "linux")]
fn fifty_cycles() {
    let files = Files::new();
    let cycle = || {
        let mut runner = files.runner();
        assert_eq!(runner.limits().cells, 256);
        answer(&mut runner, A, "again");
    };
    // The first rounds fill the allocator's caches.
    for _ in 0..10 {
        cycle();
    }
    let before = resident_kib();
    for _ in 0..50 {
        cycle();
    }
    let grown = resident_kib().saturating_sub(before);
    println!("50 cycles left {grown} KiB");
    assert!(grown < 2048, "50 cycles left {grown} KiB");
}

#[cfg(target_os = "linux")]
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
