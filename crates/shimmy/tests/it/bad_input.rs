//! Bad input of every kind: an error that names the cause, and a server that goes on serving.

use std::path::Path;

use serde_json::{Value, json};
use shimmy_testkit::{broken, tiny};

use crate::support::{Server, run, text, tiny_folder};

fn generate(folder: &Path, model: &Path, more: &[&str]) -> crate::support::Outcome {
    let args = [
        "generate",
        "-n",
        "4",
        "--prompt",
        "hi",
        "--model-path",
        text(model),
    ];
    run(
        folder,
        &args.iter().chain(more).copied().collect::<Vec<_>>(),
    )
}

/// The command must fail with words about the cause, and without a crash.
fn expect_failure(outcome: &crate::support::Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
    for word in words {
        assert!(
            outcome.stderr.contains(word),
            "no {word:?} in {}",
            outcome.stderr
        );
    }
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
}

#[test]
fn a_missing_model_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = generate(folder.path(), &folder.path().join("nowhere.gguf"), &[]);
    expect_failure(&outcome, 1, &["nowhere.gguf"]);
}

#[test]
fn a_file_that_is_no_gguf_and_a_truncated_one() {
    let (folder, model) = tiny_folder();
    let whole = std::fs::read(&model).expect("read");
    let cases: [(&str, Vec<u8>); 3] = [
        ("text.gguf", broken::not_gguf()),
        ("header.gguf", whole[..200].to_vec()),
        ("tensors.gguf", whole[..whole.len() / 2].to_vec()),
    ];
    for (name, bytes) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        expect_failure(&generate(folder.path(), &path, &[]), 1, &[name]);
    }
}

#[test]
#[cfg_attr(
    not(feature = "llama"),
    ignore = "a model in several files needs llama.cpp"
)]
fn a_missing_shard_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let shards = tiny::Model::new()
        .write_shards(folder.path(), "split", 3)
        .expect("written");
    assert_eq!(generate(folder.path(), &shards[0], &[]).code, Some(0));
    std::fs::remove_file(&shards[1]).expect("removed");
    let outcome = generate(folder.path(), &shards[0], &[]);
    expect_failure(
        &outcome,
        1,
        &["split-00002-of-00003.gguf", "hint: download that part"],
    );
}

#[test]
fn an_adapter_of_another_model_and_one_that_is_none() {
    let (folder, model) = tiny_folder();
    let foreign = folder.path().join("foreign.gguf");
    tiny::Adapter::for_other_model()
        .write(&foreign)
        .expect("written");
    expect_failure(
        &generate(folder.path(), &model, &["--lora", text(&foreign)]),
        1,
        &["foreign.gguf", "hint: an adapter only fits"],
    );
    expect_failure(
        &generate(folder.path(), &model, &["--lora", text(&model)]),
        1,
        &["adapter", "hint: the model itself goes to --model-path"],
    );
    let adapter = folder.path().join("adapter.gguf");
    tiny::Adapter::new().write(&adapter).expect("written");
    expect_failure(
        &generate(folder.path(), &adapter, &[]),
        1,
        &["adapter", "hint: give it as --lora"],
    );
    expect_failure(
        &generate(folder.path(), &model, &["--lora", "none.gguf"]),
        1,
        &["none.gguf does not exist", "hint: --lora names the file"],
    );
}

#[test]
fn a_hint_names_show_only_where_that_knows_the_model() {
    let (folder, _) = tiny_folder();
    let whole = std::fs::read(folder.path().join("tiny.gguf")).expect("read");
    let short = &whole[..whole.len() / 2];
    std::fs::write(folder.path().join("short.gguf"), short).expect("written");
    std::fs::write(folder.path().join("zero.gguf"), [0; 64]).expect("written");
    for name in ["zero", "short"] {
        let dirs = ["--model-dirs", text(folder.path())];
        let probed = run(folder.path(), &[&["probe", name], &dirs[..]].concat());
        assert_eq!(probed.code, Some(2), "{probed:?}");
        let shown = run(folder.path(), &[&["show", name], &dirs[..]].concat());
        let is_known = shown.code == Some(0);
        let is_named = probed.stderr.contains(&format!("`shimmy show {name}`"));
        assert_eq!(is_named, is_known, "{probed:?} {shown:?}");
        assert!(probed.stderr.contains("hint: "), "{probed:?}");
    }
}

#[test]
fn a_shape_that_cannot_be_used_is_called_what_was_typed() {
    let (folder, model) = tiny_folder();
    let file = folder.path().join("shape");
    for (flag, shape) in [
        ("--schema", "{\"type\": \"nothing\"}"),
        ("--grammar", "start: missing"),
    ] {
        std::fs::write(&file, shape).expect("written");
        let outcome = generate(folder.path(), &model, &[flag, text(&file)]);
        expect_failure(&outcome, 2, &[&format!("error: `{flag}` cannot be used")]);
    }
}

