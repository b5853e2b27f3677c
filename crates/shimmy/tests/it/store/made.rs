//! Models made of others, and copies.

use super::*;

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
        // Whoever sends it again hears so, and the next one on that connection is answered, too.
        for _ in 0..20 {
            assert_eq!(send(bytes, vec![0; 1 << 20]), 200);
        }
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
    // So does the command line take one of two away.
    assert_eq!(copy("b:v2", "c_1"), 200);
    let removed = run(folder.path(), &["rm", "c-1"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let left = run(folder.path(), &["list", "--json"]);
    assert!(left.stdout.contains("\"b:v2\""), "{left:?}");
    assert!(!left.stdout.contains("\"c_1\""), "{left:?}");
    assert_eq!(copy("b:v2", "d_1"), 200);
    assert_eq!(delete(&server, "d-1").0, 200);
    assert_eq!(names(&server), ["b:v2", "tiny"]);
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
