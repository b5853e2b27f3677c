//! Models fetched, shown, named and removed by the commands.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use shimmy_testkit::hub::{COMMIT, FakeHub};
use shimmy_testkit::sha256::sha256;
use shimmy_testkit::tiny;

use crate::support::{Outcome, run, run_command, shimmy};

fn hub() -> (FakeHub, Vec<u8>) {
    let hub = FakeHub::start().expect("a hub");
    let content = tiny::Model::new().to_bytes();
    hub.add("Owner/Tiny-GGUF", "Tiny-Q4_K_M.gguf", content.clone());
    (hub, content)
}

fn command(folder: &Path, hub: &FakeHub, args: &[&str]) -> Command {
    let mut command = shimmy(folder);
    command.env("HF_ENDPOINT", hub.url()).args(args);
    command
}

fn run_with(folder: &Path, hub: &FakeHub, args: &[&str]) -> Outcome {
    run_command(command(folder, hub, args))
}

#[test]
fn a_pulled_model_is_shown_named_and_removed() {
    let (hub, content) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let plan = run_with(here, &hub, &["pull", "Owner/Tiny-GGUF", "--dry-run"]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
    assert!(
        plan.stdout.starts_with("Owner/Tiny-GGUF:Q4_K_M: "),
        "{}",
        plan.stdout
    );
    assert!(!here.join(".cache/huggingface").exists());

    let pulled = run_with(here, &hub, &["pull", "Owner/Tiny-GGUF"]);
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
    assert_eq!(
        pulled.stdout,
        "Owner/Tiny-GGUF:Q4_K_M is here as tiny-q4-k-m\n"
    );
    let digest = sha256(&content);
    assert!(
        pulled
            .stderr
            .contains(&format!("sha256 {digest}, verified")),
        "{pulled:?}"
    );
    assert!(!pulled.stderr.contains('\r'), "no bar without a terminal");
    let link = format!(
        ".cache/huggingface/hub/models--Owner--Tiny-GGUF/snapshots/{COMMIT}/Tiny-Q4_K_M.gguf"
    );
    assert_eq!(std::fs::read(here.join(&link)).expect("a file"), content);

    let shown = run(here, &["show", "owner/tiny-gguf", "--json"]);
    let facts: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(facts["name"], "tiny-q4-k-m", "{shown:?}");
    assert_eq!(facts["repository"], "Owner/Tiny-GGUF");
    assert_eq!(facts["digest"], format!("sha256:{digest}"));
    assert!(facts["chat_template"].is_string());
    let shown = run(here, &["show", "tiny"]);
    assert!(
        shown.stdout.contains("repository     Owner/Tiny-GGUF"),
        "{}",
        shown.stdout
    );

    let named = run(here, &["cp", "tiny-q4-k-m", "gpt-4o"]);
    assert_eq!(named.code, Some(0), "{named:?}");
    let listed = run(here, &["list"]);
    assert!(listed.stdout.contains("gpt-4o"), "{}", listed.stdout);
    assert_eq!(run(here, &["show", "gpt-4o"]).code, Some(0));
    assert_eq!(run(here, &["cp", "tiny", "-x"]).code, Some(2));
    assert_eq!(run(here, &["cp", "tiny", "tiny-q4-k-m"]).code, Some(2));

    let part = run(here, &["rm", "tiny"]);
    assert_eq!(part.code, Some(1));
    assert!(
        part.stderr.contains("hint: did you mean tiny-q4-k-m?"),
        "{}",
        part.stderr
    );
    let name = run(here, &["rm", "gpt-4o"]);
    assert!(name.stdout.contains("only a name"), "{name:?}");
    assert!(here.join(&link).exists());
    let would = run(here, &["rm", "tiny-q4-k-m", "--dry-run"]);
    assert!(would.stdout.starts_with("would remove"), "{would:?}");
    assert!(here.join(&link).exists());
    let removed = run(here, &["rm", "tiny-q4-k-m"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert!(!here.join(&link).exists());
}

#[test]
fn a_name_goes_alone_however_it_is_written_and_a_model_not_before_its_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let file = here.join("models/tiny.gguf");
    std::fs::create_dir(here.join("models")).expect("a folder");
    tiny::Model::new().write(&file).expect("a model");
    assert_eq!(run(here, &["cp", "tiny", "My_Alias"]).code, Some(0));
    let refused = run(here, &["rm", "tiny"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("tiny is My_Alias too"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("shimmy rm My_Alias"), "{refused:?}");
    let name = run(here, &["rm", "my-alias"]);
    assert!(name.stdout.contains("only a name"), "{name:?}");
    assert!(file.exists());
    assert!(!run(here, &["list"]).stdout.contains("My_Alias"));

    // Together they may go, in any order.
    assert_eq!(run(here, &["cp", "tiny", "My_Alias"]).code, Some(0));
    let both = run(here, &["rm", "tiny", "MY-ALIAS"]);
    assert_eq!(both.code, Some(0), "{both:?}");
    assert!(
        both.stdout.contains("removed MY-ALIAS (only a name)"),
        "{both:?}"
    );
    assert!(!file.exists());
    assert_eq!(run(here, &["rm", "My_Alias"]).code, Some(1));
}

#[test]
fn progress_for_programs_is_one_object_a_line() {
    let (hub, content) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = run_with(
        folder.path(),
        &hub,
        &["pull", "Owner/Tiny-GGUF:q4_k_m", "--json"],
    );
    let events: Vec<Value> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let names: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(names.first(), Some(&"planned"));
    assert_eq!(names.last(), Some(&"done"));
    let finished = &events[events.len() - 2];
    assert_eq!(finished["sha256"], sha256(&content));
    assert_eq!(events[events.len() - 1]["name"], "tiny-q4-k-m");
}

#[test]
fn a_killed_pull_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hub, content) = hub();
    for tenth in [1, 4, 7] {
        let already = hub.sent();
        let budget = content.len() / 10 * tenth - already.min(content.len() / 10 * tenth);
        hub.behave(|hub| (hub.budget, hub.stalls) = (Some(budget), true));
        let mut child = command(folder.path(), &hub, &["pull", "Owner/Tiny-GGUF"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        hub.wait_until_sent(already + budget);
        // On Unix this is SIGKILL.
        child.kill().expect("killed");
        child.wait().expect("an end");
        let listed = run(folder.path(), &["list", "--json"]);
        assert!(!listed.stdout.contains("tiny-q4"), "{}", listed.stdout);
    }
    hub.behave(|hub| hub.budget = None);
    let outcome = run_with(folder.path(), &hub, &["pull", "Owner/Tiny-GGUF"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("verified"), "{outcome:?}");
}

#[test]
fn errors_of_pulls_say_what_to_do() {
    let (hub, _) = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let says = |reference: &str, code: i32, parts: &[&str]| {
        let outcome = run_with(folder.path(), &hub, &["pull", reference]);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        for part in parts {
            assert!(
                outcome.stderr.contains(part),
                "{reference}: {}",
                outcome.stderr
            );
        }
    };
    says(
        "lama3.2:1b",
        2,
        &[
            "the closest are llama3.2:1b",
            "hint: `shimmy pull --catalogue`",
        ],
    );
    says("../x", 2, &["names no model"]);
    says(
        "Owner/None",
        1,
        &["has no repository Owner/None", "hint: check the name"],
    );
    says(
        "Owner/Tiny-GGUF:Q2_K",
        1,
        &[
            "there is no Q2_K; there are Q4_K_M",
            "hint: shimmy pull Owner/Tiny-GGUF:Q4_K_M",
        ],
    );
    hub.behave(|hub| hub.token = Some("secret".to_owned()));
    says(
        "Owner/Tiny-GGUF",
        1,
        &["without a token", "hint: set HF_TOKEN"],
    );
    let mut with_token = command(folder.path(), &hub, &["pull", "Owner/Tiny-GGUF"]);
    let outcome = with_token
        .env("HF_TOKEN", "secret")
        .output()
        .expect("an end");
    assert!(outcome.status.success());

    let nothing = run(folder.path(), &["show", "nothing-like-it"]);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.stderr.contains("hint: "), "{}", nothing.stderr);
}

#[test]
fn other_programs_models_are_theirs() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join(".lmstudio/models/p/m/theirs.gguf");
    std::fs::create_dir_all(model.parent().expect("a folder")).expect("made");
    tiny::Model::new().write(&model).expect("written");
    let outcome = run(folder.path(), &["rm", "theirs"]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("theirs belongs to LM Studio"),
        "{}",
        outcome.stderr
    );
    assert!(model.exists());
}
