//! Calls of tools and thoughts, from what a model writes to every dialect's own frames.

use serde_json::{Value, json};

use crate::loader::TOOLS_TEMPLATE;
use crate::messages::named;
use crate::support::{Setup, TestServer, chat, data, with};

pub(crate) const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

/// Thinks, speaks and calls twice.
const ANSWER: &str = "<think>\nWhich city?\n</think>\n\nLet me see.\n<tool_call>\n{\"name\": \"read\", \
    \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"write\", \
    \"arguments\": {}}\n</tool_call>";

/// As [`TOOLS_TEMPLATE`], of a model that thinks.
pub(crate) const THINKING_TEMPLATE: &str = "\
{# </think> #}{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}\
{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
{% endfor %}<|im_start|>assistant\n{% if enable_thinking %}<think>\n{% endif %}";

pub(crate) async fn saying(text: &str, template: Option<&'static str>) -> TestServer {
    let setup = Setup {
        template,
        ..Setup::saying(text)
    };
    setup.start().await
}

pub(crate) fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "city": { "enum": ["Paris", "London"] },
            "deep": { "type": "boolean" },
        },
        "required": ["city", "deep"],
        "additionalProperties": false,
    })
}

pub(crate) fn tool(name: &str, parameters: &Value, strict: bool) -> Value {
    json!({ "type": "function", "function": {
        "name": name, "description": "d", "strict": strict, "parameters": parameters,
    } })
}

pub(crate) fn tools() -> Value {
    json!([
        tool("read", &parameters(), false),
        tool("write", &json!({ "type": "object" }), false)
    ])
}

#[tokio::test]
async fn a_chat_has_calls_thoughts_and_text_apart() {
    let server = saying(ANSWER, Some(THINKING_TEMPLATE)).await;
    let body = with(chat("x"), json!({ "tools": tools() }));
    let (status, answer) = server.post_json(CHAT, &body).await;
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let message = &choice["message"];
    assert_eq!(message["content"], "Let me see.");
    assert_eq!(message["reasoning_content"], "Which city?");
    let calls = message["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(calls[0]["function"]["name"], "read");
    assert_eq!(calls[0]["function"]["arguments"], "{\"city\": \"Paris\"}");
    assert_eq!(calls[1]["function"]["arguments"], "{}");
    // A token is a byte here: the thoughts with their marks.
    let thoughts = "<think>\nWhich city?\n</think>".len();
    let counted = &answer["usage"]["completion_tokens_details"]["reasoning_tokens"];
    assert_eq!(counted.as_u64().unwrap() as usize, thoughts);

    let stream = server
        .stream(CHAT, &with(body, json!({ "stream": true })))
        .await;
    let (mut text, mut thoughts, mut reason) = (String::new(), String::new(), None);
    let mut calls: Vec<(String, String)> = Vec::new();
    for chunk in data(&stream) {
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        text.push_str(delta["content"].as_str().unwrap_or_default());
        thoughts.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            if let Some(name) = function["name"].as_str() {
                assert_eq!(call["index"], calls.len());
                assert!(call["id"].as_str().unwrap().starts_with("call_"));
                calls.push((name.to_owned(), String::new()));
            }
            calls
                .last_mut()
                .unwrap()
                .1
                .push_str(function["arguments"].as_str().unwrap());
        }
        reason = choice["finish_reason"]
            .as_str()
            .map(str::to_owned)
            .or(reason);
    }
    assert_eq!(
        (text.as_str(), thoughts.as_str()),
        ("Let me see.", "Which city?")
    );
    let expected = [("read", "{\"city\": \"Paris\"}"), ("write", "{}")];
    assert_eq!(
        calls,
        expected.map(|(name, json)| (name.to_owned(), json.to_owned()))
    );
    assert_eq!(reason.as_deref(), Some("tool_calls"));
}

