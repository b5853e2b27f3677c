//! Fields that other servers' clients send to OpenAI's routes: done, or refused by name.

use serde_json::{Value, json};

use crate::calls::tools;
use crate::loader::TOOLS_TEMPLATE;
use crate::support::{Setup, TestServer, chat, with};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";
const TEMPLATE: &str = "/apply-template";

async fn server() -> TestServer {
    let setup = Setup {
        template: Some(TOOLS_TEMPLATE),
        ..Setup::saying("no")
    };
    setup.start().await
}

/// Asserts a 400 that names the field.
async fn refused(server: &TestServer, path: &str, body: &Value, field: &str) {
    let (status, error) = server.post_json(path, body).await;
    let message = error["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(status, 400, "{body}: {error}");
    assert!(
        message.starts_with(&format!("`{field}`")),
        "{body}: {error}"
    );
}

#[tokio::test]
async fn a_shape_by_any_of_its_names_holds() {
    type Fits<'a> = &'a dyn Fn(&str) -> bool;
    let server = server().await;
    let schema = json!({ "type": "object", "properties": { "deep": { "type": "boolean" } },
        "required": ["deep"], "additionalProperties": false });
    let fits = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        value["deep"].is_boolean()
    };
    let is_word = |text: &str| ["a.b", "c|d"].contains(&text);
    let words = json!(["a.b", "c|d"]);
    let cases: [(Value, Fits<'_>); 9] = [
        (json!({ "json_schema": schema }), &fits),
        (json!({ "guided_json": schema }), &fits),
        (json!({ "guided_json": schema.to_string() }), &fits),
        (json!({ "guided_regex": "a\\.b" }), &is_word),
        (json!({ "guided_choice": words }), &is_word),
        (json!({ "guided_grammar": "root ::= \"a.b\"" }), &is_word),
        (json!({ "structured_outputs": { "json": schema } }), &fits),
        (
            json!({ "structured_outputs": { "choice": words } }),
            &is_word,
        ),
        (
            json!({ "structured_outputs": { "regex": "c\\|d" } }),
            &is_word,
        ),
    ];
    for (more, fits) in cases {
        let (status, answer) = server.post_json(CHAT, &with(chat("x"), more.clone())).await;
        assert_eq!(status, 200, "{more}: {answer}");
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(fits(text), "{more}: {text}");
        let body = with(json!({ "prompt": "x", "max_tokens": 99 }), more.clone());
        let (_, answer) = server.post_json(TEXT, &body).await;
        let text = answer["choices"][0]["text"].as_str().unwrap();
        assert!(fits(text), "{more}: {text}");
    }
    let none = json!({ "json_schema": null, "guided_json": null, "structured_outputs": {} });
    let (_, answer) = server.post_json(CHAT, &with(chat("x"), none)).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "no");
}

#[tokio::test]
async fn a_shape_that_cannot_hold_is_refused_by_its_name() {
    let server = server().await;
    for (field, more) in [
        ("guided_json", json!({ "guided_json": "{" })),
        (
            "guided_json",
            json!({ "guided_json": { "$ref": "http://x" } }),
        ),
        ("json_schema", json!({ "json_schema": [] })),
        ("guided_regex", json!({ "guided_regex": "(" })),
        ("guided_choice", json!({ "guided_choice": [] })),
        ("guided_grammar", json!({ "guided_grammar": "root ::= x" })),
        (
            "structured_outputs.structural_tag",
            json!({ "structured_outputs": { "structural_tag": {} } }),
        ),
        (
            "guided_json",
            json!({ "guided_json": {}, "response_format": { "type": "json_object" } }),
        ),
        (
            "guided_regex",
            json!({ "json_schema": {}, "guided_regex": "a" }),
        ),
    ] {
        refused(&server, CHAT, &with(chat("x"), more), field).await;
    }
}

#[tokio::test]
async fn a_grammar_and_a_required_call_rule_each_other_out() {
    let server = server().await;
    let grammar = json!({ "grammar": "root ::= \"a\"", "tools": tools() });
    let body = with(chat("x"), grammar);
    let named = json!({ "type": "function", "function": { "name": "read" } });
    for choice in [json!("required"), named] {
        let more = json!({ "tool_choice": choice });
        refused(&server, CHAT, &with(body.clone(), more), "grammar").await;
    }
    let (_, answer) = server.post_json(CHAT, &body).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "a", "{answer}");
}

