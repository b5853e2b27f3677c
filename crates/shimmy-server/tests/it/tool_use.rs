//! Tools in chat requests: what may be asked, and what is refused.

use serde_json::{Value, json};

use crate::loader::TOOLS_TEMPLATE;
use crate::support::{Setup, TestServer, chat, with};

const PATH: &str = "/v1/chat/completions";

async fn server() -> TestServer {
    let setup = Setup {
        template: Some(TOOLS_TEMPLATE),
        ..Setup::default()
    };
    setup.start().await
}

fn tools() -> Value {
    let tool = |name: &str| {
        json!({ "type": "function", "function": {
            "name": name, "description": "d", "strict": true,
            "parameters": { "type": "object", "properties": {}, "additionalProperties": false },
        } })
    };
    json!([tool("read"), tool("write")])
}

fn function(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name } })
}

async fn refused(server: &TestServer, field: &str, more: Value) {
    let body = with(chat("x"), more);
    let (status, error) = server.post_json(PATH, &body).await;
    assert_eq!(
        (status, &error["error"]["param"]),
        (400, &json!(field)),
        "{body}: {error}"
    );
}

#[tokio::test]
async fn a_choice_that_cannot_be_made_is_refused() {
    let server = server().await;
    for (field, choice) in [
        ("tool_choice", json!("sometimes")),
        ("tool_choice", json!(1)),
        ("tool_choice", function("delete")),
        ("tool_choice.function.name", json!({ "type": "function" })),
        (
            "tool_choice.type",
            json!({ "type": "custom", "custom": { "name": "read" } }),
        ),
        (
            "tool_choice.allowed_tools.tools",
            json!({ "type": "allowed_tools", "allowed_tools": { "mode": "auto", "tools": [] } }),
        ),
        (
            "tool_choice.allowed_tools.tools[1].function.name",
            json!({ "type": "allowed_tools", "allowed_tools": { "mode": "auto",
                "tools": [function("read"), function("delete")] } }),
        ),
        (
            "tool_choice.allowed_tools.mode",
            json!({ "type": "allowed_tools", "allowed_tools": { "mode": "never",
                "tools": [function("read")] } }),
        ),
    ] {
        refused(
            &server,
            field,
            json!({ "tools": tools(), "tool_choice": choice }),
        )
        .await;
    }
    for choice in [json!("required"), function("read")] {
        refused(&server, "tool_choice", json!({ "tool_choice": choice })).await;
    }
}

#[tokio::test]
async fn tools_that_are_none_are_refused_by_their_place() {
    let server = server().await;
    for (field, tool) in [
        ("tools[0].function.name", json!({ "type": "function" })),
        (
            "tools[0].type",
            json!({ "type": "custom", "custom": { "name": "c" } }),
        ),
        ("tools[0].type", json!({ "type": "web_search" })),
        (
            "tools[0].function.strict",
            json!({ "type": "function", "function": { "name": "f", "strict": "yes" } }),
        ),
        (
            "tools[0].function.description",
            json!({ "type": "function", "function": { "name": "f", "description": 5 } }),
        ),
        (
            "tools[0].function.parameters",
            json!({ "type": "function", "function": { "name": "f", "parameters": "{}" } }),
        ),
        (
            "tools[0].function.parameters.type",
            json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "array" } } }),
        ),
        (
            "tools[0].function.parameters.type",
            json!({ "type": "function", "function": { "name": "f",
                "parameters": { "type": ["string", "null"] } } }),
        ),
    ] {
        refused(&server, field, json!({ "tools": [tool] })).await;
    }
    refused(
        &server,
        "functions[0].name",
        json!({ "functions": [{ "description": "nameless" }] }),
    )
    .await;
    let both = json!({ "functions": [{ "name": "f" }], "tools": tools() });
    refused(&server, "functions", both).await;
    for (field, choice) in [
        ("function_call", json!("required")),
        ("function_call", json!({ "name": "g" })),
        ("function_call.name", json!({})),
    ] {
        let more = json!({ "functions": [{ "name": "f" }], "function_call": choice });
        refused(&server, field, more).await;
    }
}

