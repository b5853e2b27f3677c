//! Models that come and go while a server runs, and base models that cannot.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Value, json};
use shimmy_testkit::{broken, tiny};

use crate::support::{Server, text, tiny_folder};

fn ask(model: Option<&str>) -> Value {
    let mut body = json!({ "prompt": "hi", "max_tokens": 3, "temperature": 0 });
    if let Some(model) = model {
        body["model"] = json!(model);
    }
    body
}

#[test]
fn a_server_with_a_broken_base_model_serves_the_others() {
    let (folder, model) = tiny_folder();
    let whole = std::fs::read(&model).expect("read");
    let bases = tempfile::tempdir().expect("a folder");
    let at = |name: &str| bases.path().join(name);
    let foreign = at("foreign.gguf");
    tiny::Adapter::for_other_model()
        .write(&foreign)
        .expect("written");
    std::fs::write(at("text.gguf"), broken::not_gguf()).expect("written");
    std::fs::write(at("header.gguf"), &whole[..200]).expect("written");
    std::fs::write(at("tensors.gguf"), &whole[..whole.len() / 2]).expect("written");
    std::fs::write(at("whole.gguf"), &whole).expect("written");
    let cases: [(&str, &[&str], &str); 5] = [
        ("missing.gguf", &[], "missing.gguf"),
        ("text.gguf", &[], "text.gguf"),
        ("header.gguf", &[], "header.gguf"),
        ("tensors.gguf", &[], "tensors.gguf"),
        ("whole.gguf", &["--lora", text(&foreign)], "foreign.gguf"),
    ];
    for (base, more, culprit) in cases {
        let dirs = ["--model-dirs", text(folder.path())];
        let server = Server::with_model(folder.path(), &at(base), &[&dirs[..], more].concat());
        assert_eq!(server.get("/health").1["status"], "ok", "{base}");
        let (status, answer) = server.post("/api/generate", &ask(None));
        assert_eq!(status, 502, "{base}: {answer}");
        assert!(answer.to_string().contains(culprit), "{base}: {answer}");
        assert!(!server.generate(&ask(Some("tiny"))).is_empty());
        assert_eq!(server.get("/health").1["status"], "ok", "{base}");
    }
}

#[test]
fn clients_that_come_at_once_load_a_model_once() {
    let (folder, _) = tiny_folder();
    let dirs = text(folder.path());
    let server = Server::start(folder.path(), &["-v", "--model-dirs", dirs]);
    let names = [None, Some(""), Some("default"), Some("tiny")];
    std::thread::scope(|scope| {
        for name in names.into_iter().cycle().take(8) {
            let server = &server;
            scope.spawn(move || server.generate(&ask(name)));
        }
    });
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("loaded model=\"tiny\"").count(), 1, "{log}");
}

#[test]
fn a_base_model_has_one_name_and_is_listed_from_the_start() {
    let (folder, model) = tiny_folder();
    let others = tempfile::tempdir().expect("a folder");
    tiny::Model::new()
        .seed(3)
        .write(&others.path().join("tiny.gguf"))
        .expect("written");
    let dirs = ["--model-dirs", text(others.path())];
    let server = Server::with_model(folder.path(), &model, &dirs);
    let listed = |server: &Server| {
        let (_, answer) = server.get("/v1/models");
        let models = answer["data"].as_array().expect("a list").clone();
        let ids = models.iter().map(|model| model["id"].as_str());
        ids.map(|id| id.expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    assert!(listed(&server).contains(&"tiny".to_owned()));
    let base = server.generate(&ask(None));
    assert_eq!(server.generate(&ask(Some("tiny"))), base);
    assert_eq!(server.post("/api/models/discover", &json!({})).0, 200);
    assert_eq!(server.generate(&ask(Some("tiny"))), base);
    assert_eq!(listed(&server).len(), 2);
    assert_eq!(server.get("/health").1["models"]["loaded"], 1);
    // `default` is the same model in every place.
    let (_, status) = server.get("/api/models/default/status");
    assert_eq!(
        (&status["name"], &status["loaded"]),
        (&json!("tiny"), &json!(true))
    );
    let (_, unloaded) = server.post("/api/models/default/unload", &json!({}));
    assert_eq!(unloaded["unloaded"], true);
    assert_eq!(server.get("/health").1["models"]["loaded"], 0);
    assert_eq!(server.post("/api/models/default/load", &json!({})).0, 200);
    assert_eq!(server.get("/health").1["models"]["loaded"], 1);
}

#[test]
fn an_unload_lets_a_running_answer_finish() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &[]);
    let mut body = ask(None);
    body["max_tokens"] = json!(1500);
    body["stream"] = json!(true);
    let mut reader = BufReader::new(server.open("/api/generate", &body));
    let mut first = String::new();
    reader.read_line(&mut first).expect("a first event");
    let (_, unloaded) = server.post("/api/models/tiny/unload", &json!({}));
    assert_eq!(unloaded["unloaded"], true);
    let (_, again) = server.post("/api/models/tiny/unload", &json!({}));
    assert_eq!(again["unloaded"], false);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("the rest");
    assert!(
        rest.ends_with("data: [DONE]\n\n") && !rest.contains("\"error\""),
        "cut: …{}",
        &rest[rest.len().saturating_sub(200)..]
    );
    assert!(!server.generate(&ask(None)).is_empty());
}
