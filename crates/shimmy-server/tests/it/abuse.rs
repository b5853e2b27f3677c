//! What is sent to do harm and has no other file: settings of the server's own in a template's
//! variables, masses of keys and lines, paths that nearly are routes, names that are paths.

use std::fmt::Write as _;

use reqwest::StatusCode;
use serde_json::{Value, json};
use shimmy_server::Secret;

use crate::support::{Setup, TestServer, chat, with};

const CHAT: &str = "/v1/chat/completions";

/// As many as are read without optimisation before anybody falls asleep.
const MASSES: usize = 100_000;

/// As many keys as are read at all, but for a few.
const MOST_KEYS: usize = 49_900;

#[tokio::test]
async fn variables_that_the_server_sets_cannot_be_set_by_a_request() {
    let setup = Setup {
        template: Some("{{ tone }}{{ messages[0].content }}"),
        ..Setup::default()
    };
    let server = setup.start().await;
    let messages = json!([{ "role": "user", "content": "hi" }]);
    for name in [
        "messages",
        "tools",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
        "raise_exception",
        "strftime_now",
        "namespace",
        "range",
        "dict",
    ] {
        for (path, base) in [
            (CHAT, json!({ "messages": messages })),
            ("/v1/responses", json!({ "input": "hi" })),
            ("/apply-template", json!({ "messages": messages })),
        ] {
            let body = with(base, json!({ "chat_template_kwargs": { name: "forged" } }));
            let (status, error) = server.post_json(path, &body).await;
            assert_eq!(status, 400, "{path} {name}: {error}");
            let message = error["error"]["message"].as_str().unwrap();
            assert!(message.contains(name), "{path} {name}: {error}");
        }
    }
    let body = json!({ "messages": messages, "chat_template_kwargs": { "tone": "gently: " } });
    let (_, answer) = server.post_json("/apply-template", &body).await;
    assert_eq!(
        answer,
        json!({ "prompt": "gently: hi" }),
        "other names reach the template"
    );
}

/// An object of so many keys, as text.
fn keys(count: usize) -> String {
    let mut object = String::from("{");
    for key in 0..count {
        let comma = if key == 0 { "" } else { "," };
        let _ = write!(object, "{comma}\"k{key}\":{{}}");
    }
    object.push('}');
    object
}

