//! Every refusal of `/v1/responses`, by its field.

use serde_json::{Value, json};

use crate::responses::{PATH, ask};
use crate::support::{Setup, TestServer, with};

/// Asserts a 400 in OpenAI's shape that names the field.
async fn refused(server: &TestServer, fields: Value, field: &str) {
    let body = with(ask("x"), fields);
    let (status, error) = server.post_json(PATH, &body).await;
    assert_eq!(status, 400, "{body}: {error}");
    let inner = &error["error"];
    assert_eq!(inner.as_object().unwrap().len(), 4, "{error}");
    assert_eq!(inner["param"], field, "{body}: {error}");
    let message = inner["message"].as_str().unwrap();
    assert!(message.contains(&format!("`{field}`")), "{message}");
}

#[tokio::test]
async fn wrong_requests_name_the_field() {
    let server = Setup::default().start().await;
    for (fields, field) in [
        (json!({ "input": null }), "input"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": 3 }), "input"),
        (
            json!({ "input": [{ "role": "user", "content": [{ "type": "input_image" }] }] }),
            "input[0].content[0]",
        ),
        (
            json!({ "input": [{ "type": "item_reference", "id": "msg_gone" }] }),
            "input[0].id",
        ),
        (json!({ "instructions": 3 }), "instructions"),
        (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
        (json!({ "max_tool_calls": 0 }), "max_tool_calls"),
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "top_p": 7 }), "top_p"),
        (json!({ "top_logprobs": 1000 }), "top_logprobs"),
        (json!({ "metadata": [] }), "metadata"),
        (json!({ "metadata": { "a": { "b": 1 } } }), "metadata.a"),
        (
            json!({ "reasoning": { "effort": "bogus" } }),
            "reasoning.effort",
        ),
        (
            json!({ "reasoning": { "summary": "bogus" } }),
            "reasoning.summary",
        ),
        (
            json!({ "reasoning": { "generate_summary": "bogus" } }),
            "reasoning.generate_summary",
        ),
        (
            json!({ "text": { "verbosity": "bogus" } }),
            "text.verbosity",
        ),
        (json!({ "truncation": "bogus" }), "truncation"),
        (json!({ "store": "x" }), "store"),
        (json!({ "service_tier": 5 }), "service_tier"),
        (json!({ "include": "all" }), "include"),
        (
            json!({ "tools": [{ "type": "function" }] }),
            "tools[0].name",
        ),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (
            json!({ "tool_choice": { "type": "web_search" } }),
            "tool_choice.type",
        ),
        (json!({ "text": { "format": {} } }), "text.format.type"),
        (
            json!({ "text": { "format": { "type": "xml" } } }),
            "text.format.type",
        ),
        (
            json!({ "text": { "format": { "type": "json_schema" } } }),
            "text.format.schema",
        ),
        (
            json!({ "text": { "format": { "type": "json_schema", "schema": { "type": 3 } } } }),
            "text.format",
        ),
        (json!({ "grammar": "start: (" }), "grammar"),
        (
            json!({ "grammar": "start: /a/", "text": { "format": { "type": "json_object" } } }),
            "grammar",
        ),
        (json!({ "background": true }), "background"),
        (json!({ "conversation": "conv_1" }), "conversation"),
        (json!({ "prompt": { "id": "pmpt_1" } }), "prompt"),
        (json!({ "store": "yes" }), "store"),
    ] {
        refused(&server, fields, field).await;
    }
}

#[tokio::test]
async fn a_prompt_over_the_context_has_its_code() {
    let mut setup = Setup::default();
    setup.stub.cells = 64;
    let server = setup.start().await;
    let (status, error) = server.post_json(PATH, &ask(&"long ".repeat(40))).await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("219") && message.contains("64"),
        "{message}"
    );
}

#[tokio::test]
async fn what_an_answer_cannot_include_is_named() {
    let server = Setup::default().start().await;
    let include = ["file_search_call.results", "reasoning.encrypted_content"];
    let body = with(ask("x"), json!({ "include": include }));
    let response = server.post(PATH, &body).await;
    assert_eq!(response.status(), 200);
    let ignored = &response.headers()["x-shimmy-ignored"];
    assert_eq!(ignored, "include.file_search_call.results");
}
