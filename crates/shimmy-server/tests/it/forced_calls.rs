//! Calls and shapes that an answer must have, whatever the model would say.

use serde_json::{Value, json};

use crate::calls::{CHAT, THINKING_TEMPLATE, parameters, saying, tool, tools};
use crate::loader::TOOLS_TEMPLATE;
use crate::support::{chat, with};

/// Whatever the model would say, it calls, and the arguments fit.
async fn assert_forced(template: Option<&'static str>, wishes: &[&str], more: Value) {
    for said in wishes {
        let server = saying(said, template).await;
        let all = json!({ "tools": tools(), "max_tokens": 400, "parallel_tool_calls": false });
        let body = with(with(chat("x"), all), more.clone());
        let (status, answer) = server.post_json(CHAT, &body).await;
        assert_eq!(status, 200, "{answer}");
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{said}: {answer}");
        assert_eq!(choice["message"]["content"], Value::Null);
        let function = &choice["message"]["tool_calls"][0]["function"];
        let arguments = function["arguments"].as_str().unwrap();
        let arguments: Value = serde_json::from_str(arguments).expect(arguments);
        if function["name"] == "read" {
            assert!(["Paris", "London"].contains(&arguments["city"].as_str().unwrap()));
            assert!(arguments["deep"].is_boolean());
            assert_eq!(arguments.as_object().unwrap().len(), 2);
        }
    }
}

#[tokio::test]
async fn a_call_that_is_required_is_made_by_any_model() {
    let wishes = ["I had rather not.", "{\"city\": \"Rome\"}\n", "<tool_call>"];
    let named = json!({ "tool_choice": { "type": "function", "function": { "name": "read" } } });
    for template in [
        None,
        Some(TOOLS_TEMPLATE),
        Some(THINKING_TEMPLATE),
        Some("{{ tools }}{{ messages }}[TOOL_CALLS]"),
        Some("{{ tools }}{{ messages }}[TOOL_CALLS][ARGS]"),
        Some("{{ tools }}{{ messages }}<|python_tag|>"),
        Some("{{ tools }}{{ messages }}<function=<parameter="),
        Some("{{ tools }}{{ messages }}<｜tool▁calls▁begin｜>"),
    ] {
        assert_forced(template, &wishes, named.clone()).await;
    }
    // Such a model may think first.
    let sections = Some("{{ tools }}{{ messages }}<|channel|><|message|>");
    let wishes = [
        "<|channel|>commentary to=functions.delete<|message|>{}",
        "<|channel|>analysis<|message|>Why?<|end|><|start|>assistant<|channel|>final<|message|>No.",
    ];
    assert_forced(sections, &wishes, named).await;
}

#[tokio::test]
async fn a_strict_tool_is_called_by_its_schema_or_not_at_all() {
    let call = |arguments: &str| {
        format!("So. <tool_call>\n{{\"name\": \"read\", \"arguments\": {arguments}}}\n</tool_call>")
    };
    let strict = json!({ "tools": [tool("read", &parameters(), true)], "max_tokens": 200 });
    let body = with(chat("x"), strict);
    let server = saying(
        &call("{\"city\": \"Rome\", \"deep\": 1}"),
        Some(TOOLS_TEMPLATE),
    )
    .await;
    let (status, answer) = server.post_json(CHAT, &body).await;
    assert_eq!(status, 200, "{answer}");
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], "So.", "{answer}");
    let arguments = message["tool_calls"][0]["function"]["arguments"]
        .as_str()
        .unwrap();
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    assert!(["Paris", "London"].contains(&arguments["city"].as_str().unwrap()));
    let server = saying("Nothing to call <here>.", Some(TOOLS_TEMPLATE)).await;
    let (_, answer) = server.post_json(CHAT, &body).await;
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        "Nothing to call <here>."
    );
}

#[tokio::test]
async fn a_schema_that_cannot_be_enforced_is_refused_where_it_must_be() {
    let odd = json!({ "type": "object", "properties": { "a": { "not": { "type": "null" } } } });
    let server = saying("x", Some(TOOLS_TEMPLATE)).await;
    for (more, status) in [
        (json!({ "tools": [tool("f", &odd, true)] }), 400),
        (
            json!({ "tools": [tool("f", &odd, false)], "tool_choice": "required" }),
            400,
        ),
        (json!({ "tools": [tool("f", &odd, false)] }), 200),
    ] {
        let (got, answer) = server.post_json(CHAT, &with(chat("x"), more.clone())).await;
        assert_eq!(got, status, "{more}: {answer}");
        if status == 400 {
            assert_eq!(answer["error"]["param"], "tools", "{answer}");
            let expected =
                "`tools` holds \"f\", whose schema cannot be used: Unimplemented keys: [\"not\"]";
            assert_eq!(answer["error"]["message"], expected);
        }
    }
    // Beside tools or after thoughts, a shape is a part of a grammar.
    let shape = json!({ "response_format": { "type": "json_schema", "json_schema": {
        "name": "s", "schema": odd,
    } } });
    let expected = "`response_format` cannot be used: Unimplemented keys: [\"not\"]";
    let thinking = saying("x", Some(THINKING_TEMPLATE)).await;
    for (server, more) in [
        (&server, json!({ "tools": tools() })),
        (&thinking, json!({})),
    ] {
        let (status, answer) = server
            .post_json(CHAT, &with(with(chat("x"), shape.clone()), more))
            .await;
        assert_eq!(status, 400, "{answer}");
        assert_eq!(answer["error"]["message"], expected);
    }
}

#[tokio::test]
async fn a_format_that_nobody_knows_forces_nothing() {
    let schema = json!({ "type": "object", "properties": {
        "a": { "type": "string", "format": "uri-reference" },
        "b": { "type": "integer", "format": "int64" },
    } });
    let server = saying("x", Some(TOOLS_TEMPLATE)).await;
    for more in [
        json!({ "tools": [tool("f", &schema, false)], "tool_choice": "required" }),
        json!({ "response_format": { "type": "json_schema", "json_schema": {
            "name": "s", "schema": schema,
        } } }),
    ] {
        let (status, answer) = server.post_json(CHAT, &with(chat("x"), more)).await;
        assert_eq!(status, 200, "{answer}");
    }
}

#[tokio::test]
async fn a_shape_holds_after_the_thoughts() {
    let shape = json!({ "response_format": { "type": "json_schema", "json_schema": {
        "name": "s", "schema": parameters(),
    } }, "max_tokens": 300 });
    let server = saying("Why?\n</think>\n\nSo.", Some(THINKING_TEMPLATE)).await;
    let on = json!({ "chat_template_kwargs": { "enable_thinking": true } });
    let body = with(with(chat("x"), shape.clone()), on);
    let (_, answer) = server.post_json(CHAT, &body).await;
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "Why?", "{answer}");
    let content: Value = serde_json::from_str(message["content"].as_str().unwrap()).unwrap();
    assert!(content["deep"].is_boolean());
    // Beside tools, a model may call or answer in the shape.
    let server = saying("Paris", Some(TOOLS_TEMPLATE)).await;
    let body = with(with(chat("x"), shape), json!({ "tools": tools() }));
    let (_, answer) = server.post_json(CHAT, &body).await;
    let message = &answer["choices"][0]["message"];
    match message["content"].as_str() {
        Some(content) => assert!(serde_json::from_str::<Value>(content).is_ok(), "{content}"),
        None => assert!(message["tool_calls"].is_array(), "{answer}"),
    }
}