#[tokio::test]
async fn a_penalty_by_its_other_name_counts() {
    let server = server().await;
    let body = json!({ "prompt": "x", "repetition_penalty": 1.5 });
    let (_, answer) = server.post_json("/completion", &body).await;
    assert_eq!(
        answer["generation_settings"]["repeat_penalty"], 1.5,
        "{answer}"
    );
    let body = with(chat("x"), json!({ "repetition_penalty": 101 }));
    refused(&server, CHAT, &body, "repetition_penalty").await;
}

#[tokio::test]
async fn ways_to_end_that_are_not_here_are_refused_where_they_are_switched_on() {
    let server = server().await;
    for path in [CHAT, TEXT] {
        let body = with(chat("x"), json!({ "prompt": "x" }));
        for (field, on, off) in [
            ("min_tokens", json!(5), json!(0)),
            ("stop_token_ids", json!([2]), json!([])),
        ] {
            let more = json!({ field: on });
            refused(&server, path, &with(body.clone(), more), field).await;
            let more = json!({ field: off });
            let response = server.post(path, &with(body.clone(), more)).await;
            assert_eq!(response.status(), 200, "{path} {field}");
        }
    }
}

#[tokio::test]
async fn a_prompt_may_end_with_the_last_message_or_within_it() {
    let server = server().await;
    let messages = json!([
        { "role": "user", "content": "Count." },
        { "role": "assistant", "content": "one, " },
    ]);
    let body = json!({ "messages": messages });
    let rendered = async |more: Value| {
        let (status, answer) = server.post_json(TEMPLATE, &with(body.clone(), more)).await;
        assert_eq!(status, 200, "{answer}");
        answer["prompt"].as_str().unwrap().to_owned()
    };
    let whole = rendered(json!({})).await;
    let without = rendered(json!({ "add_generation_prompt": false })).await;
    let within = rendered(json!({ "continue_final_message": true })).await;
    assert_eq!(whole, format!("{without}<|im_start|>assistant\n"));
    assert_eq!(without, format!("{within}<|im_end|>\n"));

    for (more, prompt) in [
        (json!({}), whole),
        (json!({ "add_generation_prompt": false }), without),
        (
            json!({ "continue_final_message": true, "add_generation_prompt": false }),
            within,
        ),
    ] {
        let response = server.post(CHAT, &with(body.clone(), more.clone())).await;
        assert!(!response.headers().contains_key("x-shimmy-ignored"));
        let answer: Value = response.json().await.unwrap();
        let (_, tokens) = server
            .post_json("/tokenize", &json!({ "content": prompt }))
            .await;
        let tokens = tokens["tokens"].as_array().unwrap().len();
        assert_eq!(answer["usage"]["prompt_tokens"], tokens, "{more}: {answer}");
    }
}

#[tokio::test]
async fn what_rules_out_that_a_message_goes_on_is_named() {
    let server = server().await;
    let go_on = json!({ "continue_final_message": true });
    let field = "continue_final_message";
    refused(&server, CHAT, &with(chat("x"), go_on.clone()), field).await;
    let messages = json!([{ "role": "assistant", "content": "one" }]);
    let body = with(json!({ "messages": messages }), go_on);
    refused(
        &server,
        CHAT,
        &with(body.clone(), json!({ "add_generation_prompt": true })),
        field,
    )
    .await;
    for (by, more) in [
        (
            "response_format",
            json!({ "response_format": { "type": "json_object" } }),
        ),
        ("guided_json", json!({ "guided_json": {} })),
        (
            "tool_choice",
            json!({ "tools": tools(), "tool_choice": "required" }),
        ),
        (
            "chat_template_kwargs.enable_thinking",
            json!({ "chat_template_kwargs": { "enable_thinking": true } }),
        ),
    ] {
        let (status, error) = server.post_json(CHAT, &with(body.clone(), more)).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert!(
            status == 400 && message.contains(&format!("`{by}`")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn the_routes_have_llama_servers_names_too() {
    let server = server().await;
    let (status, answer) = server.post_json("/chat/completions", &chat("x")).await;
    assert_eq!(
        (status, &answer["object"]),
        (200, &json!("chat.completion"))
    );
    let (_, list) = server.get_json("/models").await;
    assert_eq!(list, server.get_json("/v1/models").await.1);
    let (status, error) = server
        .post_json("/chat/completions", &json!({ "messages": [] }))
        .await;
    assert_eq!(
        (status, &error["error"]["param"]),
        (400, &json!("messages"))
    );
}