#[test]
fn a_negative_number_is_the_flags_value() {
    let (folder, model) = tiny_folder();
    let with = |more: &[&str]| {
        let args = ["generate", "--prompt", "hi", "--model-path", text(&model)];
        run(folder.path(), &[&args[..], more].concat())
    };
    // As many tokens as the context leaves.
    let answer = with(&["-n", "-1", "--seed", "-1", "--ctx", "32", "--json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    for (flag, words) in [
        ("--seed", "or -1 for any"),
        ("--top-k", "invalid value '-2' for '--top-k <K>'"),
        ("--temperature", "between 0 and 100, got -2"),
    ] {
        let outcome = with(&["-n", "1", flag, "-2"]);
        expect_failure(&outcome, 2, &[words]);
        assert!(!outcome.stderr.contains("-- -2"), "{}", outcome.stderr);
    }
    expect_failure(&with(&["-n", "-2"]), 2, &["or -1 for no limit"]);
}

#[test]
fn an_unknown_name_gets_the_closest_ones() {
    let (folder, _) = tiny_folder();
    let args = [
        "generate",
        "tinny",
        "--prompt",
        "x",
        "--model-dirs",
        text(folder.path()),
    ];
    let outcome = run(folder.path(), &args);
    expect_failure(
        &outcome,
        1,
        &["model 'tinny' not found", "hint: did you mean tiny?"],
    );
}

#[test]
fn wrong_arguments_exit_with_2() {
    let (folder, model) = tiny_folder();
    assert_eq!(
        generate(folder.path(), &model, &["--max-tokens", "0"]).code,
        Some(2)
    );
    assert_eq!(
        generate(folder.path(), &model, &["--nonsense"]).code,
        Some(2)
    );
    let outcome = generate(folder.path(), &model, &["-t", "500"]);
    expect_failure(&outcome, 2, &["`--temperature`", "500"]);
    let outcome = run(folder.path(), &["serve", "--lora", "a.gguf"]);
    expect_failure(&outcome, 2, &["needs its base model", "--model-path"]);
    let outcome = run(folder.path(), &["serve", "--bind", "0.0.0.0:0"]);
    expect_failure(&outcome, 2, &["no token is set", "SHIMMY_API_KEY"]);
    let outcome = run(folder.path(), &["serve", "--bind", "nonsense"]);
    expect_failure(&outcome, 2, &["nonsense", "HOST:PORT"]);
}

#[test]
fn a_prompt_over_the_context_names_both_numbers() {
    let (folder, model) = tiny_folder();
    let long = "word ".repeat(400);
    let args = [
        "generate",
        "--raw",
        "--ctx",
        "256",
        "--prompt",
        &long,
        "--model-path",
    ];
    let outcome = run(
        folder.path(),
        &args.into_iter().chain([text(&model)]).collect::<Vec<_>>(),
    );
    let hint = "hint: --ctx 2048 makes room";
    expect_failure(&outcome, 1, &["1600 tokens", "holds 256", hint]);
}

/// Every bad request in turn, then a good one, on one server.
#[test]
fn a_server_answers_every_bad_request_and_goes_on_serving() {
    let (folder, model) = tiny_folder();
    std::fs::write(folder.path().join("broken.gguf"), broken::not_gguf()).expect("written");
    let shards = tiny::Model::new()
        .write_shards(folder.path(), "split", 3)
        .expect("written");
    std::fs::remove_file(&shards[2]).expect("removed");
    let dirs = text(folder.path());
    let server = Server::with_model(
        folder.path(),
        &model,
        &["--model-dirs", dirs, "--ctx", "512"],
    );
    let long = "word ".repeat(400);
    let cases: [(Value, u16, &[&str]); 8] = [
        (
            json!({ "model": "nothing-like-it", "prompt": "x" }),
            404,
            &["nothing-like-it"],
        ),
        (
            json!({ "model": "split", "prompt": "x" }),
            502,
            &["split-00003-of-00003.gguf"],
        ),
        (
            json!({ "prompt": "x", "max_tokens": -1 }),
            400,
            &["max_tokens"],
        ),
        (
            json!({ "prompt": "x", "temperature": "hot" }),
            400,
            &["temperature"],
        ),
        (json!({ "prompt": 3 }), 400, &["prompt"]),
        (json!({}), 400, &["prompt"]),
        (
            json!({ "prompt": long, "raw": true }),
            400,
            &["1600", "512"],
        ),
        (
            json!({ "prompt": "x", "lora": [{ "id": 5, "scale": 1.0 }] }),
            400,
            &["lora"],
        ),
    ];
    for (body, status, words) in cases {
        let (got, answer) = server.post("/api/generate", &body);
        let shown = answer.to_string();
        assert_eq!(got, status, "{body}: {shown}");
        assert!(
            words.iter().all(|word| shown.contains(word)),
            "{body}: {shown}"
        );
        let good = json!({ "prompt": "hi", "max_tokens": 2, "temperature": 0 });
        assert!(!server.generate(&good).is_empty());
    }
    let malformed = reqwest::blocking::Client::new()
        .post(server.url("/api/generate"))
        .header("content-type", "application/json")
        .body("{\"prompt\": ")
        .send()
        .expect("an answer");
    assert_eq!(malformed.status(), 400);
}
