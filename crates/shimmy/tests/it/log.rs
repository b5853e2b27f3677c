//! What the log tells, and what it must not: no words of a conversation, no secrets, and no line
//! that a client wrote.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::{Server, shimmy};

/// What clients say: in prompts, tools, answers, names of fields.
const PRIVATE: &str = "a-private-word";
/// Tokens, right and wrong.
const KEY: &str = "sk-the-right-secret";
const WRONG: &str = "sk-some-other-secret";
/// Ends a line, clears a screen, colours it, turns letters around; and what a line of ours looks like.
const HOSTILE: &str =
    "x\r\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J\u{1b}[31m\u{202e}\u{2066}\u{7f}\u{9b}31m";

fn post(server: &Server, path: &str, key: &str, body: String) -> u16 {
    let client = reqwest::blocking::Client::builder().no_proxy().build();
    let request = client
        .expect("a client")
        .post(server.url(path))
        .bearer_auth(key)
        .header("x-request-id", PRIVATE)
        .header("content-type", "application/json")
        .body(body);
    request.send().expect("an answer").status().as_u16()
}

fn bodies() -> Vec<(&'static str, Value)> {
    let messages = json!([{ "role": "user", "content": PRIVATE }]);
    let tool =
        json!([{ "type": "function", "function": { "name": PRIVATE, "description": PRIVATE } }]);
    vec![
        (
            "/v1/chat/completions",
            json!({ "messages": messages, "tools": tool, "user": PRIVATE }),
        ),
        (
            "/v1/chat/completions",
            json!({ "messages": messages, "stream": true }),
        ),
        ("/v1/completions", json!({ "prompt": PRIVATE })),
        (
            "/v1/responses",
            json!({ "input": PRIVATE, "metadata": { PRIVATE: PRIVATE } }),
        ),
        (
            "/v1/messages",
            json!({ "messages": messages, "system": PRIVATE, "max_tokens": 9 }),
        ),
        ("/v1/embeddings", json!({ "input": PRIVATE })),
        ("/api/chat", json!({ "messages": messages })),
        (
            "/api/generate",
            json!({ "prompt": PRIVATE, "system": PRIVATE }),
        ),
        ("/completion", json!({ "prompt": PRIVATE })),
        ("/tokenize", json!({ "content": PRIVATE })),
        ("/apply-template", json!({ "messages": messages })),
        // What is refused is repeated to its sender, and to nobody else.
        (
            "/v1/chat/completions",
            json!({ "messages": [{ "role": PRIVATE, "content": PRIVATE }] }),
        ),
        ("/v1/chat/completions", json!({ "messages": PRIVATE })),
        (
            "/v1/chat/completions",
            json!({ "messages": messages, "logit_bias": { PRIVATE: 1 } }),
        ),
        (
            "/v1/chat/completions",
            json!({ "messages": messages, "tools": [{ "type": "odd" }] }),
        ),
        (
            "/v1/responses",
            json!({ "input": PRIVATE, "tools": [{ "type": "odd" }] }),
        ),
        (
            "/v1/responses",
            json!({ "input": PRIVATE, "previous_response_id": PRIVATE }),
        ),
        (
            "/api/generate",
            json!({ "prompt": PRIVATE, "grammar": PRIVATE }),
        ),
        (
            "/api/generate",
            json!({ "prompt": PRIVATE, "format": { "type": PRIVATE } }),
        ),
        (
            "/v1/chat/completions",
            json!({ "messages": messages, "chat_template_kwargs": { "tools": PRIVATE } }),
        ),
    ]
}

/// Everything that a server logs, asked for all it can, by clients good and bad.
fn log() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = shimmy(folder.path());
    command.env("SHIMMY_API_KEY", KEY).args([
        "-vv",
        "serve",
        "--bind",
        "127.0.0.1:0",
        "--ollama",
        "127.0.0.1:0",
    ]);
    let server = Server::launch(command);
    // A file's name is told in a sentence, as it is written: only the log's writer escapes it.
    let models = folder.path().join("models");
    std::fs::create_dir(&models).expect("a folder");
    std::fs::write(models.join(format!("{HOSTILE}.gguf")), "no model").expect("a file");
    post(&server, "/api/models/discover", KEY, "{}".to_owned());
    for (path, body) in bodies() {
        for key in [KEY, WRONG] {
            post(&server, path, key, body.to_string());
        }
        post(&server, path, KEY, format!("{{\"{PRIVATE}"));
        for field in [
            "model",
            "lora_name",
            "stop",
            "user",
            "name",
            "keep_alive",
            "format",
        ] {
            let mut body = body.clone();
            body[field] = json!(HOSTILE);
            assert_ne!(
                post(&server, path, KEY, body.to_string()),
                500,
                "{path} {field}"
            );
        }
    }
    for path in [
        "/v1/models/x%0d%0aforged",
        "/%1b[2J%0aforged",
        "/api/models/%0aforged/load",
    ] {
        post(&server, path, KEY, "{}".to_owned());
        post(&server, path, WRONG, "{}".to_owned());
    }
    for body in [
        json!({ "model": HOSTILE }),
        json!({ "model": "x", "from": HOSTILE, "system": PRIVATE }),
        json!({ "source": HOSTILE, "destination": HOSTILE }),
        json!({ "lora_name": HOSTILE, "lora_path": HOSTILE }),
    ] {
        for path in [
            "/api/pull",
            "/api/create",
            "/api/copy",
            "/v1/load_lora_adapter",
        ] {
            post(&server, path, KEY, body.to_string());
        }
    }
    websocket(&server);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    log
}

fn websocket(server: &Server) {
    let url = server.url("/ws/generate").replace("http", "ws");
    let request = tungstenite::ClientRequestBuilder::new(url.parse().expect("a URL"))
        .with_header("Authorization", format!("Bearer {KEY}"));
    let (mut socket, _) = tungstenite::connect(request).expect("a connection");
    for body in [
        json!({ "prompt": PRIVATE }),
        json!({ "prompt": 7, PRIVATE: HOSTILE }),
    ] {
        socket.send(Message::text(body.to_string())).expect("sent");
        loop {
            let frame = socket.read().expect("a frame").into_text().expect("a text");
            if frame.contains("\"done\":true") || frame.contains("\"error\"") {
                break;
            }
        }
    }
}

#[test]
fn no_secret_no_prompt_and_no_forged_line_is_in_the_log() {
    let log = log();
    assert!(
        log.contains("answered"),
        "it is asked for all that it can say: {log}"
    );
    let told = log.lines().find(|line| line.contains(r"x\r\n2026-01-01"));
    assert!(told.is_some(), "the file with the hostile name: {log}");
    for secret in [PRIVATE, KEY, WRONG] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    let is_hidden = |letter: char| {
        letter != '\n'
            && (letter.is_control()
                || ('\u{2028}'..='\u{202e}').contains(&letter)
                || ('\u{2066}'..='\u{2069}').contains(&letter))
    };
    for line in log.lines() {
        assert!(!line.chars().any(is_hidden), "{line:?}");
        // A line that begins like ours is one of ours.
        let is_forged = line.starts_with("2026-01-01T00:00:00Z") || line.starts_with("forged");
        assert!(!is_forged, "{line:?}");
    }
}
