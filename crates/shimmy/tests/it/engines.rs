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
    let model = folder.path().join("mamba.gguf");
    let mamba = tiny::Model::of(tiny::Architecture::mamba());
    mamba.write(&model).expect("written");
    let args = ["probe", "--engine", "native", "--model-path", text(&model)];
    let outcome = run(folder.path(), &args);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("the architecture mamba is not supported"),
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

/// A server with an encoder, and what it makes of some texts.
fn vectors(encoder: &tiny::Encoder, engine: &str) -> (Server, tempfile::TempDir, Vec<Vec<f64>>) {
    let (folder, _) = tiny_folder();
    let model = folder.path().join("encoder.gguf");
    encoder.write(&model).expect("written");
    let server = Server::with_model(folder.path(), &model, &["--engine", engine]);
    let long = "a b ".repeat(60);
    let texts = json!({ "input": ["hello", "the User, 5 times", long, "hello"] });
    let (status, answer) = server.post("/v1/embeddings", &texts);
    assert_eq!(status, 200, "{answer}");
    let numbers = |entry: &Value| {
        let vector = entry["embedding"].as_array().expect("a vector");
        vector.iter().filter_map(Value::as_f64).collect()
    };
    let data = answer["data"].as_array().expect("vectors");
    let vectors = data.iter().map(numbers).collect();
    (server, folder, vectors)
}

#[test]
fn an_encoder_makes_vectors_on_the_native_engine_and_nothing_else() {
    for encoder in [tiny::Encoder::new(), tiny::Encoder::nomic()] {
        let (server, folder, vectors) = vectors(&encoder, "native");
        let model = folder.path().join("encoder.gguf");
        assert_eq!(engine_of(folder.path(), &model, "auto"), "native");
        let (_, status) = server.get("/api/models/default/status");
        assert_eq!(status["engine"]["name"], "native", "{status}");
        let (_, models) = server.get("/v1/models");
        let mut models = models["data"].as_array().expect("models").iter();
        let listed = models.find(|model| model["id"] == "encoder");
        assert_eq!(
            listed.expect("listed")["capabilities"],
            json!(["embedding"])
        );
        assert!(vectors.iter().all(|vector| vector.len() == 64));
        assert_eq!(vectors[0], vectors[3]);
        assert_ne!(vectors[0], vectors[1]);

        let talk = json!({ "prompt": "hello", "max_tokens": 4 });
        let (status, error) = server.post("/v1/completions", &talk);
        assert_eq!(status, 400, "{error}");
        let message = error["error"]["message"].as_str().expect("a message");
        assert!(message.contains("only makes embeddings"), "{message}");

        // 200 letters and two marks, of 128 tokens at most.
        let (status, error) = server.post("/v1/embeddings", &json!({ "input": "a ".repeat(200) }));
        assert_eq!(status, 400, "{error}");
        let message = error["error"]["message"].as_str().expect("a message");
        assert!(
            message.contains("202") && message.contains("128"),
            "{message}"
        );
    }
}

#[test]
fn an_encoder_with_a_head_ranks_on_the_native_engine() {
    let (folder, _) = tiny_folder();
    let model = folder.path().join("ranks.gguf");
    let encoder = tiny::Encoder::new().pooling(4);
    encoder.write(&model).expect("written");
    let server = Server::with_model(folder.path(), &model, &["--engine", "native"]);
    let ask = json!({ "query": "who", "documents": ["one", "another", "one"] });
    let (status, answer) = server.post("/v1/rerank", &ask);
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().expect("results");
    let score = |document: u64| {
        let mut results = results.iter();
        let result = results.find(|result| result["index"] == document);
        result.expect("a result")["relevance_score"].clone()
    };
    assert_eq!(score(0), score(2));
    assert_ne!(score(0), score(1));
}

#[cfg(feature = "llama")]
#[test]
fn both_engines_make_the_same_vectors() {
    for encoder in [tiny::Encoder::new(), tiny::Encoder::nomic().pooling(2)] {
        let (_, _, ours) = vectors(&encoder, "native");
        let (_, _, theirs) = vectors(&encoder, "llama");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            // Both have a length of one.
            let cosine: f64 = ours.iter().zip(theirs).map(|(a, b)| a * b).sum();
            assert!(cosine > 0.9999, "{cosine}");
        }
    }
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
