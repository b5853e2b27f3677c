//! Models pulled, made, named and deleted by Ollama's clients while the server runs.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Value, json};
use shimmy_testkit::hub::{COMMIT, FakeHub};
use shimmy_testkit::sha256::sha256;
use shimmy_testkit::tiny;

use crate::support::{Server, shimmy, text};

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
fn a_model_is_made_with_what_it_is_told_and_how_it_is_asked() {
    let (hub, content) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let base = folder.path().join("tiny.gguf");
    std::fs::write(&base, content).expect("written");
    let server = server(folder.path(), &hub, Some(&base));
    let create = json!({
        "model": "mine", "from": "tiny", "system": "Be brief.",
        "parameters": { "num_predict": 3, "num_ctx": 128, "stop": ["never"], "temperature": 0 },
        "template": "{{ if .System }}[{{ .System }}]{{ end }}{{ range .Messages }}\
                     {{ if ne .Role \"system\" }}<{{ .Role }}>{{ .Content }}{{ end }}{{ end }}<assistant>",
        "messages": [{ "role": "user", "content": "ping" }, { "role": "assistant", "content": "pong" }],
        "license": "Do as you like.",
    });
    let lines = done(&server, "/api/create", &create);
    let steps: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["status"].as_str())
        .collect();
    assert!(
        steps[1].starts_with("using existing layer sha256:"),
        "{steps:?}"
    );
    assert!(
        steps[2].starts_with("creating new layer sha256:"),
        "{steps:?}"
    );
    assert_eq!(names(&server), ["mine", "tiny"]);

    assert_eq!(
        prompt(&server, "mine"),
        "[Be brief.]<user>ping<assistant>pong<user>hi<assistant>"
    );
    assert_ne!(prompt(&server, "tiny"), prompt(&server, "mine"));
    let chat = json!({ "model": "mine", "messages": [{ "role": "user", "content": "hi" }] });
    let (status, answer) = server.post("/v1/chat/completions", &chat);
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer["usage"]["completion_tokens"].as_u64() <= Some(3),
        "{answer}"
    );
    let (_, running) = server.get("/api/ps");
    let running = running["models"].as_array().expect("a list");
    let mine = running.iter().find(|model| model["name"] == "mine");
    assert_eq!(mine.expect("it runs")["context_length"], 128);

    let (_, shown) = server.post("/api/show", &json!({ "model": "mine" }));
    assert_eq!(shown["system"], "Be brief.");
    assert_eq!(shown["template"], create["template"]);
    assert_eq!(shown["messages"], create["messages"]);
    assert_eq!(shown["license"], "Do as you like.");
    let parameters = shown["parameters"].as_str().expect("a text");
    for line in [
        "num_ctx                        128",
        "stop                           \"never\"",
    ] {
        assert!(parameters.contains(line), "{parameters}");
    }

    // One that is made of it takes over what it does not replace.
    let create = json!({ "model": "mine:loud", "from": "mine", "system": "Shout.",
        "parameters": { "temperature": 1 } });
    done(&server, "/api/create", &create);
    assert_eq!(
        prompt(&server, "mine:loud"),
        "[Shout.]<user>ping<assistant>pong<user>hi<assistant>"
    );
    let (_, shown) = server.post("/api/show", &json!({ "model": "mine:loud" }));
    let parameters = shown["parameters"].as_str().expect("a text");
    assert!(
        parameters.contains("num_predict                    3"),
        "{parameters}"
    );

    // The same name again is another model.
    done(
        &server,
        "/api/create",
        &json!({ "model": "mine", "from": "tiny", "system": "Sing." }),
    );
    assert!(prompt(&server, "mine").contains("Sing."));
    assert!(
        !prompt(&server, "mine").contains("[Sing.]"),
        "with the file's own template"
    );
}

