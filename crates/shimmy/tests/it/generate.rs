//! `shimmy generate` on a tiny model.

use serde_json::{Value, json};
use shimmy_testkit::tiny;

use crate::support::{run, run_with_input, text, tiny_folder};

const GREEDY: [&str; 5] = ["generate", "-t", "0", "-n", "24"];

fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    base.iter().chain(more).copied().collect()
}

#[test]
fn the_answer_is_the_same_from_an_argument_a_pipe_and_a_dash() {
    let (folder, model) = tiny_folder();
    let base = with(&GREEDY, &["--model-path", text(&model)]);
    let argument = run(folder.path(), &with(&base, &["--prompt", "hello ü"]));
    assert_eq!(argument.code, Some(0), "{argument:?}");
    assert!(!argument.stdout.is_empty());
    assert_eq!(argument.stderr, "");
    let pipe = run_with_input(folder.path(), &base, "hello ü");
    let dash = run_with_input(folder.path(), &with(&base, &["--prompt", "-"]), "hello ü");
    assert_eq!(pipe.stdout, argument.stdout);
    assert_eq!(dash.stdout, argument.stdout);
    let other = run(folder.path(), &with(&base, &["--prompt", "something else"]));
    assert_ne!(other.stdout, argument.stdout);
}

#[test]
fn the_only_model_needs_no_name_and_several_need_one() {
    let (folder, model) = tiny_folder();
    let dirs = ["--model-dirs", text(folder.path()), "--prompt", "hi"];
    assert_eq!(run(folder.path(), &with(&GREEDY, &dirs)).code, Some(0));
    tiny::Model::new()
        .seed(9)
        .write(&model.with_file_name("second.gguf"))
        .expect("written");
    let unnamed = run(folder.path(), &with(&GREEDY, &dirs));
    assert_eq!(unnamed.code, Some(1));
    assert!(
        unnamed.stderr.contains("hint: name one of second, tiny"),
        "{}",
        unnamed.stderr
    );
    let named = run(
        folder.path(),
        &with(&GREEDY, &with(&dirs, &["--name", "second"])),
    );
    let positional = run(
        folder.path(),
        &with(&GREEDY, &with(&dirs, &["SECOND.gguf"])),
    );
    assert_eq!(named.code, Some(0), "{named:?}");
    assert_eq!(named.stdout, positional.stdout);
}

#[test]
fn json_carries_the_text_and_the_counts() {
    let (folder, model) = tiny_folder();
    let args = with(
        &GREEDY,
        &["--model-path", text(&model), "--prompt", "hi", "--json"],
    );
    let outcome = run(folder.path(), &args);
    let answer: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(answer["usage"]["completion_tokens"], 24);
    assert_eq!(answer["finish_reason"], "length");
    assert_eq!(answer["model"], "tiny");
}

#[test]
fn a_schema_makes_even_random_weights_say_json() {
    let (folder, model) = tiny_folder();
    let schema = folder.path().join("schema.json");
    let wanted = json!({
        "type": "object",
        "properties": { "colour": { "enum": ["red", "green"] }, "round": { "type": "boolean" } },
        "required": ["colour", "round"],
        "additionalProperties": false,
    });
    std::fs::write(&schema, wanted.to_string()).expect("written");
    let model = [
        "--model-path",
        text(&model),
        "--prompt",
        "hi",
        "--schema",
        text(&schema),
    ];
    let outcome = run(folder.path(), &with(&["generate", "-n", "100"], &model));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let answer: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert!(answer["round"].is_boolean());
}

#[test]
fn an_adapter_changes_the_answer_by_its_scale() {
    let (folder, model) = tiny_folder();
    let adapter = folder.path().join("adapter.gguf");
    tiny::Adapter::new().write(&adapter).expect("written");
    let answer = |lora: Option<String>| {
        let mut args = with(
            &GREEDY,
            &["--model-path", text(&model), "--prompt", "hello"],
        );
        let lora = lora.map(|lora| ["--lora".to_owned(), lora]);
        args.extend(lora.iter().flatten().map(String::as_str));
        let outcome = run(folder.path(), &args);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome.stdout
    };
    let plain = answer(None);
    assert_ne!(answer(Some(text(&adapter).to_owned())), plain);
    assert_eq!(answer(Some(format!("{}=0", text(&adapter)))), plain);
}

#[test]
#[cfg_attr(
    not(feature = "llama"),
    ignore = "a model in several files needs llama.cpp"
)]
fn an_adapter_goes_with_the_model_that_is_named() {
    let (folder, model) = tiny_folder();
    let adapter = folder.path().join("adapter.gguf");
    tiny::Adapter::new().write(&adapter).expect("written");
    let shards = tiny::Model::new()
        .write_shards(folder.path(), "split", 3)
        .expect("written");
    let answer = |more: &[&str]| {
        let args = with(&GREEDY, &["--prompt", "hello"]);
        let outcome = run(folder.path(), &with(&args, more));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome.stdout
    };
    let lora = ["--lora", text(&adapter)];
    let plain = answer(&["--model-path", text(&model)]);
    let adapted = answer(&with(&["--model-path", text(&model)], &lora));
    assert_ne!(adapted, plain);
    let named = ["tiny", "--model-dirs", text(folder.path())];
    assert_eq!(answer(&with(&named, &lora)), adapted);
    // The tensors are the same; only the files are cut differently.
    let later = ["--model-path", text(&shards[1])];
    assert_eq!(answer(&later), plain);
    assert_eq!(answer(&with(&later, &lora)), adapted);
}

#[test]
fn the_same_seed_gives_the_same_text_and_another_another() {
    let (folder, model) = tiny_folder();
    let answer = |seed: &str| {
        let args = [
            "generate", "-n", "40", "-t", "1.5", "--top-k", "0", "--prompt", "hi", "--seed",
        ];
        let args = with(&args, &[seed, "--model-path", text(&model)]);
        run(folder.path(), &args).stdout
    };
    assert_eq!(answer("7"), answer("7"));
    assert_ne!(answer("7"), answer("8"));
}

#[test]
fn a_raw_prompt_rules_out_what_it_would_lose() {
    let (folder, model) = tiny_folder();
    let raw = ["--model-path", text(&model), "--prompt", "hi", "--raw"];
    let raw = with(&GREEDY, &raw);
    assert_eq!(run(folder.path(), &raw).code, Some(0));
    for lost in [
        &["--system", "Be brief."][..],
        &["--think", "off"],
        &["--system", "Be brief.", "--think", "low"],
    ] {
        for args in [
            with(&raw, lost),
            with(&["generate"], &with(lost, &raw[1..])),
        ] {
            let outcome = run(folder.path(), &args);
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            for part in [
                "--raw",
                lost[0],
                "hint: a raw prompt is all that the model reads",
            ] {
                assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
            }
        }
    }
}
