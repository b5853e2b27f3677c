//! Several models and one memory: who stays, who goes, who waits, and that what goes leaves nothing
//! behind.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shimmy_testkit::tiny;
use tempfile::TempDir;

use crate::support::{Server, run, shimmy, text};

/// Far longer than anything here takes; only a hang meets it.
const HANG: Duration = Duration::from_secs(60);

/// A folder with the models `one`, `two` and `three`.
fn three_models() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (seed, name) in [(1, "one"), (2, "two"), (3, "three")] {
        tiny::Model::new()
            .seed(seed)
            .write(&folder.path().join(format!("{name}.gguf")))
            .expect("written");
    }
    folder
}

fn start(folder: &Path, args: &[&str]) -> Server {
    // The budget is of the main memory, where no model is that lies on a GPU.
    let settings = ["--gpu-layers", "0", "--model-dirs", text(folder)];
    let all = [&settings, args].concat();
    Server::start(folder, &all)
}

fn ask(model: &str) -> Value {
    json!({ "model": model, "prompt": "hi", "max_tokens": 3, "temperature": 0 })
}

/// The names of the models in memory.
fn loaded(server: &Server) -> Vec<String> {
    let (_, answer) = server.get("/api/models");
    let models = answer["models"].as_array().expect("a list").iter();
    models
        .filter(|model| model["loaded"] == true)
        .map(|model| model["name"].as_str().expect("a name").to_owned())
        .collect()
}

/// Asks until it is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < HANG, "never: {what}");
        std::thread::yield_now();
    }
}

/// A stream that has begun.
fn stream(server: &Server, model: &str, tokens: u32) -> BufReader<reqwest::blocking::Response> {
    let body = json!({ "model": model, "prompt": "hi", "max_tokens": tokens, "stream": true });
    let mut reader = BufReader::new(server.open("/api/generate", &body));
    let mut first = String::new();
    reader.read_line(&mut first).expect("a first event");
    reader
}

/// A stream that has begun and is not over before it is read, for no socket has room for all of it.
fn large_stream(server: &Server, model: &str) -> BufReader<reqwest::blocking::Response> {
    let body = json!({
        "model": model, "messages": [{ "role": "user", "content": "hi" }], "stream": true,
        "n": 8, "max_tokens": 1000, "logprobs": true, "top_logprobs": 20,
    });
    let mut reader = BufReader::new(server.open("/v1/chat/completions", &body));
    let mut first = String::new();
    reader.read_line(&mut first).expect("a first event");
    reader
}

#[test]
fn the_model_that_was_used_longest_ago_makes_room_within_the_budget() {
    let folder = three_models();
    let server = start(folder.path(), &[]);
    server.generate(&ask("one"));
    let (_, status) = server.get("/api/models/one/status");
    assert_eq!(status["state"], "loaded");
    let bytes = status["residence"]["memory_bytes"].as_u64();
    let bytes = bytes.expect("a number");
    let size = status["size_bytes"].as_u64().expect("a size");
    assert!(bytes > size / 2, "{status}");
    assert_eq!(status["residence"]["users"], 0);
    assert!(status["residence"]["expires_at"].is_string());

    let two_fit = (bytes * 5 / 2).to_string();
    let server = start(folder.path(), &["--memory-budget", &two_fit]);
    for model in ["one", "two", "one", "three"] {
        server.generate(&ask(model));
    }
    assert_eq!(loaded(&server), ["one", "three"]);

    let none_fits = (bytes / 2).to_string();
    let server = start(folder.path(), &["--memory-budget", &none_fits]);
    let (status, answer) = server.post("/api/generate", &ask("one"));
    assert_eq!(status, 502, "{answer}");
    let message = answer.to_string();
    for part in [&bytes.to_string(), &none_fits, "--ctx", "weights", "cache"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    let (_, status) = server.get("/api/models/one/status");
    let failure = status["failure"].as_str().expect("a reason");
    assert!(failure.contains(&none_fits), "{status}");
}

#[test]
fn a_request_for_another_model_waits_for_those_at_work_or_comes_again() {
    let folder = three_models();
    let one_at_a_time = ["--max-models", "1"];
    let server = start(
        folder.path(),
        &[&one_at_a_time[..], &["--memory-wait", "0"]].concat(),
    );
    let mut running = stream(&server, "one", 1500);
    let response = server.open("/api/generate", &ask("two"));
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let mut rest = String::new();
    running.read_to_string(&mut rest).expect("the rest");
    assert!(rest.ends_with("data: [DONE]\n\n"), "the bystander was cut");
    drop(running);
    until("the first model's place is free", || {
        server.post("/api/generate", &ask("two")).0 == 200
    });
    assert_eq!(loaded(&server), ["two"]);

    let server = start(folder.path(), &one_at_a_time);
    let mut running = stream(&server, "one", 200);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.generate(&ask("two")));
        let mut rest = String::new();
        running.read_to_string(&mut rest).expect("the rest");
        assert!(rest.ends_with("data: [DONE]\n\n"), "the bystander was cut");
        drop(running);
        assert!(!waiting.join().expect("an answer").is_empty());
    });
    assert_eq!(loaded(&server), ["two"]);
}