#[test]
fn a_model_is_made_of_what_was_sent() {
    let (hub, content) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), &hub, None);
    let adapter = tiny::Adapter::new().to_bytes();
    let digest = |bytes: &[u8]| format!("sha256:{}", sha256(bytes));
    let client = reqwest::blocking::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let url = |bytes: &[u8]| server.url(&format!("/api/blobs/{}", digest(bytes)));
    let head = |bytes: &[u8]| client.head(url(bytes)).send().expect("an answer").status();
    let send = |bytes: &[u8], body: Vec<u8>| {
        let request = client.post(url(bytes)).body(body);
        request.send().expect("an answer").status()
    };
    assert_eq!(head(&content), 404);
    assert_eq!(send(&content, b"something else".to_vec()), 400);
    assert_eq!(head(&content), 404);
    for bytes in [&content, &adapter] {
        assert_eq!(send(bytes, bytes.clone()), 201);
        assert_eq!(head(bytes), 200);
        assert_eq!(send(bytes, bytes.clone()), 200);
    }
    let create = json!({ "model": "sent", "files": { "m.gguf": digest(&content) },
        "adapters": { "a.gguf": digest(&adapter) } });
    done(&server, "/api/create", &create);
    assert_eq!(names(&server), ["sent"]);
    let body = json!({ "model": "sent", "prompt": "hi", "stream": false,
        "options": { "num_predict": 2 } });
    assert_eq!(server.post("/api/generate", &body).0, 200);

    let wrong = |create: Value, part: &str| {
        let (_, lines) = lines(&server, "/api/create", &create);
        let error = lines.last().and_then(|line| line["error"].as_str());
        assert!(error.is_some_and(|error| error.contains(part)), "{lines:?}");
    };
    let swapped = json!({ "model": "x", "files": { "a.gguf": digest(&adapter) } });
    wrong(swapped, "belongs into `adapters`");
    let none = json!({ "model": "x", "from": "sent", "adapters": { "m.gguf": digest(&content) } });
    wrong(none, "is no adapter");
    wrong(
        json!({ "model": "x", "files": { "m": digest(b"?") } }),
        "not found",
    );
    wrong(
        json!({ "model": "../x", "from": "sent" }),
        "`model` cannot be a model's name",
    );
    wrong(
        json!({ "model": "x", "from": "nobody" }),
        "model 'nobody' not found",
    );
    let template = json!({ "model": "x", "from": "sent", "template": "{{ .Secrets }}" });
    wrong(template, "`template` cannot be used");
    assert_eq!(names(&server), ["sent"]);
    // With it go the blobs that no other model needs.
    assert_eq!(delete(&server, "sent").0, 200);
    assert_eq!(
        (head(&content), head(&adapter)),
        (
            reqwest::StatusCode::NOT_FOUND,
            reqwest::StatusCode::NOT_FOUND
        )
    );
}

#[test]
fn a_copy_outlives_its_source_or_its_source_stays() {
    let (hub, content) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let models = folder.path().join("models");
    std::fs::create_dir(&models).expect("made");
    std::fs::write(models.join("tiny.gguf"), content).expect("written");
    let server = server(folder.path(), &hub, None);
    let copy = |source: &str, destination: &str| {
        let body = json!({ "source": source, "destination": destination });
        lines(&server, "/api/copy", &body).0
    };
    // A file has one more name, and does not go while it has it.
    assert_eq!(copy("tiny", "gpt-4o"), 200);
    let (status, error) = delete(&server, "tiny");
    assert_eq!(status, 400);
    assert!(
        error.contains("is gpt-4o too; delete that name first"),
        "{error}"
    );
    assert_eq!(delete(&server, "gpt-4o").0, 200);
    assert!(models.join("tiny.gguf").exists());
    // What was made here can be renamed.
    done(
        &server,
        "/api/create",
        &json!({ "model": "a", "from": "tiny", "system": "Be brief." }),
    );
    assert_eq!(copy("a", "b:v2"), 200);
    assert_eq!(delete(&server, "a").0, 200);
    assert_eq!(names(&server), ["b:v2", "tiny"]);
    assert!(prompt(&server, "b:v2").contains("Be brief."));
    for (source, destination, status) in [
        ("nobody", "x", 404),
        ("tiny", "tiny", 400),
        ("b:v2", "tiny", 400),
        ("tiny", "-x", 400),
        ("tiny", "default", 400),
    ] {
        assert_eq!(
            copy(source, destination),
            status,
            "{source} to {destination}"
        );
    }
    assert_eq!(delete(&server, "tiny").0, 200);
    assert_eq!(names(&server), ["b:v2"]);
    assert!(prompt(&server, "b:v2").contains("Be brief."));
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
