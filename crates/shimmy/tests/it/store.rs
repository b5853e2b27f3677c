//! Models pulled, made, named and deleted by Ollama's clients while the server runs.

mod made;
mod preset;

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Value, json};
use shimmy_testkit::hub::{COMMIT, FakeHub};
use shimmy_testkit::sha256::sha256;
use shimmy_testkit::tiny;

use crate::support::{Server, run, shimmy, text};

const REPOSITORY: &str = "Owner/Tiny-GGUF";

fn hub() -> (FakeHub, Vec<u8>) {
    let hub = FakeHub::start().expect("a hub");
    let content = tiny::Model::new().to_bytes();
    hub.add(REPOSITORY, "Tiny-Q4_K_M.gguf", content.clone());
    (hub, content)
}

/// A server that pulls from this hub, started for `base` if there is one.
fn server(folder: &Path, hub: &FakeHub, base: Option<&Path>) -> Server {
    let mut command = shimmy(folder);
    command
        .env("HF_ENDPOINT", hub.url())
        .args(["serve", "--bind", "127.0.0.1:0"]);
    if let Some(base) = base {
        command.args(["--model-path", text(base)]);
    }
    Server::launch(command)
}

/// The status and the lines of an answer.
fn lines(server: &Server, path: &str, body: &Value) -> (u16, Vec<Value>) {
    let response = server.open(path, body);
    let status = response.status().as_u16();
    let lines = BufReader::new(response).lines();
    let parse = |line: String| serde_json::from_str(&line).expect("JSON");
    (
        status,
        lines.map(|line| parse(line.expect("text"))).collect(),
    )
}

/// Does what must succeed.
fn done(server: &Server, path: &str, body: &Value) -> Vec<Value> {
    let (status, lines) = lines(server, path, body);
    assert_eq!(status, 200, "{lines:?}");
    if path != "/api/copy" {
        assert_eq!(
            lines.last(),
            Some(&json!({ "status": "success" })),
            "{lines:?}"
        );
    }
    lines
}

fn delete(server: &Server, name: &str) -> (u16, String) {
    let client = reqwest::blocking::Client::builder().no_proxy().build();
    let request = client.expect("a client").delete(server.url("/api/delete"));
    let response = request.json(&json!({ "model": name })).send();
    let response = response.expect("an answer");
    (response.status().as_u16(), response.text().expect("text"))
}

fn names(server: &Server) -> Vec<String> {
    let (_, tags) = server.get("/api/tags");
    let models = tags["models"].as_array().expect("a list").iter();
    let name = |model: &Value| model["name"].as_str().expect("a name").to_owned();
    models.map(name).filter(|name| name != "stub").collect()
}

fn prompt(server: &Server, model: &str) -> String {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
    let (status, answer) = server.post("/apply-template", &body);
    assert_eq!(status, 200, "{answer}");
    answer["prompt"].as_str().expect("a text").to_owned()
}

#[test]
fn a_model_is_pulled_used_and_deleted() {
    let (hub, content) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), &hub, None);
    let pull = json!({ "model": REPOSITORY });
    let lines = done(&server, "/api/pull", &pull);
    assert_eq!(lines[0], json!({ "status": "pulling manifest" }));
    let digest = sha256(&content);
    let whole = json!({
        "status": format!("pulling {}", &digest[..12]), "digest": format!("sha256:{digest}"),
        "total": content.len(), "completed": content.len(),
    });
    assert!(lines.contains(&whole), "{lines:?}");
    let last: Vec<&str> = lines[lines.len() - 3..]
        .iter()
        .filter_map(|line| line["status"].as_str())
        .collect();
    assert_eq!(
        last,
        ["verifying sha256 digest", "writing manifest", "success"]
    );
    assert_eq!(names(&server), ["tiny-q4-k-m"]);

    let body = json!({ "model": REPOSITORY, "prompt": "hi", "stream": false,
        "options": { "num_predict": 2 } });
    let (status, answer) = server.post("/api/generate", &body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        done(&server, "/api/pull", &pull),
        [json!({ "status": "success" })]
    );

    assert_eq!(
        delete(&server, "tiny").0,
        404,
        "a part of a name deletes nothing"
    );
    // What it was pulled by is its own name.
    assert_eq!(delete(&server, REPOSITORY), (200, String::new()));
    assert_eq!(names(&server), [""; 0]);
    let link = ".cache/huggingface/hub/models--Owner--Tiny-GGUF/snapshots";
    let link = folder
        .path()
        .join(link)
        .join(COMMIT)
        .join("Tiny-Q4_K_M.gguf");
    assert!(std::fs::symlink_metadata(link).is_err());
    assert_eq!(delete(&server, REPOSITORY).0, 404);
}

