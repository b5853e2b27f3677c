//! Settings from the environment, empty ones included, and the address to listen on.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use shimmy_testkit::tiny;

use crate::support::{Server, run, run_command, shimmy, text, tiny_folder};

/// A command with variables, run to its end: its exit code, output and errors.
fn run_with(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = shimmy(folder);
    command.args(args).envs(variables.iter().copied());
    let outcome = run_command(command);
    let code = outcome.code.expect("an exit code");
    (code, outcome.stdout, outcome.stderr)
}

fn serve(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = shimmy(folder);
    command
        .args(["serve", "--bind", "127.0.0.1:0"])
        .args(args)
        .envs(variables.iter().copied());
    command
}

/// The status of a request with this token.
fn status(server: &Server, token: Option<&str>) -> u16 {
    let request = reqwest::blocking::Client::new().get(server.url("/v1/models"));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().expect("an answer").status().as_u16()
}

fn port(server: &Server) -> u16 {
    let url = server.url("");
    let (_, port) = url.rsplit_once(':').expect("a port");
    port.parse().expect("a number")
}

#[test]
fn models_and_adapters_come_from_the_environment() {
    let (folder, model) = tiny_folder();
    let adapter = folder.path().join("adapter.gguf");
    tiny::Adapter::new().write(&adapter).expect("written");
    let ask = ["generate", "-t", "0", "-n", "24", "--prompt", "hello"];
    let by_flags = run(
        folder.path(),
        &[
            &ask[..],
            &["--model-path", text(&model), "--lora", text(&adapter)],
        ]
        .concat(),
    );
    let base = ("SHIMMY_BASE_GGUF", text(&model));
    let (code, plain, _) = run_with(folder.path(), &ask, &[base]);
    assert_eq!(code, 0);
    let lora = ("SHIMMY_LORA_GGUF", text(&adapter));
    let (_, adapted, _) = run_with(folder.path(), &ask, &[base, lora]);
    assert_eq!(adapted, by_flags.stdout);
    assert_ne!(adapted, plain);

    let elsewhere = tempfile::tempdir().expect("a folder");
    let paths = format!("{};/nowhere", text(folder.path()));
    let variable = ("SHIMMY_MODEL_PATHS", paths.as_str());
    let (code, listed, _) = run_with(elsewhere.path(), &["list"], &[variable]);
    assert_eq!(code, 0);
    assert!(listed.contains("\ntiny "), "{listed}");
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let (folder, model) = tiny_folder();
    let names = [
        "SHIMMY_LORA_GGUF",
        "SHIMMY_MODEL_PATHS",
        "SHIMMY_CTX",
        "SHIMMY_PARALLEL",
        "SHIMMY_THREADS",
        "SHIMMY_GPU_LAYERS",
        "SHIMMY_ENGINE",
        "SHIMMY_QUEUE",
        "SHIMMY_MEMORY_BUDGET",
        "SHIMMY_MAX_MODELS",
        "SHIMMY_MEMORY_WAIT",
        "SHIMMY_KEEP_ALIVE",
        "SHIMMY_PIN",
        "SHIMMY_DRAIN_TIMEOUT",
        "SHIMMY_BIND_ADDRESS",
        "SHIMMY_ALLOWED_HOSTS",
        "SHIMMY_CORS_ORIGIN",
        "SHIMMY_API_KEY_FILE",
    ];
    let empty = names.map(|name| (name, ""));
    let model = ["--model-path", text(&model)];
    let ask = ["generate", "-n", "2", "--prompt", "x"];
    let (code, _, errors) = run_with(folder.path(), &[&ask[..], &model].concat(), &empty);
    assert_eq!((code, errors.as_str()), (0, ""));
    let server = Server::launch(serve(folder.path(), &model, &empty));
    assert!(
        !server
            .generate(&json!({ "prompt": "x", "max_tokens": 2 }))
            .is_empty()
    );
    let (code, _, errors) = run_with(folder.path(), &ask, &[("SHIMMY_BASE_GGUF", "")]);
    assert_eq!(code, 1);
    assert!(errors.contains("no model is installed"), "{errors}");
}

#[test]
fn an_empty_key_is_refused() {
    let (folder, _) = tiny_folder();
    let (code, _, errors) = run_with(folder.path(), &["serve"], &[("SHIMMY_API_KEY", "")]);
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("hint: unset SHIMMY_API_KEY"), "{errors}");
}

/// Arguments, variables, and the key that must hold.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

#[test]
fn a_key_comes_from_the_environment_or_a_file() {
    let (folder, _) = tiny_folder();
    let file = folder.path().join("key");
    std::fs::write(&file, "from-the-file\n").expect("written");
    let file = text(&file);
    let by_variable = ("SHIMMY_API_KEY", "from-the-variable");
    let cases: [Case<'_>; 5] = [
        (&[], &[by_variable], "from-the-variable"),
        (&[], &[("SHIMMY_API_KEY_FILE", file)], "from-the-file"),
        (
            &[],
            &[("SHIMMY_API_KEY", ""), ("SHIMMY_API_KEY_FILE", file)],
            "from-the-file",
        ),
        (&["--api-key-file", file], &[by_variable], "from-the-file"),
        (
            &["--api-key", "from-the-flag"],
            &[("SHIMMY_API_KEY_FILE", file)],
            "from-the-flag",
        ),
    ];
    for (args, variables, key) in cases {
        let server = Server::launch(serve(folder.path(), args, variables));
        assert_eq!(status(&server, None), 401, "{args:?} {variables:?}");
        assert_eq!(status(&server, Some("another")), 401);
        assert_eq!(status(&server, Some(key)), 200, "{args:?} {variables:?}");
        assert_eq!(server.get("/health").0, 200, "health needs none");
    }
    let both = ["serve", "--api-key", "a", "--api-key-file", file];
    assert_eq!(run(folder.path(), &both).code, Some(2));
}

#[test]
fn each_of_several_keys_holds() {
    let (folder, _) = tiny_folder();
    let file = folder.path().join("keys");
    std::fs::write(&file, "one\r\ntwo\n").expect("written");
    for (name, value) in [
        ("SHIMMY_API_KEY", "one,two"),
        ("SHIMMY_API_KEY_FILE", text(&file)),
    ] {
        let server = Server::launch(serve(folder.path(), &[], &[(name, value)]));
        assert_eq!(status(&server, Some("one,two")), 401);
        assert_eq!(status(&server, Some("one")), 200, "{name}");
        assert_eq!(status(&server, Some("two")), 200, "{name}");
    }
    // A gap in the list would let requests without a key in.
    let (code, _, errors) = run_with(folder.path(), &["serve"], &[("SHIMMY_API_KEY", "one,")]);
    assert_eq!(code, 2, "{errors}");
}

#[test]
fn the_address_comes_from_the_environment_and_auto_finds_a_free_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = shimmy(folder.path());
    command
        .arg("serve")
        .env("SHIMMY_BIND_ADDRESS", "127.0.0.1:0");
    let server = Server::launch(command);
    // Not one of those that `auto` tries first; the system gives out higher ones.
    assert!(!(11435..=11535).contains(&port(&server)));

    let auto = || {
        let mut command = shimmy(folder.path());
        command.args(["serve", "--bind", "auto"]);
        Server::launch(command)
    };
    let (first, second) = (auto(), auto());
    assert_ne!(port(&first), port(&second));
    assert_eq!(first.get("/health").0, 200);
    assert_eq!(second.get("/health").0, 200);
}
