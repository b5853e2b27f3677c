//! The other commands: what they print, and with which exit code.

use serde_json::Value;
use shimmy_testkit::{broken, tiny};

use crate::support::{run, text, tiny_folder};

#[test]
fn list_shows_models_and_neither_adapters_nor_debris() {
    let (folder, _) = tiny_folder();
    let here = folder.path();
    tiny::Model::new()
        .write_shards(here, "Split_Model", 3)
        .expect("written");
    tiny::Adapter::new()
        .write(&here.join("adapter.gguf"))
        .expect("written");
    std::fs::write(here.join("broken.gguf"), broken::not_gguf()).expect("written");
    let outcome = run(here, &["list", "--model-dirs", text(here), "--json"]);
    let listed: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let names: Vec<&str> = listed["models"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|model| model["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["split-model", "tiny"]);

    let outcome = run(here, &["ls", "--model-dirs", text(here)]);
    assert!(outcome.stdout.starts_with("NAME"), "{outcome:?}");
    let outcome = run(here, &["discover", "--model-dirs", text(here)]);
    assert!(outcome.stdout.contains("Adapters: 1"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("Problems: 1"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("broken.gguf"), "{}", outcome.stdout);
}

#[test]
fn an_empty_machine_is_told_where_to_put_models() {
    let folder = tempfile::tempdir().expect("a folder");
    for args in [&["list"][..], &["generate", "--prompt", "hi"]] {
        let outcome = run(folder.path(), args);
        assert_eq!(outcome.code, Some(1));
        assert!(
            outcome.stderr.contains("hint: put a .gguf file"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn probe_says_whether_a_model_works() {
    let (folder, model) = tiny_folder();
    let good = run(folder.path(), &["probe", "--model-path", text(&model)]);
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.stdout.contains("tiny: works"), "{}", good.stdout);
    assert!(!good.stdout.contains("warning"), "{}", good.stdout);
    let beyond = ["probe", "--ctx", "4096", "--model-path", text(&model)];
    let beyond = run(folder.path(), &beyond);
    for told in [&beyond.stdout, &beyond.stderr] {
        let said = "a context of 4096 tokens is more than the 2048";
        assert!(told.contains(said), "{beyond:?}");
    }
    let encoder = folder.path().join("encoder.gguf");
    tiny::Encoder::new().write(&encoder).expect("written");
    let makes_vectors = run(folder.path(), &["probe", "--model-path", text(&encoder)]);
    assert_eq!(makes_vectors.code, Some(0), "{makes_vectors:?}");
    let said = makes_vectors.stdout;
    assert!(said.contains("first vector, of 64 numbers"), "{said}");
    std::fs::write(&model, broken::not_gguf()).expect("written");
    let bad = run(folder.path(), &["probe", "--model-path", text(&model)]);
    assert_eq!(bad.code, Some(2), "{bad:?}");
}

#[test]
fn bench_measures_prefill_and_decode() {
    let (folder, model) = tiny_folder();
    let args = [
        "bench",
        "--prompt",
        "32",
        "--decode",
        "8",
        "--concurrency",
        "1,2",
        // A repetition must not find what the one before it has computed.
        "--repeat",
        "3",
    ];
    let args: Vec<&str> = args
        .into_iter()
        .chain(["--json", "--model-path", text(&model)])
        .collect();
    let outcome = run(folder.path(), &args);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let results = report["results"].as_array().expect("a list");
    assert_eq!(results.len(), 3);
    assert!(
        results
            .iter()
            .all(|result| result["median"].as_f64().expect("a number") > 0.0)
    );
}

#[test]
#[cfg_attr(not(feature = "llama"), ignore = "devices are what llama.cpp sees")]
fn gpu_info_names_the_devices() {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = run(folder.path(), &["gpu-info", "--json"]);
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(report["engines"][0]["name"], "llama.cpp");
    let devices = report["devices"].as_array().expect("a list");
    assert!(
        devices.iter().any(|device| device["kind"] == "cpu"),
        "{report}"
    );
}
