//! Adapters on the real engine: by name, at the same time, at run time, and only from the folders
//! that they may come from.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Value, json};
use shimmy_testkit::tiny;
use tempfile::TempDir;

use crate::support::{Server, text};

/// A folder with the models `tiny` and `other` and adapters of either.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    tiny::Model::new().write(&at("tiny.gguf")).expect("written");
    tiny::Model::other()
        .write(&at("other.gguf"))
        .expect("written");
    for (seed, name) in [(7, "formal.gguf"), (8, "pirate.gguf")] {
        tiny::Adapter::new()
            .seed(seed)
            .write(&at(name))
            .expect("written");
    }
    tiny::Adapter::for_other_model()
        .write(&at("foreign.gguf"))
        .expect("written");
    folder
}

fn start(folder: &Path, args: &[&str]) -> Server {
    let base = folder.join("tiny.gguf");
    Server::with_model(folder, &base, args)
}

fn ask(model: &str) -> Value {
    json!({ "model": model, "prompt": "tell me", "max_tokens": 24, "temperature": 0 })
}

fn with_lora(lora: Value) -> Value {
    let mut body = ask("tiny");
    body["lora"] = lora;
    body
}

#[test]
fn two_adapters_give_two_answers_in_requests_at_the_same_time() {
    let folder = folder();
    let server = start(folder.path(), &[]);
    let names = ["tiny", "formal", "pirate"];
    let alone = names.map(|name| server.generate(&ask(name)));
    assert!(alone[0] != alone[1] && alone[1] != alone[2] && alone[0] != alone[2]);

    // Cold: the first requests for an adapter load it, once.
    let server = start(folder.path(), &["-v"]);
    std::thread::scope(|scope| {
        let asked = names.into_iter().cycle().take(12).map(|name| {
            let server = &server;
            (name, scope.spawn(move || server.generate(&ask(name))))
        });
        for (name, answer) in asked.collect::<Vec<_>>() {
            let index = names.iter().position(|other| *other == name);
            let expected = &alone[index.expect("one of them")];
            assert_eq!(&answer.join().expect("an answer"), expected, "{name}");
        }
    });
    // The same by the field, both by halves, and by the number that each has by now.
    let named = |name: &str, scale: f32| with_lora(json!([{ "id": name, "scale": scale }]));
    assert_eq!(server.generate(&named("formal", 1.0)), alone[1]);
    let both = json!([{ "id": "formal", "scale": 0.5 }, { "id": "pirate", "scale": 0.5 }]);
    let both = server.generate(&with_lora(both));
    assert!(!alone.contains(&both));
    let (_, list) = server.get("/lora-adapters");
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), 2, "{list:?}");
    let pirate = list.iter().find(|adapter| adapter["name"] == "pirate");
    let id = pirate.expect("it is there")["id"].clone();
    let by_number = with_lora(json!([{ "id": id }]));
    assert_eq!(server.generate(&by_number), alone[2]);
    // Their scales where a request does not say: none, until somebody sets them.
    assert_eq!(server.generate(&ask("tiny")), alone[0]);
    let scales = json!([{ "id": id, "scale": 1.0 }]);
    assert_eq!(server.post("/lora-adapters", &scales).0, 200);
    assert_eq!(server.generate(&ask("tiny")), alone[2]);
    server.signal("TERM");
    let (_, log) = server.wait();
    assert_eq!(log.matches("loaded adapter=\"formal\"").count(), 1, "{log}");
}

#[test]
fn adapters_are_listed_with_their_models_and_outlive_an_unload() {
    let folder = folder();
    let server = start(folder.path(), &[]);
    server.generate(&ask("pirate"));
    let (_, list) = server.get("/v1/models");
    let models = list["data"].as_array().expect("a list");
    let one = |id: &str| models.iter().find(|model| model["id"] == id);
    let parent = |id: &str| one(id).map(|model| model["parent"].clone());
    assert_eq!(parent("pirate"), Some(json!("tiny")));
    assert_eq!(parent("foreign"), Some(json!("other")));
    assert_eq!(parent("tiny"), Some(Value::Null));
    assert_eq!(one("pirate").expect("it")["meta"]["loaded"], true);
    assert_eq!(one("formal").expect("it")["meta"]["loaded"], false);

    let answer = server.generate(&ask("pirate"));
    let (_, unloaded) = server.post("/api/models/tiny/unload", &json!({}));
    assert_eq!(unloaded["unloaded"], true);
    assert_eq!(server.generate(&ask("pirate")), answer);
    // Another model's adapter loads that model.
    assert!(!server.generate(&ask("foreign")).is_empty());
    assert_eq!(server.get("/health").1["models"]["loaded"], 2);
    let (status, error) = server.post(
        "/api/generate",
        &with_lora(json!([{ "id": "foreign", "scale": 1.0 }])),
    );
    assert_eq!(status, 400, "{error}");
    assert!(error.to_string().contains("it is for other"), "{error}");
    assert_eq!(server.post("/api/generate", &ask("nobody")).0, 404);
}

