//! Signals: the first drains, the second ends.

use std::io::{BufRead, BufReader, Read};
use std::time::Instant;

use serde_json::json;

use crate::support::{Server, tiny_folder};

#[test]
fn sigterm_lets_a_running_answer_finish_and_exits_with_0() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &[]);
    let body = json!({ "prompt": "hi", "max_tokens": 400, "stream": true, "temperature": 0 });
    let mut reader = BufReader::new(server.open("/api/generate", &body));
    let mut first = String::new();
    reader.read_line(&mut first).expect("a first event");
    server.signal("TERM");
    let mut rest = String::new();
    reader
        .read_to_string(&mut rest)
        .expect("the rest of the answer");
    assert!(
        rest.ends_with("data: [DONE]\n\n"),
        "cut: …{}",
        &rest[rest.len().saturating_sub(80)..]
    );
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_second_signal_ends_at_once_with_a_last_word() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &["--ctx", "2048"]);
    let body = json!({
        "prompt": "hi", "max_tokens": 2000, "stream": true, "temperature": 0,
        "stream_format": "json",
    });
    let responses: Vec<_> = (0..8)
        .map(|_| server.open("/api/generate", &body))
        .collect();
    server.signal("TERM");
    server.signal("INT");
    let ended = Instant::now();
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(
        ended.elapsed().as_secs() < 10,
        "it took {:?}",
        ended.elapsed()
    );
    drop(responses);
}

#[test]
fn an_idle_server_ends_at_once_on_either_signal() {
    let (folder, model) = tiny_folder();
    for signal in ["TERM", "INT"] {
        let server = Server::with_model(folder.path(), &model, &[]);
        assert_eq!(server.get("/health").0, 200);
        server.signal(signal);
        assert_eq!(server.wait().0.code(), Some(0));
    }
}

#[test]
fn a_signal_during_the_load_ends_the_server_with_0() {
    let (folder, model) = tiny_folder();
    for _ in 0..8 {
        let server = Server::with_model(folder.path(), &model, &[]);
        server.signal("TERM");
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{status}: {log}");
    }
}
