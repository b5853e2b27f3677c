//! Models in the stores of other programs, as the commands show them.

use std::path::Path;

use serde_json::{Value, json};
use shimmy_testkit::tiny;

use crate::support::{run, text};

fn write_model(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    tiny::Model::new().write(path).expect("written");
}

/// A home with a model in each place that needs no variable to be found.
fn full_home() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path();
    for (seed, path) in (1..).zip([
        "models/here.gguf",
        ".local/share/shimmy/models/own.gguf",
        ".cache/llama.cpp/o_r_llama.gguf",
        ".lmstudio/models/publisher/model/studio.gguf",
    ]) {
        let path = home.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        tiny::Model::new().seed(seed).write(&path).expect("written");
    }
    let hub = home.join(".cache/huggingface/hub/models--Owner--Repo");
    let blob = "ab".repeat(32);
    write_model(&hub.join("blobs").join(&blob));
    std::fs::create_dir_all(hub.join("snapshots/main")).expect("made");
    std::os::unix::fs::symlink(
        format!("../../blobs/{blob}"),
        hub.join("snapshots/main/Hub_Model.gguf"),
    )
    .expect("linked");
    let ollama = home.join(".ollama/models");
    let digits = "cd".repeat(32);
    write_model(&ollama.join(format!("blobs/sha256-{digits}")));
    let manifest = ollama.join("manifests/registry.ollama.ai/library/llama3.2/1b");
    std::fs::create_dir_all(manifest.parent().expect("a folder")).expect("made");
    let layers = json!([{
        "mediaType": "application/vnd.ollama.image.model",
        "digest": format!("sha256:{digits}"),
    }]);
    std::fs::write(manifest, json!({ "layers": layers }).to_string()).expect("written");
    folder
}

fn listed(outcome: &str) -> Vec<(String, String)> {
    let value: Value = serde_json::from_str(outcome).expect("JSON");
    let text = |model: &Value, key: &str| model[key].as_str().expect("a text").to_owned();
    let models = value["models"].as_array().expect("a list").iter();
    models
        .map(|model| (text(model, "name"), text(model, "source")))
        .filter(|(name, _)| name != "stub")
        .collect()
}

#[test]
fn models_of_other_programs_are_listed_with_their_source() {
    let folder = full_home();
    let outcome = run(folder.path(), &["list", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let expected = [
        ("here", "./models"),
        ("hub-model", "Hugging Face cache"),
        ("llama3.2:1b", "Ollama"),
        ("o-r-llama", "llama.cpp cache"),
        ("own", "shimmy"),
        ("studio", "LM Studio"),
    ];
    let expected = expected.map(|(name, source)| (name.to_owned(), source.to_owned()));
    assert_eq!(listed(&outcome.stdout), expected);
    let value: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(value["models"][2]["sha256"], "cd".repeat(32));
    assert_eq!(value["models"][2]["families"], json!(["llama"]));
    let outcome = run(folder.path(), &["discover"]);
    assert!(!outcome.stdout.contains("Problems"), "{}", outcome.stdout);
}

#[test]
fn several_folders_can_be_given() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a", "b"] {
        write_model(&folder.path().join(name).join(name).with_extension("gguf"));
    }
    let dirs = format!("{0}/a;{0}/b", text(folder.path()));
    let outcome = run(folder.path(), &["list", "--json", "--model-dirs", &dirs]);
    let expected = ["a", "b"].map(|name| (name.to_owned(), "--model-dirs".to_owned()));
    assert_eq!(listed(&outcome.stdout), expected);
}