async fn post_text(server: &TestServer, path: &str, body: String) -> (StatusCode, Value) {
    let request = server.client.post(server.url(path)).body(body);
    let answer = request
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn masses_of_keys_are_refused_where_they_would_be_used() {
    let server = Setup::default().start().await;
    let masses = keys(MOST_KEYS);
    let messages = r#""messages":[{"role":"user","content":"hi"}]"#;
    for fields in [
        format!(
            r#""tools":[{{"function":{{"name":"f","parameters":{{"properties":{masses}}}}}}}]"#
        ),
        format!(
            r#""response_format":{{"type":"json_schema","json_schema":{{"schema":{{"properties":{masses}}}}}}}"#
        ),
        format!(r#""logit_bias":{masses}"#),
    ] {
        let (status, error) = post_text(&server, CHAT, format!("{{{messages},{fields}}}")).await;
        assert_eq!(status, 400, "{:.80}", error.to_string());
        assert!(
            error.to_string().len() < 2000,
            "the answer repeats what was sent"
        );
    }
    assert_eq!(server.get("/health").await.status(), 200);
}

#[tokio::test]
async fn more_keys_than_anybody_needs_are_not_read_at_all() {
    let server = Setup::default().start().await;
    let masses = keys(MASSES);
    for (path, field) in [
        (CHAT, "tools"),
        (CHAT, "nobody_reads_this"),
        ("/v1/messages", "tools"),
        ("/v1/responses", "metadata"),
        ("/api/chat", "options"),
        ("/completion", "json_schema"),
    ] {
        let body = format!("{{\"{field}\":[{masses}]}}");
        let (status, error) = post_text(&server, path, body).await;
        assert_eq!(status, 400, "{path} {field}");
        let text = error.to_string();
        assert!(
            text.contains("more than 50000 keys"),
            "{path} {field}: {text:.200}"
        );
    }
}

#[tokio::test]
async fn masses_of_line_breaks_are_too_long_a_prompt_and_no_harm() {
    let server = Setup::default().start().await;
    let breaks = "\n".repeat(10 * MASSES);
    for (path, body) in [
        (CHAT, chat(&breaks)),
        ("/v1/completions", json!({ "prompt": breaks })),
        (
            "/v1/messages",
            json!({ "max_tokens": 1, "messages": [{ "role": "user", "content": breaks }] }),
        ),
        ("/v1/responses", json!({ "input": breaks })),
    ] {
        let (status, error) = server.post_json(path, &body).await;
        assert!([400, 413].contains(&status), "{path}: {error}");
        assert!(error.to_string().len() < 2000, "{path}");
    }
    assert_eq!(server.get("/health").await.status(), 200);
}

#[tokio::test]
async fn nothing_is_a_prompt_in_no_dialect() {
    let server = Setup::default().start().await;
    for (path, body) in [
        (CHAT, json!({ "messages": [] })),
        ("/v1/completions", json!({ "prompt": [] })),
        ("/v1/messages", json!({ "max_tokens": 1, "messages": [] })),
        ("/v1/responses", json!({ "input": [] })),
        ("/apply-template", json!({ "messages": [] })),
        ("/api/generate", json!({})),
    ] {
        let (status, error) = server.post_json(path, &body).await;
        assert_eq!(status, 400, "{path}: {error}");
    }
}

#[tokio::test]
async fn a_path_that_nearly_is_a_route_is_none() {
    let near = [
        "//v1/models",
        "/V1/models",
        "/v1/models/",
        "/v1/%2e%2e/v1/models",
        "/v1//models",
        "/v1/models%00",
        "/%76%31/models",
        "/health/../v1/models",
        "/health/%2e%2e/v1/models",
        "/docs/..%2fv1/models",
    ];
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let open = Setup::default().start().await;
    let mut setup = Setup::default();
    setup.server.api_keys = vec![Secret::new("sk-right").unwrap()];
    let guarded = setup.start().await;
    for path in near {
        let answer = open.raw(get(path).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer:.60}");
        let answer = guarded.raw(get(path).as_bytes()).await;
        let refused = ["401", "404"].map(|code| format!("HTTP/1.1 {code}"));
        let is_refused = refused.iter().any(|start| answer.starts_with(start));
        assert!(is_refused, "{path}: {answer:.60}");
    }
}

#[tokio::test]
async fn a_models_name_is_never_a_path() {
    let server = Setup::default().start().await;
    let long = "x".repeat(10_000);
    let names = [
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\",
        "C:\\Windows\\win.ini",
        "\\\\host\\share",
        "a\0b",
        "-flag",
        "--help",
        "file:///etc/passwd",
        "a\u{202e}b",
        "a\u{1b}[2Jb",
        "a\r\nb",
        &long,
    ];
    for name in names {
        for (path, body) in [
            (CHAT, chat("x")),
            ("/v1/completions", json!({ "prompt": "x" })),
            ("/v1/embeddings", json!({ "input": "x" })),
            ("/v1/messages", with(chat("x"), json!({ "max_tokens": 1 }))),
            ("/v1/responses", json!({ "input": "x" })),
            ("/api/chat", chat("x")),
            ("/api/show", json!({})),
            ("/api/generate", json!({ "prompt": "x" })),
            ("/completion", json!({ "prompt": "x" })),
        ] {
            let body = with(body, json!({ "model": name }));
            let answer = server.post(path, &body).await;
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert!(
                [400, 404].contains(&status.as_u16()),
                "{path} {name:.20}: {status} {text:.200}"
            );
            assert!(
                text.len() < 2000 && !text.contains("root:"),
                "{path} {name:.20}"
            );
        }
    }
}

#[tokio::test]
async fn a_bare_line_feed_ends_no_chunk_and_smuggles_nothing() {
    let server = Setup::default().start().await;
    let post =
        "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2;a\nb\r\n{}\r\n0\r\n\r\n",
        "-1\r\n\r\n",
    ] {
        let answer = server.raw(format!("{post}{body}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{body:?}: {answer:.80}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{body:?}: {answer}");
    }
    // Within a header's value it is no way to a second header.
    for value in ["a\nX-Api-Key: b", "a\rb", "a\0b"] {
        let request =
            format!("GET /v1/models HTTP/1.1\r\nHost: {value}\r\nConnection: close\r\n\r\n");
        let answer = server.raw(request.as_bytes()).await;
        assert!(
            !answer.starts_with("HTTP/1.1 200"),
            "{value:?}: {answer:.80}"
        );
    }
}
