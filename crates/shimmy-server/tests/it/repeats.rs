//! A small model that must call goes on with the same call: told once, in every dialect.

use serde_json::{Value, json};

use crate::calls::{anthropic, response, tools};
use crate::messages::named;
use crate::support::{Setup, TestServer, chat, data, with};

/// What one call says. The model would say it eight times.
const ARGUMENTS: &str = r#"{"city": "Paris", "deep": true}"#;

fn call(name: &str, arguments: &str) -> String {
    format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>\n")
}

async fn server() -> TestServer {
    let calls = call("write", "{}") + &call("read", ARGUMENTS).repeat(7);
    Setup::saying(calls.trim_end()).start().await
}

#[tokio::test]
async fn a_chat_ends_before_its_call_is_repeated() {
    let server = server().await;
    let body = with(
        chat("x"),
        json!({ "tools": tools(), "tool_choice": "required" }),
    );
    let (status, answer) = server.post_json("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2, "{answer}");
    assert_eq!(calls[0]["function"]["name"], "write");
    assert_eq!(calls[1]["function"]["arguments"], ARGUMENTS);
    // The engine was told to stop there: a token is a byte here, and tokens that were computed
    // before it heard of it count.
    let tokens = answer["usage"]["completion_tokens"].as_u64().unwrap() as usize;
    let all = call("write", "{}").len() + 7 * call("read", ARGUMENTS).len();
    assert!(tokens < all, "{tokens} of {all}");

    let body = with(body, json!({ "stream": true }));
    let stream = server.stream("/v1/chat/completions", &body).await;
    let (mut names, mut text) = (Vec::new(), String::new());
    for chunk in data(&stream) {
        let delta = &chunk["choices"][0]["delta"];
        assert!(
            delta["content"].as_str().is_none_or(str::is_empty),
            "{chunk}"
        );
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            names.extend(call["function"]["name"].as_str().map(str::to_owned));
            text.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
    }
    assert_eq!(names, ["write", "read"]);
    assert_eq!(text, format!("{{}}{ARGUMENTS}"));
}

#[tokio::test]
async fn messages_end_before_their_call_is_repeated() {
    let server = server().await;
    let any = anthropic(json!({ "tool_choice": { "type": "any" } }));
    let (status, answer) = server.post_json("/v1/messages", &any).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["stop_reason"], "tool_use");
    let blocks = answer["content"].as_array().unwrap();
    assert_eq!(blocks.len(), 2, "{answer}");
    assert_eq!(blocks[1]["input"], json!({ "city": "Paris", "deep": true }));

    let body = with(any, json!({ "stream": true }));
    let stream = server.stream("/v1/messages", &body).await;
    let events = named(&stream);
    let starts = events
        .iter()
        .filter(|(name, _)| name == "content_block_start");
    assert_eq!(starts.count(), 2, "{stream}");
}

#[tokio::test]
async fn responses_end_before_their_call_is_repeated() {
    let server = server().await;
    let body = response(json!({ "tool_choice": "required" }));
    let (status, answer) = server.post_json("/v1/responses", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["status"], "completed");
    let items = answer["output"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{answer}");
    assert_eq!(items[1]["arguments"], ARGUMENTS);

    let body = with(body, json!({ "stream": true }));
    let stream = server.stream("/v1/responses", &body).await;
    let events = data(&stream);
    let added = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.added");
    assert_eq!(added.count(), 2, "{stream}");
}

#[tokio::test]
async fn who_calls_unasked_is_told_as_it_is() {
    let server = server().await;
    let body = with(chat("x"), json!({ "tools": tools() }));
    let (_, answer) = server.post_json("/v1/chat/completions", &body).await;
    let calls = answer["choices"][0]["message"]["tool_calls"].as_array();
    assert_eq!(calls.map(Vec::len), Some(8), "{answer}");
    // Ollama's API has no way to require a call.
    let body = with(body, json!({ "stream": false }));
    let (_, answer) = server.post_json("/api/chat", &body).await;
    let calls = answer["message"]["tool_calls"].as_array();
    assert_eq!(calls.map(Vec::len), Some(8), "{answer}");
}

#[tokio::test]
async fn a_named_call_and_one_without_parallel_ones_are_one() {
    let server = server().await;
    for choice in [
        json!({ "tool_choice": { "type": "function", "function": { "name": "read" } } }),
        json!({ "tool_choice": "required", "parallel_tool_calls": false }),
    ] {
        let body = with(with(chat("x"), json!({ "tools": tools() })), choice);
        let (_, answer) = server.post_json("/v1/chat/completions", &body).await;
        let calls = answer["choices"][0]["message"]["tool_calls"].as_array();
        assert_eq!(calls.map(Vec::len), Some(1), "{body} {answer}");
    }
}