#[tokio::test]
async fn the_model_is_told_of_the_tools_it_may_call() {
    let server = server().await;
    let tokens = async |more: Value| {
        let (status, answer) = server.post_json(PATH, &with(chat("x"), more)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["choices"][0]["message"]["content"], "x");
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let bare = tokens(json!({})).await;
    let all = tokens(json!({ "tools": tools(), "parallel_tool_calls": false })).await;
    assert!(all > bare);
    let none = json!({ "tools": tools(), "tool_choice": "none" });
    assert_eq!(tokens(none).await, bare);
    let one = json!({ "tools": tools(), "tool_choice": { "type": "allowed_tools",
        "allowed_tools": { "mode": "auto", "tools": [function("write")] } } });
    let one = tokens(one).await;
    assert!(bare < one && one < all, "{bare} {one} {all}");
    let older = json!({ "functions": [{ "name": "f" }], "function_call": "auto" });
    assert!(tokens(older).await > bare);
}

#[tokio::test]
async fn calls_of_earlier_answers_reach_the_template_in_one_shape() {
    let server = server().await;
    let rendered = async |assistant: Value| {
        let body = json!({ "messages": [
            { "role": "user", "content": "x" }, assistant,
            { "role": "tool", "content": "42", "tool_call_id": "c" },
        ] });
        let (status, answer) = server.post_json("/apply-template", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["prompt"].as_str().unwrap().to_owned()
    };
    let call = |arguments: Value| {
        json!({ "role": "assistant", "tool_calls": [
            { "id": "c", "type": "function", "function": { "name": "f", "arguments": arguments } } ] })
    };
    let text = rendered(call(json!("{\"a\":1}"))).await;
    assert!(text.contains("\"name\": \"f\""), "{text}");
    assert_eq!(rendered(call(json!({ "a": 1 }))).await, text);
    let empty = rendered(call(json!("{}"))).await;
    assert_eq!(rendered(call(json!(""))).await, empty);
    assert_eq!(rendered(call(Value::Null)).await, empty);
    let older = json!({ "role": "assistant", "content": null,
        "function_call": { "name": "f", "arguments": "{}" } });
    assert_eq!(rendered(older).await, empty.replace("\"id\": \"c\", ", ""));
}

#[tokio::test]
async fn calls_of_earlier_answers_that_are_none_are_refused_by_their_place() {
    let server = server().await;
    for (field, call) in [
        ("function.name", json!({ "id": "c", "type": "function" })),
        (
            "function.arguments",
            json!({ "function": { "name": "f", "arguments": 5 } }),
        ),
        ("id", json!({ "id": 5, "function": { "name": "f" } })),
        ("type", json!({ "type": "custom", "custom": {} })),
    ] {
        let messages = json!([{ "role": "assistant", "tool_calls": [call] }]);
        let field = format!("messages[0].tool_calls[0].{field}");
        refused(&server, &field, json!({ "messages": messages })).await;
    }
}

#[tokio::test]
async fn thinking_is_asked_for_in_the_templates_own_words_and_what_it_has_no_word_for_is_named() {
    const THINKING: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
        {% endfor %}<|im_start|>assistant\n{% if enable_thinking is false %}<think></think>{% endif %}\
        {{ reasoning_effort }}";
    let rendered = async |template: &'static str, more: Value| {
        let setup = Setup {
            template: Some(template),
            ..Setup::default()
        };
        let server = setup.start().await;
        let response = server.post(PATH, &with(chat("x"), more)).await;
        assert_eq!(response.status(), 200);
        let ignored = response.headers().get("x-shimmy-ignored");
        let ignored = ignored.map(|names| names.to_str().unwrap().to_owned());
        let answer: Value = response.json().await.unwrap();
        (ignored, answer["usage"]["prompt_tokens"].as_u64().unwrap())
    };
    let (_, bare) = rendered(THINKING, json!({})).await;
    for (more, added) in [
        (json!({ "reasoning_effort": null }), 0),
        (
            json!({ "reasoning_effort": "none" }),
            "<think></think>low".len(),
        ),
        (json!({ "reasoning_effort": "xhigh" }), "high".len()),
        (
            json!({ "chat_template_kwargs": { "enable_thinking": false } }),
            "<think></think>".len(),
        ),
        (
            json!({ "chat_template_kwargs": { "reasoning_effort": "own" } }),
            "own".len(),
        ),
    ] {
        let (ignored, tokens) = rendered(THINKING, more.clone()).await;
        assert_eq!((ignored, tokens), (None, bare + added as u64), "{more}");
    }
    for (effort, ignored) in [
        ("none", None),
        ("high", Some("reasoning_effort".to_owned())),
    ] {
        let asked = json!({ "reasoning_effort": effort });
        assert_eq!(rendered(TOOLS_TEMPLATE, asked).await.0, ignored, "{effort}");
    }
}

/// What is no name to the vendors would be one to no notation of calls either.
#[tokio::test]
async fn a_name_or_schema_that_no_call_can_have_is_refused_in_every_dialect() {
    let server = server().await;
    let long = |length: usize| "n".repeat(length);
    let strings = json!({ "type": "string" });
    let object = json!({ "type": "object" });
    let cases = [
        ("a b", &object),
        ("a\"b", &object),
        ("<a>", &object),
        ("ö", &object),
        (&*long(129), &object),
        ("f", &strings),
    ];
    let message = json!([{ "role": "user", "content": "x" }]);
    for (name, parameters) in cases {
        let end = if name == "f" { ".type" } else { "name" };
        let function = json!({ "name": name, "parameters": parameters });
        let tool = json!([{ "type": "function", "function": function }]);
        let flat = json!([{ "type": "function", "name": name, "parameters": parameters }]);
        let theirs = json!([{ "name": name, "input_schema": parameters }]);
        for (path, body) in [
            (PATH, json!({ "messages": message, "tools": tool })),
            (
                PATH,
                json!({ "messages": message, "functions": [function] }),
            ),
            ("/v1/responses", json!({ "input": "x", "tools": flat })),
            ("/v1/responses", json!({ "input": "x", "tools": tool })),
            (
                "/v1/messages",
                json!({ "max_tokens": 9, "messages": message, "tools": theirs }),
            ),
            ("/api/chat", json!({ "messages": message, "tools": tool })),
            (
                "/apply-template",
                json!({ "messages": message, "tools": tool }),
            ),
        ] {
            let (status, error) = server.post_json(path, &body).await;
            let error = &error["error"];
            let words = error["message"].as_str().or(error.as_str()).unwrap();
            assert_eq!(status, 400, "{path}: {body}");
            let named = words.split("` must be").next().unwrap();
            assert!(
                named.starts_with('`') && named.ends_with(end),
                "{path}: {words}"
            );
        }
    }
    let names = json!([
        { "type": "custom", "name": "a b" },
        { "type": "namespace", "name": "a b", "tools": [] },
    ]);
    for tool in names.as_array().unwrap() {
        let body = json!({ "input": "x", "tools": [tool] });
        let (status, error) = server.post_json("/v1/responses", &body).await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!("tools[0].name"))
        );
    }
    // What one vendor refuses another may allow.
    for (path, names, status) in [
        (PATH, [&*long(65), "a.b"], 400),
        ("/api/chat", [&*long(65), "a.b"], 200),
        (PATH, [&*long(64), "-1_b"], 200),
    ] {
        for name in names {
            let tool = json!([function(name)]);
            let (got, answer) = server
                .post_json(
                    path,
                    &json!({ "messages": message, "tools": tool, "stream": false }),
                )
                .await;
            assert_eq!(got, status, "{path} {name}: {answer}");
        }
    }
}
