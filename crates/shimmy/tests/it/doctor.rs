//! `shimmy doctor` on machines with something wrong.

use std::fs;

use serde_json::Value;
use shimmy_testkit::tiny;

use crate::support::{Outcome, Server, run, run_command, shimmy, text, tiny_folder};

fn report(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

/// A check by its name: its status and what it says.
fn check(report: &Value, name: &str) -> (String, String) {
    let checks = report["checks"].as_array().expect("a list");
    let check = checks.iter().find(|check| check["name"] == name);
    let check = check.unwrap_or_else(|| panic!("no check {name} in {report}"));
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    if check["status"] != "ok" {
        assert!(!text("hint").is_empty(), "{name} does not say what to do");
    }
    (text("status"), text("detail"))
}

#[test]
fn a_free_port_and_one_of_ours_and_another_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    let args = ["doctor", "--json", "--bind", &address];
    let taken = run(here, &args);
    assert_eq!(taken.code, Some(1), "{taken:?}");
    assert!(
        taken.stderr.contains("error: one check failed"),
        "{}",
        taken.stderr
    );
    let (status, detail) = check(&report(&taken), "port");
    assert_eq!(status, "fail");
    if cfg!(target_os = "linux") {
        let own = format!("(process {})", std::process::id());
        assert!(detail.contains(&own), "{detail}");
    }
    drop(other);
    let free = run(here, &args);
    assert_eq!(free.code, Some(0), "{free:?}");
    assert_eq!(check(&report(&free), "port").0, "ok");
    assert_eq!(report(&free)["ok"], true);

    let server = Server::start(here, &[]);
    let address = server.url("").replace("http://", "");
    let ours = run(here, &["doctor", "--json", "--bind", &address]);
    let (status, detail) = check(&report(&ours), "port");
    assert_eq!(status, "ok");
    assert!(detail.contains("serves on"), "{detail}");

    let open = run(here, &["doctor", "--json", "--bind", "0.0.0.0:11435"]);
    let (status, detail) = check(&report(&open), "port");
    assert_eq!((open.code, status.as_str()), (Some(1), "fail"), "{detail}");
}

#[test]
fn models_with_missing_parts_and_unfinished_downloads_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let models = here.join("models");
    fs::create_dir(&models).expect("a folder");
    let shards = tiny::Model::new()
        .write_shards(&models, "split", 3)
        .expect("written");
    fs::remove_file(&shards[1]).expect("removed");
    let blobs = here.join(".cache/huggingface/hub/models--a--b/blobs");
    fs::create_dir_all(&blobs).expect("a folder");
    fs::write(blobs.join("abc.shimmy-part"), "begun").expect("written");
    let outcome = run(here, &["doctor", "--json"]);
    let report = report(&outcome);
    let (status, detail) = check(&report, "models");
    assert_eq!(status, "warn");
    assert!(detail.contains("split has parts missing"), "{detail}");
    let (status, detail) = check(&report, "downloads");
    assert_eq!(status, "warn");
    assert!(detail.contains("1 unfinished"), "{detail}");
    assert_eq!(check(&report, "disk").0, "ok");

    let missing = here.join("gone.gguf");
    let outcome = run(here, &["doctor", "--model-path", text(&missing)]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stdout.contains("fail  base model"),
        "{}",
        outcome.stdout
    );
    let outcome = run(here, &["doctor", "--json", "--lora", text(&missing)]);
    let (status, detail) = check(&self::report(&outcome), "adapter");
    assert_eq!(status, "fail");
    assert!(detail.contains("gone.gguf does not exist"), "{detail}");
}

#[test]
fn what_serve_refuses_of_the_environment_fails() {
    let (folder, _) = tiny_folder();
    let settings = |variables: &[(&str, &str)]| {
        let mut command = shimmy(folder.path());
        command.args(["doctor", "--json"]);
        command.envs(variables.iter().copied());
        let outcome = run_command(command);
        let (status, detail) = check(&report(&outcome), "settings");
        assert_eq!(outcome.code == Some(0), status == "ok", "{outcome:?}");
        (status, detail)
    };
    assert_eq!(settings(&[("SHIMMY_CTX", "4096")]).0, "ok");
    assert_eq!(settings(&[("SHIMMY_CTX", "")]).0, "ok");
    let wrong = [
        ("SHIMMY_CTX", "abc"),
        ("SHIMMY_KV_CACHE_TYPE", "zz"),
        // One that this command takes too.
        ("SHIMMY_CACHE_DISK", "much"),
    ];
    let (status, detail) = settings(&wrong);
    assert_eq!(status, "fail");
    for (name, value) in wrong {
        let told = format!("{name}: invalid value '{value}'");
        assert!(detail.contains(&told), "no {told:?} in {detail}");
    }
    let (status, detail) = settings(&[("SHIMMY_ENGINE", "native"), ("SHIMMY_GPU_LAYERS", "9")]);
    assert_eq!(status, "fail", "{detail}");
}

#[test]
fn a_named_folder_that_is_not_there_and_damaged_names_are_told() {
    let (folder, _) = tiny_folder();
    let here = folder.path();
    let dirs = format!("{};/does/not/exist", text(here));
    let told = "/does/not/exist: there is no such folder";
    let found = run(here, &["discover", "--model-dirs", &dirs]);
    assert!(found.stdout.contains(told), "{}", found.stdout);
    let doctor = || report(&run(here, &["doctor", "--json", "--model-dirs", &dirs]));
    let (status, detail) = check(&doctor(), "models");
    assert_eq!(status, "warn");
    assert!(detail.contains(told), "{detail}");

    let names = here.join(".local/share/shimmy/models/aliases.json");
    fs::create_dir_all(names.parent().expect("a folder")).expect("a folder");
    fs::write(&names, "junk").expect("written");
    let told = "aliases.json cannot be read: ";
    let (status, detail) = check(&doctor(), "names");
    assert_eq!(status, "warn");
    assert!(detail.contains(told), "{detail}");
    let listed = run(here, &["list", "--model-dirs", text(here)]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert_eq!(listed.stderr.matches(told).count(), 1, "{listed:?}");
}

#[test]
fn what_is_kept_of_earlier_requests_is_counted_and_what_is_damaged_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let prefixes = |args: &[&str]| {
        let args = [&["doctor", "--json"], args].concat();
        check(&report(&run(here, &args)), "prefixes")
    };
    let (status, detail) = prefixes(&[]);
    assert_eq!(status, "ok");
    assert!(
        detail.starts_with("nothing of at most 4.3 GB in "),
        "{detail}"
    );
    let kept = here.join(".cache/shimmy/prefixes");
    fs::create_dir_all(&kept).expect("a folder");
    fs::write(kept.join("1-2.kv"), "no prefix").expect("written");
    let (status, detail) = prefixes(&[]);
    assert_eq!(status, "warn");
    assert!(detail.contains("1 damaged: "), "{detail}");
    let (status, detail) = prefixes(&["--cache-dir", "none"]);
    assert_eq!((status.as_str(), detail.as_str()), ("ok", "none are kept"));
    let file = kept.join("1-2.kv");
    assert_eq!(prefixes(&["--cache-dir", text(&file)]).0, "warn");
}