#[tokio::test]
async fn only_a_call_leaves_no_content_and_one_is_the_most_where_one_is_wanted() {
    let calls = &ANSWER[ANSWER.find("<tool_call>").unwrap()..];
    let server = saying(calls, Some(TOOLS_TEMPLATE)).await;
    let one = json!({ "tools": tools(), "parallel_tool_calls": false });
    let (_, answer) = server.post_json(CHAT, &with(chat("x"), one)).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], Value::Null);
    assert_eq!(choice["message"]["tool_calls"].as_array().unwrap().len(), 1);
    assert_eq!(choice["finish_reason"], "tool_calls");

    let older = json!({ "functions": [{ "name": "read", "parameters": parameters() }] });
    let (_, answer) = server.post_json(CHAT, &with(chat("x"), older)).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["function_call"]["name"], "read");
    assert_eq!(choice["finish_reason"], "function_call");
}

#[tokio::test]
async fn an_answer_that_was_cut_short_did_not_end_with_its_calls() {
    let server = saying(&ANSWER[ANSWER.find("<tool_call>").unwrap()..], None).await;
    let cut = json!({ "tools": tools(), "max_tokens": 80 });
    let (_, answer) = server.post_json(CHAT, &with(chat("x"), cut)).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let calls = answer["choices"][0]["message"]["tool_calls"].as_array();
    assert_eq!(calls.unwrap().len(), 1);
}

