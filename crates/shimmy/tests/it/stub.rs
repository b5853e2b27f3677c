//! A build without a model and without C++ still speaks every dialect.

use serde_json::json;

use crate::support::{Server, run, run_with_input, text, tiny_folder};

#[test]
fn the_stub_answers_on_the_command_line_and_over_http() {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = run(folder.path(), &["generate", "--prompt", "echo ü 😀"]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (Some(0), "echo ü 😀")
    );
    for args in [
        &["generate", "-"][..],
        &["generate", "stub", "-p", "-"],
        &["generate"],
    ] {
        assert_eq!(
            run_with_input(folder.path(), args, "piped").stdout,
            "piped",
            "{args:?}"
        );
    }
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.generate(&json!({ "prompt": "hello" })), "hello");
    assert_eq!(server.get("/v1/models").1["data"][0]["id"], "stub");
    let (_, mut events) = server.stream(&json!({ "prompt": "a b", "stream_format": "json" }));
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
}

#[test]
fn a_load_shows_in_the_metrics() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    server.generate(&json!({ "prompt": "hello" }));
    server.generate(&json!({ "prompt": "hello" }));
    let client = reqwest::blocking::Client::builder().no_proxy().build();
    let request = client.expect("a client").get(server.url("/metrics"));
    let metrics = request.send().expect("an answer").text().expect("text");
    for line in [
        "shimmy_model_loads_total 1",
        "shimmy_model_load_failures_total 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
}

#[test]
fn a_real_model_is_refused_with_what_to_build() {
    let (folder, model) = tiny_folder();
    let args = ["generate", "--prompt", "x", "--model-path", text(&model)];
    let outcome = run(folder.path(), &args);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("--features llama"),
        "{}",
        outcome.stderr
    );
}
