//! The address for Ollama's clients: there when it is asked for, and what happens when it is taken.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{Server, run, shimmy};

/// A free port of this machine, which nobody else has been told of.
fn free_address() -> String {
    let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
    probe.local_addr().expect("an address").to_string()
}

fn get(url: &str) -> reqwest::blocking::Response {
    let client = reqwest::blocking::Client::builder().no_proxy().build();
    let request = client.expect("a client").get(url);
    request.send().expect("an answer")
}

#[test]
fn everything_there_is_ollamas_dialect() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = free_address();
    let server = Server::start(folder.path(), &["--ollama", &address]);
    let url = |path: &str| format!("http://{address}{path}");
    assert_eq!(get(&url("/")).text().expect("text"), "Ollama is running");
    let tags: Value = get(&url("/api/tags")).json().expect("JSON");
    assert_eq!(tags["models"][0]["name"], "stub");
    let error: Value = get(&url("/nothing")).json().expect("JSON");
    assert_eq!(error["error"], "no such route: GET /nothing");
    // The server's own address goes on as before.
    assert_eq!(server.generate(&json!({ "prompt": "hello" })), "hello");
    let (status, shown) = server.post("/api/show", &json!({ "model": "stub" }));
    assert_eq!(status, 200, "{shown}");
    assert_eq!(shown["model_info"]["general.architecture"], "stub");
}

#[test]
fn an_address_that_is_taken_is_an_error_with_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let args = ["serve", "--bind", "127.0.0.1:0", "--ollama", &address];
    let outcome = run(folder.path(), &args);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for part in [address.as_str(), "hint: Ollama itself may be running"] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    let open = ["serve", "--bind", "127.0.0.1:0", "--ollama", "0.0.0.0:0"];
    let outcome = run(folder.path(), &open);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("no token"), "{}", outcome.stderr);
}

#[test]
fn an_inherited_address_that_is_taken_only_warns() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = shimmy(folder.path());
    command
        .args(["serve", "--bind", "127.0.0.1:0"])
        .env("OLLAMA_HOST", &address);
    let server = Server::launch(command);
    assert_eq!(server.generate(&json!({ "prompt": "hello" })), "hello");
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    let warning = format!("warning: OLLAMA_HOST is left out: cannot listen on {address}");
    assert!(log.contains(&warning), "{log}");
}