#[test]
fn models_stay_as_long_as_they_are_told_to() {
    let folder = three_models();
    let base = folder.path().join("one.gguf");
    let args = ["--keep-alive", "0", "--pin", "two"];
    let server = Server::with_model(folder.path(), &base, &args);
    until("the base model and the pinned one are there", || {
        loaded(&server) == ["one", "two"]
    });
    server.generate(&ask("one"));
    server.generate(&ask("two"));
    let mut running = large_stream(&server, "three");
    assert_eq!(loaded(&server), ["one", "three", "two"]);
    let mut rest = String::new();
    running.read_to_string(&mut rest).expect("the rest");
    assert!(rest.ends_with("data: [DONE]\n\n"), "it was cut");
    drop(running);
    until("the third is gone", || loaded(&server) == ["one", "two"]);
    let residence = |model: &str| {
        let (_, status) = server.get(&format!("/api/models/{model}/status"));
        status["residence"].clone()
    };
    assert_eq!(residence("one")["expires_at"], Value::Null);
    assert_eq!(residence("one")["pinned"], false);
    assert_eq!(residence("two")["pinned"], true);
    assert_eq!(residence("three"), Value::Null);
}

#[test]
fn settings_of_memory_come_from_the_environment_and_are_checked() {
    let folder = three_models();
    let variables = [
        ("SHIMMY_MODEL_PATHS", text(folder.path())),
        ("SHIMMY_MAX_MODELS", "1"),
        ("SHIMMY_MEMORY_BUDGET", "none"),
        ("SHIMMY_MEMORY_WAIT", "0"),
        ("SHIMMY_KEEP_ALIVE", "forever"),
        ("SHIMMY_PIN", "two"),
    ];
    let mut command = shimmy(folder.path());
    command
        .args(["serve", "--bind", "127.0.0.1:0"])
        .envs(variables);
    let server = Server::launch(command);
    until("the pinned one is there", || loaded(&server) == ["two"]);
    let (status, error) = server.post("/api/generate", &ask("one"));
    assert_eq!(
        status, 502,
        "there is no place beside a pinned one: {error}"
    );
    let (_, unloaded) = server.post("/api/models/two/unload", &json!({}));
    assert_eq!(unloaded["unloaded"], true);
    server.generate(&ask("one"));
    let (_, status) = server.get("/api/models/one/status");
    assert_eq!(status["residence"]["expires_at"], Value::Null);

    for wrong in [
        ["--memory-budget", "0"],
        ["--memory-budget", "lots"],
        ["--max-models", "0"],
        ["--keep-alive", "soon"],
        ["--memory-wait", "soon"],
    ] {
        let outcome = run(folder.path(), &["serve", wrong[0], wrong[1]]);
        assert_eq!(outcome.code, Some(2), "{wrong:?}");
        assert!(outcome.stderr.contains(wrong[0]), "{}", outcome.stderr);
    }
}

/// The memory that a server's process has, in bytes.
#[cfg(target_os = "linux")]
fn resident_bytes(server: &Server) -> u64 {
    let (_, report) = server.get("/diag");
    let bytes = report["memory"]["process_resident_bytes"].as_u64();
    bytes.expect("the system says")
}

#[cfg(target_os = "linux")]
#[test]
fn five_hundred_loads_and_unloads_leave_nothing_behind() {
    let folder = three_models();
    let server = start(folder.path(), &["--cache-dir", "none"]);
    let cycle = || {
        server.generate(&ask("one"));
        let (_, answer) = server.post("/api/models/one/unload", &json!({}));
        assert_eq!(answer["unloaded"], true);
        resident_bytes(&server)
    };
    // What is made once and kept is made in the first cycles: threads with their stacks, the
    // allocator's arenas, the client's connections, pages of the program itself.
    for _ in 0..50 {
        cycle();
    }
    let first = (50..100).map(|_| cycle()).max().expect("some");
    for _ in 100..480 {
        cycle();
    }
    let mut last: Vec<u64> = (480..500).map(|_| cycle()).collect();
    last.sort_unstable();
    let median = last[last.len() / 2];
    assert!(
        median <= first + first / 20,
        "{first} bytes after the first cycles, {median} after the last"
    );
}
