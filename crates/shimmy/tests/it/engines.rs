//! Which engine runs a model, and that the one in Rust does what the other does.

use serde_json::{Value, json};
use shimmy_testkit::tiny;

use crate::support::{Server, run, text, tiny_folder};

fn engine_of(folder: &std::path::Path, model: &std::path::Path, asked: &str) -> String {
    let args = [
        "probe",
        "--json",
        "--engine",
        asked,
        // A build for GPUs on a machine that has one takes llama.cpp by itself.
        "--gpu-layers",
        "0",
        "--model-path",
        text(model),
    ];
    let outcome = run(folder, &args);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    report["engine"].as_str().expect("a name").to_owned()
}

#[test]
fn by_itself_the_native_engine_runs_what_it_knows() {
    let (folder, model) = tiny_folder();
    assert_eq!(engine_of(folder.path(), &model, "auto"), "native");
    assert_eq!(engine_of(folder.path(), &model, "native"), "native");
}

#[test]
fn what_the_native_engine_does_not_know_is_named() {
    let (folder, _) = tiny_folder();
    let model = folder.path().join("encoder.gguf");
    tiny::Encoder::new().write(&model).expect("written");
    let args = ["probe", "--engine", "native", "--model-path", text(&model)];
    let outcome = run(folder.path(), &args);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("the architecture bert is not supported"),
        "{}",
        outcome.stderr
    );
    let gpu = ["--engine", "native", "--gpu-layers", "3"];
    let args = [&args[..1], &args[3..], &gpu].concat();
    assert_eq!(run(folder.path(), &args).code, Some(2));
}

#[cfg(not(any(
    feature = "cuda",
    feature = "metal",
    feature = "vulkan",
    feature = "rocm"
)))]
#[test]
fn layers_for_a_gpu_that_is_not_there_are_said_to_be_ignored() {
    let (folder, model) = tiny_folder();
    let args = ["probe", "--gpu-layers", "3", "--model-path", text(&model)];
    let outcome = run(folder.path(), &args);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome.stderr.contains("--gpu-layers is ignored"),
        "{outcome:?}"
    );
    let args = ["probe", "--gpu-layers", "0", "--model-path", text(&model)];
    let outcome = run(folder.path(), &args);
    assert!(!outcome.stderr.contains("--gpu-layers"), "{outcome:?}");
}

#[cfg(not(feature = "llama"))]
#[test]
fn an_engine_that_is_not_there_is_refused_with_what_builds_it() {
    let (folder, model) = tiny_folder();
    let args = ["probe", "--engine", "llama", "--model-path", text(&model)];
    let outcome = run(folder.path(), &args);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(
        outcome.stderr.contains("--features llama"),
        "{}",
        outcome.stderr
    );
}

#[cfg(feature = "llama")]
#[test]
fn both_engines_say_the_same() {
    let (folder, model) = tiny_folder();
    assert_eq!(engine_of(folder.path(), &model, "llama"), "llama.cpp");
    let answer = |engine| {
        let model = ["--engine", engine, "--model-path", text(&model)];
        let ask = ["generate", "-t", "0", "-n", "8", "--prompt", "hello you"];
        run(folder.path(), &[&ask[..], &model].concat()).stdout
    };
    assert!(!answer("llama").is_empty());
    assert_eq!(answer("native"), answer("llama"));
}

#[test]
fn a_server_says_which_engine_runs_and_starts_from_what_it_knows() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &["--engine", "native"]);
    let prompt = "the hello user ".repeat(20);
    let ask = |end: &str| {
        let body = json!({
            "prompt": format!("{prompt}{end}"), "max_tokens": 4, "temperature": 0,
        });
        let (status, answer) = server.post("/v1/completions", &body);
        assert_eq!(status, 200, "{answer}");
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64()
    };
    ask("one");
    let cached = ask("two");
    assert!(cached > Some(40), "{cached:?}");
    let (_, status) = server.get("/api/models/default/status");
    assert_eq!(status["engine"]["name"], "native", "{status}");
    let (_, facts) = server.get("/diag");
    let facts = facts.to_string();
    assert!(
        facts.contains(r#""running_on":{"tiny":"native"}"#),
        "{facts}"
    );

    let texts = json!({ "input": ["hello", "the user"] });
    let (status, vectors) = server.post("/v1/embeddings", &texts);
    assert_eq!(status, 200, "{vectors}");
    assert_eq!(vectors["data"].as_array().map(Vec::len), Some(2));
}

/// What `probe` says of a model with heads of 64 values and a cache of bytes on an engine.
fn probe_with_bytes(folder: &std::path::Path, engine: &str) -> Value {
    let model = folder.join("wide.gguf");
    let wide = tiny::Model::of(tiny::Architecture::wide());
    wide.write(&model).expect("written");
    let how = ["--engine", engine, "--kv-cache-type", "q8_0"];
    let args = [&["probe", "--json", "--model-path", text(&model)][..], &how];
    let outcome = run(folder, &args.concat());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

#[test]
fn the_cache_is_of_the_type_that_was_asked_for() {
    let (folder, _) = tiny_folder();
    let report = probe_with_bytes(folder.path(), "native");
    assert_eq!(report["kv_cache_type"], "q8_0", "{report}");
    let model = folder.path().join("wide.gguf");

    let [halves, bytes] = ["f16", "q8_0"].map(|kind| {
        let more = ["--cache-size", "0", "--kv-cache-type", kind];
        let more = [&["--engine", "native"], &more[..]].concat();
        let server = Server::with_model(folder.path(), &model, &more);
        let ask = json!({ "prompt": "hello", "max_tokens": 4 });
        assert_eq!(server.post("/v1/completions", &ask).0, 200);
        assert_eq!(server.get("/diag").1["kv_cache_type"], kind);
        let (_, status) = server.get("/api/models/default/status");
        status["residence"]["memory_bytes"].as_u64().expect("bytes")
    });
    assert!(bytes < halves, "{bytes} {halves}");
}

#[cfg(feature = "llama")]
#[test]
fn llama_keeps_bytes_where_it_can_and_says_where_not() {
    let (folder, model) = tiny_folder();
    let report = probe_with_bytes(folder.path(), "llama");
    assert_eq!(report["kv_cache_type"], "q8_0", "{report}");
    // Heads of 16 values are no whole blocks of 32.
    let how = ["--engine", "llama", "--kv-cache-type", "q8_0"];
    let args = [&["probe", "--model-path", text(&model)][..], &how].concat();
    let outcome = run(folder.path(), &args);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    let said = outcome.stderr;
    assert!(said.contains("--kv-cache-type f16"), "{said}");
}
