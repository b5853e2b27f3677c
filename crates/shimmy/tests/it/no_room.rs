//! Writes that fail, because a process that may not write files is one on a full disk: an error with
//! its reason or the work without what could not be kept, and never half a file under a whole one's
//! name.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::json;
use shimmy_testkit::hub::FakeHub;
use shimmy_testkit::tiny;

use crate::support::{Outcome, Server, run_command, shimmy};

const REPOSITORY: &str = "Owner/Tiny-GGUF";

/// The binary in a shell that lets it write so many blocks of 512 or 1024 bytes to a file.
fn limited(folder: &Path, blocks: u32, args: &[&str]) -> Command {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let plain = shimmy(folder);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(plain.get_program());
    command.args(args).current_dir(folder);
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn run_limited(folder: &Path, blocks: u32, args: &[&str]) -> Outcome {
    run_command(limited(folder, blocks, args))
}

/// A folder with a model that was there before, and a hub that has one.
fn world() -> (tempfile::TempDir, FakeHub) {
    let folder = tempfile::tempdir().expect("a folder");
    let models = folder.path().join("models");
    fs::create_dir(&models).expect("a folder");
    let path = models.join("here.gguf");
    tiny::Model::new().write(&path).expect("written");
    // What changed a moment ago is not remembered.
    let file = File::options().write(true).open(path).expect("there");
    let before = SystemTime::now() - Duration::from_secs(3600);
    file.set_modified(before).expect("set");
    let hub = FakeHub::start().expect("a hub");
    hub.add(
        REPOSITORY,
        "Tiny-Q4_K_M.gguf",
        tiny::Model::new().to_bytes(),
    );
    (folder, hub)
}

/// The files with something in them below a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = |entry: fs::DirEntry| match entry.path() {
        path if path.is_dir() => files(&path),
        path if entry.metadata().is_ok_and(|about| about.len() == 0) => {
            drop(path);
            Vec::new()
        }
        path => vec![path.display().to_string()],
    };
    entries.flat_map(below).collect()
}

#[test]
fn models_are_listed_whether_or_not_they_can_be_remembered() {
    let (folder, _) = world();
    let here = folder.path();
    let listed = run_limited(here, 0, &["list"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.stdout.contains("here"), "{listed:?}");
    let warning = "cannot be remembered there: ";
    assert_eq!(listed.stderr.matches(warning).count(), 1, "{listed:?}");
    let found = run_limited(here, 0, &["discover"]);
    assert!(found.stdout.contains(warning), "{found:?}");
    assert_eq!(files(&here.join(".cache")), [""; 0]);
}

#[test]
fn names_and_templates_are_whole_or_not_there() {
    let (folder, _) = world();
    let here = folder.path();
    let named = run_limited(here, 0, &["cp", "here", "there"]);
    assert_eq!(named.code, Some(1), "{named:?}");
    assert!(named.stderr.contains("cannot be kept"), "{named:?}");
    assert_eq!(named.stderr.matches("os error").count(), 1, "{named:?}");
    assert_eq!(files(&here.join(".local")), [""; 0]);

    let args = ["init", "-t", "kubernetes", "-o", "manifests.yaml"];
    let made = run_limited(here, 1, &args);
    assert_eq!(made.code, Some(1), "{made:?}");
    assert!(
        made.stderr.contains("cannot write manifests.yaml"),
        "{made:?}"
    );
    assert!(!here.join("manifests.yaml").exists());
    assert_eq!(run_command(limited(here, 1000, &args)).code, Some(0));

    let pages = run_limited(here, 1, &["man", "-o", "pages"]);
    assert_eq!(pages.code, Some(1), "{pages:?}");
    assert_eq!(files(&here.join("pages")), [""; 0]);
    std::fs::write(here.join("file"), "").expect("written");
    let pages = run_limited(here, 1000, &["man", "-o", "file/pages"]);
    assert_eq!(pages.code, Some(1), "{pages:?}");
    let told = "error: cannot write file/pages: ";
    assert!(pages.stderr.starts_with(told), "{pages:?}");
    assert!(pages.stderr.contains("hint: "), "{pages:?}");
}

#[test]
fn a_pull_says_what_it_cannot_write_and_the_next_one_succeeds() {
    let (folder, hub) = world();
    let here = folder.path();
    let pull = |blocks| {
        let mut command = limited(here, blocks, &["pull", REPOSITORY]);
        command.env("HF_ENDPOINT", hub.url());
        run_command(command)
    };
    let failed = pull(0);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("cannot be written"), "{failed:?}");
    assert!(failed.stderr.contains("hint: "), "{failed:?}");
    assert_eq!(files(&here.join(".cache/huggingface")), [""; 0]);
    let done = pull(1_000_000);
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[test]
fn a_server_that_cannot_write_says_so_and_goes_on() {
    let (folder, hub) = world();
    let here = folder.path();
    let mut command = limited(here, 0, &["serve", "--bind", "127.0.0.1:0"]);
    // Its first line is to be the one with its address.
    command
        .env("HF_ENDPOINT", hub.url())
        .env("RUST_LOG", "error");
    let server = Server::launch(command);
    let pull = json!({ "model": REPOSITORY, "stream": false });
    let make = json!({ "model": "made", "from": "here", "system": "Be brief.", "stream": false });
    let copy = json!({ "source": "here", "destination": "there" });
    for (path, body) in [
        ("/api/pull", pull),
        ("/api/create", make),
        ("/api/copy", copy),
    ] {
        let (status, answer) = server.post(path, &body);
        assert_eq!(status, 500, "{path}: {answer}");
        assert!(answer["error"].is_string(), "{path}: {answer}");
    }
    let (status, tags) = server.get("/api/tags");
    assert_eq!(status, 200);
    let names = tags["models"].as_array().expect("a list").iter();
    assert!(
        names.filter(|model| model["name"] != "stub").count() == 1,
        "{tags}"
    );
    assert_eq!(files(&here.join(".cache/huggingface")), [""; 0]);
    // One more name for a file that is here takes no room: it is whole, and swept when nobody needs it.
    let content = tiny::Model::new().to_bytes();
    for path in files(&here.join(".local")) {
        assert!(path.contains("/blobs/sha256-"), "{path}");
        assert!(fs::read(&path).expect("there") == content, "{path}");
    }
}