#[tokio::test]
async fn a_malformed_call_is_text_in_every_dialect() {
    let text = "<tool_call>{\"name\": \"read\", \"arguments\": {city}}</tool_call>";
    let server = saying(text, Some(TOOLS_TEMPLATE)).await;
    let (status, answer) = server
        .post_json(CHAT, &with(chat("x"), json!({ "tools": tools() })))
        .await;
    assert_eq!(
        (status, &answer["choices"][0]["message"]["content"]),
        (200, &json!(text))
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let (status, answer) = server.post_json(MESSAGES, &anthropic(json!({}))).await;
    assert_eq!((status, &answer["content"][0]["text"]), (200, &json!(text)));
    assert_eq!(answer["stop_reason"], "end_turn");
    let (status, answer) = server.post_json(RESPONSES, &response(json!({}))).await;
    assert_eq!(
        (status, &answer["output"][0]["content"][0]["text"]),
        (200, &json!(text))
    );
}

pub(crate) fn anthropic(more: Value) -> Value {
    let tools = json!([
        { "name": "read", "input_schema": parameters() },
        { "name": "write", "input_schema": { "type": "object" } },
    ]);
    let body = json!({ "model": "stub", "max_tokens": 512, "tools": tools,
        "messages": [{ "role": "user", "content": "x" }] });
    with(body, more)
}

#[tokio::test]
async fn messages_have_blocks_of_thoughts_text_and_calls() {
    let server = saying(ANSWER, Some(THINKING_TEMPLATE)).await;
    let (status, answer) = server.post_json(MESSAGES, &anthropic(json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["stop_reason"], "tool_use");
    let kinds: Vec<&str> = answer["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use", "tool_use"]);
    assert_eq!(answer["content"][0]["thinking"], "Which city?");
    assert_eq!(answer["content"][2]["input"], json!({ "city": "Paris" }));

    let stream = server
        .stream(MESSAGES, &anthropic(json!({ "stream": true })))
        .await;
    let events = named(&stream);
    let starts = events
        .iter()
        .filter(|(name, _)| name == "content_block_start");
    let starts: Vec<&str> = starts
        .map(|(_, event)| event["content_block"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(starts, kinds);
    let input: String = events
        .iter()
        .filter(|(_, event)| event["index"] == 2)
        .filter_map(|(_, event)| event["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(input, "{\"city\": \"Paris\"}");
    let (_, last) = &events[events.len() - 2];
    assert_eq!(last["delta"]["stop_reason"], "tool_use");
}

pub(crate) fn response(more: Value) -> Value {
    let tools = json!([
        { "type": "function", "name": "read", "parameters": parameters(), "strict": false },
        { "type": "function", "name": "write", "parameters": { "type": "object" }, "strict": false },
    ]);
    with(
        json!({ "model": "stub", "input": "x", "tools": tools }),
        more,
    )
}

#[tokio::test]
async fn responses_have_items_of_thoughts_text_and_calls() {
    let server = saying(ANSWER, Some(THINKING_TEMPLATE)).await;
    let (status, answer) = server.post_json(RESPONSES, &response(json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    let kinds = |items: &Value| -> Vec<String> {
        let items = items.as_array().unwrap().iter();
        items
            .map(|item| item["type"].as_str().unwrap().to_owned())
            .collect()
    };
    let expected = ["reasoning", "message", "function_call", "function_call"];
    assert_eq!(kinds(&answer["output"]), expected);
    assert_eq!(answer["output"][2]["arguments"], "{\"city\": \"Paris\"}");
    let tokens = &answer["usage"]["output_tokens_details"]["reasoning_tokens"];
    assert!(tokens.as_u64().unwrap() > 0);

    let stream = server
        .stream(RESPONSES, &response(json!({ "stream": true })))
        .await;
    let events = data(&stream);
    let arguments: String = events
        .iter()
        .filter(|event| event["type"] == "response.function_call_arguments.delta")
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(arguments, "{\"city\": \"Paris\"}{}");
    assert_eq!(
        kinds(&events.last().unwrap()["response"]["output"]),
        expected
    );
}

#[tokio::test]
async fn lines_have_thoughts_text_and_whole_calls() {
    let server = saying(ANSWER, Some(THINKING_TEMPLATE)).await;
    let body = with(chat("x"), json!({ "tools": tools(), "stream": false }));
    let (status, answer) = server.post_json("/api/chat", &body).await;
    assert_eq!(status, 200, "{answer}");
    let message = &answer["message"];
    assert_eq!(
        (&message["thinking"], &message["content"]),
        (&json!("Which city?"), &json!("Let me see."))
    );
    assert_eq!(
        message["tool_calls"][0]["function"]["arguments"],
        json!({ "city": "Paris" })
    );
    assert_eq!(message["tool_calls"][1]["function"]["name"], "write");

    let stream = server
        .stream("/api/chat", &with(body, json!({ "stream": true })))
        .await;
    let lines: Vec<Value> = stream
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let calls: Vec<&Value> = lines
        .iter()
        .flat_map(|line| {
            line["message"]["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
        })
        .collect();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        calls[0]["function"]["arguments"],
        json!({ "city": "Paris" })
    );
}

#[tokio::test]
async fn a_model_whose_prompt_opens_thoughts_goes_on_with_them() {
    let server = saying("Why?\n</think>\n\nSo.", Some(THINKING_TEMPLATE)).await;
    let on = json!({ "chat_template_kwargs": { "enable_thinking": true } });
    let (_, answer) = server.post_json(CHAT, &with(chat("x"), on)).await;
    let message = &answer["choices"][0]["message"];
    assert_eq!(
        (&message["reasoning_content"], &message["content"]),
        (&json!("Why?"), &json!("So."))
    );
}

#[tokio::test]
async fn a_model_whose_template_knows_no_tools_is_told_of_them_and_of_their_results() {
    let server = saying(ANSWER.split("\n\n").nth(1).unwrap(), None).await;
    let (_, answer) = server
        .post_json(CHAT, &with(chat("x"), json!({ "tools": tools() })))
        .await;
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    let call = &answer["choices"][0]["message"]["tool_calls"][0];
    let conversation = json!({ "tools": tools(), "messages": [
        { "role": "user", "content": "x" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": call["id"], "content": "20 degrees" },
    ] });
    let (status, rendered) = server.post_json("/apply-template", &conversation).await;
    assert_eq!(status, 200, "{rendered}");
    let prompt = rendered["prompt"].as_str().unwrap();
    for text in [
        "\"name\":\"read\"",
        "<|im_start|>assistant\n<tool_call>\n{\"name\": \"read\", \"arguments\": {\"city\":\"Paris\"}}\n</tool_call><|im_end|>",
        "<|im_start|>user\n<tool_response>\n20 degrees\n</tool_response><|im_end|>",
    ] {
        assert!(prompt.contains(text), "{text}\n{prompt}");
    }
}
