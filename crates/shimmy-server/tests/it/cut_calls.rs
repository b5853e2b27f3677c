//! Calls of tools that something ends before they are whole: a stop text, or the limit on tokens.

use serde_json::{Value, json};

use crate::calls::{anthropic, response, tools};
use crate::support::{Setup, TestServer, chat, data, with};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

const ARGUMENTS: &str = r#"{"city": "Paris", "deep": true}"#;

/// What a model says that reads a city.
fn call() -> String {
    format!("<tool_call>\n{{\"name\": \"read\", \"arguments\": {ARGUMENTS}}}\n</tool_call>")
}

async fn saying(text: &str) -> TestServer {
    Setup::saying(text).start().await
}

/// The stop texts that would cut the call, its marks among them.
fn stops() -> Value {
    json!(["city", "<tool_call>", "\""])
}

#[tokio::test]
async fn a_stop_text_within_a_call_does_not_end_it() {
    let server = saying(&call()).await;
    for choice in ["required", "auto"] {
        let more = json!({ "tools": tools(), "tool_choice": choice, "stop": stops() });
        let (status, answer) = server.post_json(CHAT, &with(chat("x"), more)).await;
        let choice = &answer["choices"][0];
        assert_eq!(
            (status, &choice["finish_reason"]),
            (200, &json!("tool_calls"))
        );
        let function = &choice["message"]["tool_calls"][0]["function"];
        assert_eq!(function["arguments"], ARGUMENTS, "{answer}");
        assert_eq!(choice["message"]["content"], Value::Null);
    }

    let more = json!({ "tool_choice": { "type": "any" }, "stop_sequences": stops() });
    let (_, answer) = server.post_json(MESSAGES, &anthropic(more)).await;
    assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
    assert_eq!(answer["content"][0]["input"]["city"], "Paris");

    let more = json!({ "tool_choice": "required", "stop": stops() });
    let (_, answer) = server.post_json(RESPONSES, &response(more)).await;
    assert_eq!(answer["status"], "completed", "{answer}");
    assert_eq!(answer["output"][0]["arguments"], ARGUMENTS);

    let more = json!({ "tools": tools(), "stream": false, "options": { "stop": stops() } });
    let (_, answer) = server.post_json("/api/chat", &with(chat("x"), more)).await;
    let function = &answer["message"]["tool_calls"][0]["function"];
    assert_eq!(function["arguments"]["city"], "Paris", "{answer}");
}

#[tokio::test]
async fn a_stop_text_ends_what_is_said_before_a_call_and_the_call_with_it() {
    let server = saying(&format!("Let me see. {}", call())).await;
    let more = json!({ "tools": tools(), "stop": "see" });
    let body = with(chat("x"), more);
    let (_, answer) = server.post_json(CHAT, &body).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "Let me ", "{answer}");
    assert_eq!(choice["message"]["tool_calls"], Value::Null);
    assert_eq!(choice["finish_reason"], "stop");

    let stream = with(body, json!({ "stream": true }));
    let chunks = data(&server.stream(CHAT, &stream).await);
    let mut choices = chunks.iter().map(|chunk| &chunk["choices"][0]);
    let text: String = choices
        .clone()
        .filter_map(|choice| choice["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "Let me ");
    let last = choices.next_back().unwrap();
    assert_eq!(
        (&last["finish_reason"], &last["delta"]),
        (&json!("stop"), &json!({}))
    );

    let more = json!({ "stop_sequences": ["nothing", "see"] });
    let (_, answer) = server.post_json(MESSAGES, &anthropic(more)).await;
    assert_eq!(answer["content"][0]["text"], "Let me ", "{answer}");
    assert_eq!(answer["stop_reason"], "stop_sequence");
    assert_eq!(answer["stop_sequence"], "see");
    let more = json!({ "stop_sequences": vec!["x"; 100] });
    let (status, error) = server.post_json(MESSAGES, &anthropic(more)).await;
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        status == 400 && message.starts_with("`stop_sequences`"),
        "{error}"
    );
}

/// Tokens, which are bytes here: within the first mark, the name, the arguments, the second mark.
fn cuts() -> [(usize, Option<&'static str>); 4] {
    let at = |text: &str| call().find(text).unwrap();
    [
        (3, None),
        (at("read") + 2, None),
        (at("Paris"), Some("{\"city\": \"")),
        (call().len() + 6, Some(ARGUMENTS)),
    ]
}

#[tokio::test]
async fn a_required_call_that_the_limit_cuts_shows_no_markup() {
    let server = saying(&format!(
        "{}\n{}",
        call(),
        call().replace("Paris", "London")
    ))
    .await;
    for (tokens, arguments) in cuts() {
        let more = json!({ "tools": tools(), "tool_choice": "required", "max_tokens": tokens });
        let body = with(chat("x"), more);
        let (_, answer) = server.post_json(CHAT, &body).await;
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "length", "{tokens}");
        let message = &choice["message"];
        assert!(["", "null"].contains(&message["content"].as_str().unwrap_or("null")));
        let function = &message["tool_calls"][0]["function"];
        assert_eq!(
            function["arguments"].as_str(),
            arguments,
            "{tokens}: {answer}"
        );

        let stream = with(body, json!({ "stream": true }));
        let chunks = data(&server.stream(CHAT, &stream).await);
        let deltas = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]);
        let text: String = deltas
            .filter_map(|delta| delta["content"].as_str())
            .collect();
        assert_eq!(text, "", "{tokens}");

        let more = json!({ "tool_choice": { "type": "any" }, "max_tokens": tokens });
        let (_, answer) = server.post_json(MESSAGES, &anthropic(more)).await;
        assert_eq!(answer["stop_reason"], "max_tokens", "{answer}");
        let kinds: Vec<&str> = answer["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["type"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds.as_slice(),
            arguments.map_or(&[][..], |_| &["tool_use"])
        );

        let more = json!({ "tool_choice": "required", "max_output_tokens": tokens });
        let (_, answer) = server.post_json(RESPONSES, &response(more)).await;
        assert_eq!(answer["status"], "incomplete", "{answer}");
        let items = answer["output"].as_array().unwrap();
        assert_eq!(items.len(), usize::from(arguments.is_some()), "{answer}");
    }
}