#[test]
fn an_adapter_comes_and_goes_under_a_name_of_its_own() {
    let folder = folder();
    let server = start(folder.path(), &[]);
    let plain = server.generate(&ask("tiny"));
    let load = |name: &str, path: &str| {
        let body = json!({ "lora_name": name, "lora_path": path });
        let answer = server.open("/v1/load_lora_adapter", &body);
        (answer.status().as_u16(), answer.text().expect("text"))
    };
    let unload = |name: &str| {
        let body = json!({ "lora_name": name });
        let answer = server.open("/v1/unload_lora_adapter", &body);
        answer.status().as_u16()
    };
    assert_eq!(load("mine", "pirate.gguf").0, 200);
    let adapted = server.generate(&ask("mine"));
    assert_ne!(adapted, plain);
    assert_eq!(load("mine", "formal.gguf").0, 400, "the name is taken");
    assert_eq!(load("tiny", "formal.gguf").0, 400, "a model has it");
    assert_eq!(load("formal", "pirate.gguf").0, 400, "another file has it");
    let whole = folder.path().join("formal.gguf");
    assert_eq!(load("whole", text(&whole)).0, 200);

    // An answer that runs keeps its adapter to the end.
    let mut body = ask("mine");
    body["max_tokens"] = json!(600);
    body["stream"] = json!(true);
    let mut reader = BufReader::new(server.open("/api/generate", &body));
    let mut first = String::new();
    reader.read_line(&mut first).expect("a first event");
    std::thread::scope(|scope| {
        let unloading = scope.spawn(|| unload("mine"));
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("the rest");
        assert!(rest.ends_with("data: [DONE]\n\n"), "it was cut");
        assert_eq!(unloading.join().expect("an answer"), 200);
    });
    assert_eq!(unload("mine"), 404);
    assert_eq!(server.post("/api/generate", &ask("mine")).0, 404);
    assert_eq!(server.generate(&ask("tiny")), plain);
    assert_eq!(load("mine", "pirate.gguf").0, 200);
    assert_eq!(server.generate(&ask("mine")), adapted);

    let (status, error) = load("theirs", "foreign.gguf");
    assert_eq!(status, 200, "it is for the other model: {error}");
    let wrong = json!({ "lora_name": "x", "lora_path": "foreign.gguf", "model": "tiny" });
    let (status, error) = server.post("/v1/load_lora_adapter", &wrong);
    assert_eq!(status, 400, "{error}");
    assert!(error.to_string().contains("does not fit"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_client_reaches_no_adapter_outside_the_folders() {
    let folder = folder();
    let outside = tempfile::tempdir().expect("a folder");
    let secret = outside.path().join("secret.gguf");
    tiny::Adapter::new().write(&secret).expect("written");
    let link = folder.path().join("link.gguf");
    std::os::unix::fs::symlink(&secret, link).expect("a link");
    let sub = folder.path().join("sub");
    std::fs::create_dir(&sub).expect("a folder");
    let server = start(folder.path(), &["--model-dirs", text(&sub)]);
    let url = format!("file://{}", text(&folder.path().join("pirate.gguf")));
    for path in [
        text(&secret),
        "link.gguf",
        "../secret.gguf",
        "sub/../pirate.gguf",
        "/etc/passwd",
        "../../../../../../etc/passwd",
        &url,
        "http://127.0.0.1:9/a.gguf",
        "C:\\a.gguf",
        "missing.gguf",
        "tiny.gguf",
        "sub",
    ] {
        let body = json!({ "lora_name": "x", "lora_path": path });
        let (status, error) = server.post("/v1/load_lora_adapter", &body);
        assert_eq!(status, 400, "{path}: {error}");
        assert_eq!(error["error"]["param"], "lora_path", "{path}: {error}");
        let message = error.to_string();
        assert!(!message.contains(text(outside.path())), "{message}");
    }
    let (_, list) = server.get("/v1/models");
    assert!(!list.to_string().contains("link"), "{list}");
}
