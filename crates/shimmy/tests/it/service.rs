//! `ps` and `stop`: a running server, or none.

use serde_json::{Value, json};

use crate::support::{Outcome, Server, run, run_command, shimmy};

/// A command about this server, with variables.
fn ask(server: &Server, args: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    let address = server.url("").replace("http://", "");
    let mut command = shimmy(folder.path());
    command
        .args(args)
        .env("SHIMMY_BIND_ADDRESS", address)
        .envs(variables.iter().copied());
    run_command(command)
}

#[test]
fn models_in_memory_are_listed_and_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    let none = ask(&server, &["ps"], &[]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
    assert!(
        none.stderr.contains("no model in memory"),
        "{}",
        none.stderr
    );

    server.generate(&json!({ "prompt": "hello" }));
    let table = ask(&server, &["ps"], &[]);
    assert!(table.stdout.starts_with("NAME"), "{table:?}");
    assert!(table.stdout.contains("\nstub "), "{table:?}");
    let listed = ask(&server, &["ps", "--json"], &[]);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    assert_eq!(listed["models"][0]["name"], "stub");
    assert_eq!(listed["server"]["url"], server.url(""));

    let stopped = ask(&server, &["stop", "stub"], &[]);
    assert_eq!(stopped.stdout, "stub is unloaded\n", "{stopped:?}");
    assert_eq!(server.get("/api/models/stub/status").1["loaded"], false);
    let again = ask(&server, &["stop", "stub", "--json"], &[]);
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(again["unloaded"], false);
    let unknown = ask(&server, &["stop", "no/such:one"], &[]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("has no model no/such:one"),
        "{unknown:?}"
    );
    assert!(unknown.stderr.contains("hint: "), "{unknown:?}");
}

#[test]
fn the_token_comes_from_the_same_settings_and_a_wrong_one_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &["--api-key", "right"]);
    let without = ask(&server, &["ps"], &[]);
    assert_eq!(without.code, Some(1));
    assert!(
        without.stderr.contains("hint: set SHIMMY_API_KEY"),
        "{without:?}"
    );
    let wrong = ask(&server, &["ps"], &[("SHIMMY_API_KEY", "wrong")]);
    assert_eq!(wrong.code, Some(1));
    assert!(!wrong.stderr.contains("wrong"), "{wrong:?}");
    let right = ask(&server, &["ps"], &[("SHIMMY_API_KEY", "right,other")]);
    assert_eq!(right.code, Some(0), "{right:?}");
}

#[test]
fn without_a_server_there_is_a_hint_and_another_program_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    let answering = std::thread::spawn(move || {
        use std::io::{Read, Write};
        // The connection that only knocks, and the one that asks.
        for _ in 0..2 {
            let (mut stream, _) = other.accept().expect("a connection");
            let mut asked = [0; 1024];
            let length = stream.read(&mut asked).expect("a request");
            assert!(!String::from_utf8_lossy(&asked[..length]).contains("secret"));
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
            // The one that only knocked has gone.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let args = ["ps", "--bind", &address, "--api-key", "secret"];
    let outcome = run(folder.path(), &args);
    answering.join().expect("nobody was told the token");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("no shimmy server answers"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("hint: start one"), "{outcome:?}");
}