#[test]
fn a_client_that_leaves_ends_its_pull_and_the_next_goes_on() {
    let (hub, content) = hub();
    // Then it ends every connection, so that the download tries again and again.
    hub.behave(|hub| hub.budget = Some(content.len() / 2));
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), &hub, None);
    let response = server.open("/api/pull", &json!({ "model": REPOSITORY }));
    hub.wait_until_sent(content.len() / 2);
    drop(response);
    hub.behave(|hub| hub.budget = None);
    // If the first one held on to the file, this one would wait for ever.
    let lines = done(
        &server,
        "/api/pull",
        &json!({ "model": REPOSITORY, "stream": true }),
    );
    let fetched: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["completed"].as_u64())
        .collect();
    assert!(fetched.is_sorted(), "{fetched:?}");
    assert_eq!(names(&server), ["tiny-q4-k-m"]);
}

#[test]
fn what_cannot_be_pulled_says_why() {
    let (hub, _) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), &hub, None);
    let refused = |name: &str, expected: u16, part: &str| {
        let (status, lines) = lines(&server, "/api/pull", &json!({ "model": name }));
        let error = lines.last().and_then(|line| line["error"].as_str());
        assert!(error.is_some_and(|error| error.contains(part)), "{lines:?}");
        // What is wrong before anything is asked has its status; the rest comes in the stream.
        assert_eq!(status, expected, "{lines:?}");
    };
    let address = format!("{}/secret/m.gguf", hub.url());
    for url in [
        &address,
        "http://169.254.169.254/latest/m.gguf",
        "https://e.com/m.gguf",
    ] {
        refused(
            url,
            400,
            "is an address: a client can only name models of the hub",
        );
    }
    refused("../../etc/passwd", 400, "cannot be pulled");
    refused("lama3.2:1b", 404, "not found");
    assert!(hub.requests().is_empty(), "nothing was asked");
    refused("Owner/None", 200, "model 'Owner/None' not found");
    refused("Owner/Tiny-GGUF:Q2_K", 200, "there are Q4_K_M");
    hub.behave(|hub| hub.corrupts = true);
    refused(REPOSITORY, 200, "it was discarded");
    assert_eq!(names(&server), [""; 0]);
    let whole = json!({ "model": REPOSITORY, "stream": false });
    assert_eq!(server.post("/api/pull", &whole).0, 500);
}

#[test]
fn the_base_model_is_called_by_the_names_that_it_is_given() {
    let (hub, content) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let base = folder.path().join("base.gguf");
    std::fs::write(&base, &content).expect("written");
    let server = server(folder.path(), &hub, Some(&base));
    let copy = json!({ "source": "base", "destination": "gpt-5" });
    assert_eq!(lines(&server, "/api/copy", &copy).0, 200);
    let (_, listed) = server.get("/api/models");
    assert_eq!(listed["models"][0]["aliases"], json!(["gpt-5"]), "{listed}");
    let chat = json!({
        "model": "gpt-5", "max_tokens": 1, "messages": [{ "role": "user", "content": "hi" }],
    });
    let (status, answer) = server.post("/v1/chat/completions", &chat);
    assert_eq!(status, 200, "{answer}");
    let (_, running) = server.get("/api/ps");
    assert_eq!(
        running["models"].as_array().map(Vec::len),
        Some(1),
        "{running}"
    );
    assert_eq!(delete(&server, "gpt-5").0, 200);
    assert_eq!(server.post("/v1/chat/completions", &chat).0, 404);
    assert!(base.exists());
}

#[test]
fn what_is_not_ours_to_delete_stays() {
    let (hub, content) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let base = folder.path().join("base.gguf");
    let theirs = folder.path().join(".lmstudio/models/p/m/theirs.gguf");
    std::fs::create_dir_all(theirs.parent().expect("a folder")).expect("made");
    std::fs::write(&base, &content).expect("written");
    std::fs::write(&theirs, tiny::Model::new().seed(2).to_bytes()).expect("written");
    let server = server(folder.path(), &hub, Some(&base));
    for (name, part) in [
        ("base", "was started for"),
        ("theirs", "belongs to LM Studio"),
    ] {
        let (status, error) = delete(&server, name);
        assert_eq!(status, 400, "{error}");
        assert!(error.contains(part), "{error}");
    }
    assert!(base.exists() && theirs.exists());
}
