//! The client against a server that plays back what it is given.

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// Answers one request with these pieces, a write each, then closes or, if `holds`, keeps silent.
async fn server(pieces: Vec<String>, holds: bool) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = Client::new(listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !is_whole(&request) {
            stream.read_buf(&mut request).await.expect("a request");
        }
        for piece in pieces {
            stream.set_nodelay(true).expect("a socket");
            // A client that has left is what some of the tests are about.
            let _ = stream.write_all(piece.as_bytes()).await;
        }
        if holds {
            let _ = stream.read_buf(&mut request).await;
        }
        String::from_utf8(request).expect("text")
    });
    (client, task)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    length.is_some_and(|length| length.parse() == Ok(body.len()))
}

fn event(json: &str) -> String {
    format!("data: {json}\n\n")
}

fn text(content: &str) -> String {
    event(&json!({"choices": [{"delta": {"content": content}}]}).to_string())
}

const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";

#[tokio::test]
async fn a_stream_gives_its_text_its_moments_and_its_counts() {
    let pieces = vec![
        HEAD.to_owned(),
        event(r#"{"choices":[{"delta":{"role":"assistant","content":null}}],"usage":null}"#),
        text("Hel"),
        ": ping\n\n".to_owned(),
        text("lo \\ \u{fc}"),
        event(r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#),
        event(
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,
            "prompt_tokens_details":{"cached_tokens":4}}}"#,
        )
        .replace("\n            ", ""),
        "data: [DONE]\n\n".to_owned(),
    ];
    let (client, task) = server(pieces, false).await;
    let mut ask = Ask::user("Hello?", 3).after_system("Be kind.");
    ask.model = Some("one".to_owned());
    let answer = client.chat(&ask).await.expect("an answer");
    assert_eq!(answer.text, "Hello \\ \u{fc}");
    assert_eq!(answer.pieces.len(), 2);
    assert_eq!(answer.finish_reason.as_deref(), Some("length"));
    let usage = answer.usage().expect("usage");
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (9, 3));
    assert_eq!(usage.cached_tokens(), Some(4));
    let request = task.await.expect("a request");
    let (_, body) = request.split_once("\r\n\r\n").expect("a body");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        body["messages"][0],
        json!({"role": "system", "content": "Be kind."})
    );
    assert_eq!(body["messages"][1]["content"], "Hello?");
    assert_eq!(
        (&body["max_tokens"], &body["temperature"]),
        (&json!(3), &json!(0))
    );
    assert_eq!(
        (&body["model"], &body["ignore_eos"]),
        (&json!("one"), &json!(true))
    );
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_answer() {
    let (client, _) = server(vec![HEAD.to_owned(), text("Hel")], false).await;
    let error = client.chat(&Ask::user("x", 3)).await.expect_err("no end");
    assert!(error.to_string().contains("[DONE]"), "{error:#}");
}

#[tokio::test]
async fn an_error_in_a_stream_is_no_answer() {
    let failure = event(r#"{"error":{"message":"the engine failed"}}"#);
    let (client, _) = server(vec![HEAD.to_owned(), text("Hel"), failure], false).await;
    let error = client.chat(&Ask::user("x", 3)).await.expect_err("an error");
    assert!(error.to_string().contains("the engine failed"), "{error:#}");
}

#[tokio::test]
async fn a_refusal_says_what_the_server_said() {
    let head = "HTTP/1.1 404 Not Found\r\nContent-Length: 37\r\n\r\n";
    let body = r#"{"error":{"message":"no such route"}}"#;
    let (client, _) = server(vec![head.to_owned(), body.to_owned()], true).await;
    let error = client.chat(&Ask::user("x", 3)).await.expect_err("refused");
    let refused: &Refused = error.downcast_ref().expect("a refusal");
    assert_eq!(refused.to_string(), "404 no such route");
}

#[tokio::test]
async fn a_stream_can_be_left() {
    let (client, _) = server(vec![HEAD.to_owned(), text("a"), text("b"), text("c")], true).await;
    let leave = |pieces| {
        if pieces == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let answer = client.chat_until(&Ask::user("x", 3), leave).await;
    assert_eq!(answer.expect("an answer").text, "ab");
}

#[tokio::test]
async fn silence_ends_at_its_limit() {
    let (mut client, _) = server(vec![HEAD.to_owned()], true).await;
    client.silence = Duration::from_millis(50);
    let error = client.chat(&Ask::user("x", 3)).await.expect_err("silence");
    assert!(format!("{error:#}").contains("silence"), "{error:#}");
}

#[test]
fn only_what_lasts_means_not_supported() {
    let lasting = |status| Refused::new(status, b"").is_lasting();
    assert!([400, 404, 405, 422, 501].into_iter().all(lasting));
    assert!(![408, 409, 429, 500, 502, 503].into_iter().any(lasting));
}

#[test]
fn speeds_leave_out_what_was_not_computed() {
    let sent = Instant::now();
    let answer = Answer {
        sent,
        pieces: [2, 3]
            .map(|seconds| sent + Duration::from_secs(seconds))
            .to_vec(),
        text: String::new(),
        finish_reason: None,
        usage: Some(Usage {
            prompt_tokens: 512,
            completion_tokens: 101,
            prompt_tokens_details: Some(PromptDetails {
                cached_tokens: Some(112),
            }),
        }),
    };
    assert!((answer.prefill_speed().expect("a speed") - 200.0).abs() < 1e-9);
    assert!((answer.decode_speed().expect("a speed") - 100.0).abs() < 1e-9);
}
