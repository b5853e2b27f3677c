//! The configuration file, and where each setting comes from.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Outcome, Server, run, shimmy, text, tiny_folder};

fn write(folder: &Path, config: &str) {
    let path = folder.join(".config/shimmy");
    fs::create_dir_all(&path).expect("a folder");
    fs::write(path.join("config.toml"), config).expect("written");
}

/// A setting of `config show`, with this in the environment.
fn setting(folder: &Path, args: &[&str], variable: Option<(&str, &str)>, name: &str) -> Value {
    let output = shimmy(folder)
        .args(["config", "show", "--json"])
        .args(args)
        .envs(variable)
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut settings = shown["settings"].as_array().expect("a list").iter();
    let setting = settings.find(|setting| setting["name"] == name);
    setting.expect("a setting").clone()
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let queue = |args: &[&str], variable| {
        let setting = setting(here, args, variable, "queue");
        (setting["value"].clone(), setting["origin"].clone())
    };
    let variable = Some(("SHIMMY_QUEUE", "3"));
    assert_eq!(queue(&[], None), (json!("64"), json!("default")));
    write(here, "queue = 2\n");
    assert_eq!(queue(&[], None), (json!("2"), json!("file")));
    assert_eq!(queue(&[], variable), (json!("3"), json!("environment")));
    assert_eq!(
        queue(&["--queue", "4"], variable),
        (json!("4"), json!("flag"))
    );
    // An empty variable is an unset one.
    assert_eq!(
        queue(&[], Some(("SHIMMY_QUEUE", ""))),
        (json!("2"), json!("file"))
    );
}

#[test]
fn a_secret_is_set_or_unset_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = |variable| setting(folder.path(), &[], variable, "api-key")["value"].clone();
    assert_eq!(key(None), "unset");
    assert_eq!(key(Some(("SHIMMY_API_KEY", "hunter2"))), "set");
    for args in [
        &["config", "show"][..],
        &["doctor"],
        &["serve", "--help"],
        &["man", "serve"],
    ] {
        let output = shimmy(folder.path())
            .args(args)
            .env("SHIMMY_API_KEY", "hunter2")
            .env("HF_TOKEN", "hunter3")
            .output()
            .expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("hunter"), "{args:?}: {text}");
    }
}

#[test]
fn a_broken_file_is_said_with_its_line_and_stops_what_needs_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    for (config, reason) in [
        ("ctx = 4096\nqueue = ", "line 2"),
        ("contxt = 1", "there is no setting \"contxt\""),
        ("ctx = \"much\"", "invalid value 'much' for '--ctx"),
        ("api-key = \"hunter2\"", "a token does not belong here"),
    ] {
        write(here, config);
        let outcome = run(here, &["list"]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            outcome.stderr.contains(reason),
            "{config}: {}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains("config.toml"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("hint: "), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("hunter2"));
        assert_eq!(run(here, &["completions", "fish"]).code, Some(0));
        assert_eq!(run(here, &["doctor"]).code, Some(1));
    }
}

#[test]
fn the_server_serves_as_the_file_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let key = here.join("key");
    fs::write(&key, "from-the-file").expect("written");
    write(here, &format!("api-key-file = {:?}\n", text(&key)));
    let server = Server::start(here, &[]);
    assert_eq!(server.get("/v1/models").0, 401);
    // A token in the environment is nearer.
    let mut command = shimmy(here);
    command
        .args(["serve", "--bind", "127.0.0.1:0"])
        .env("SHIMMY_API_KEY", "from-the-variable");
    let server = Server::launch(command);
    let client = reqwest::blocking::Client::new();
    let status = |token: &str| {
        let request = client.get(server.url("/v1/models")).bearer_auth(token);
        request.send().expect("an answer").status().as_u16()
    };
    assert_eq!(
        (status("from-the-variable"), status("from-the-file")),
        (200, 401)
    );
}

#[test]
fn names_that_clients_insist_on_stand_for_models() {
    let (folder, model) = tiny_folder();
    let here = folder.path();
    let config = "[aliases]\n\"gpt-4o\" = \"stub\"\n\"claude-*\" = \"stub\"\nlittle = \"tiny\"\n\
                  tiny = \"stub\"\n";
    write(here, &format!("model-dirs = {:?}\n{config}", text(here)));
    let server = Server::start(here, &[]);
    let ask = |name: &str| {
        let messages = json!([{ "role": "user", "content": "hello" }]);
        let body = json!({ "model": name, "messages": messages });
        server.post("/v1/chat/completions", &body)
    };
    for name in ["gpt-4o", "claude-sonnet-4-5", "GPT-4o"] {
        let (status, answer) = ask(name);
        assert_eq!(status, 200, "{name}: {answer}");
        assert_eq!(answer["choices"][0]["message"]["content"], "hello");
    }
    assert_eq!(ask("gpt-4").0, 404);
    // The commands know them, too; a model's own name is its own.
    for name in ["little", "tiny"] {
        let shown: Outcome = run(here, &["show", name, "--json"]);
        let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
        assert_eq!(shown["path"], text(&model), "{name}");
    }
    let answer = run(here, &["generate", "gpt-4o", "--prompt", "hi"]);
    assert_eq!(answer.stdout, "hi", "{answer:?}");
}
