//! The requests of Codex 0.169, as it sends them.

use serde_json::{Value, json};

use crate::loader::TOOLS_TEMPLATE;
use crate::messages::named;
use crate::support::{Setup, TestServer};

/// A turn; the whole conversation comes again with each.
pub(crate) fn turn(input: Value) -> Value {
    json!({
        "model": "stub",
        "instructions": "You are Codex, an agent. ".repeat(200),
        "input": input,
        "tools": [
            { "type": "function", "name": "exec_command", "description": "Runs a command.",
              "strict": false, "parameters": { "type": "object", "properties": {
                "cmd": { "type": "string" }, "yield_time_ms": { "type": "number" } },
                "required": ["cmd"], "additionalProperties": false } },
            { "type": "function", "name": "update_plan", "description": "Plans.", "strict": false,
              "parameters": { "type": "object", "properties": {}, "additionalProperties": false } },
            { "type": "namespace", "name": "multi_agent_v1", "description": "Sub-agents.", "tools": [
                { "type": "function", "name": "spawn_agent", "description": "Spawns.",
                  "strict": false, "parameters": { "type": "object", "properties": {} } } ] },
            { "type": "custom", "name": "apply_patch", "description": "Edits files.",
              "format": { "type": "grammar", "syntax": "lark", "definition": "start: \"*** Begin\"" } },
            { "type": "web_search", "external_web_access": false },
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": true,
        "reasoning": { "summary": "auto" },
        "store": false,
        "stream": true,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199-thread",
        "client_metadata": { "x-codex-installation-id": "i", "x-codex-window-id": "w:0" },
    })
}

pub(crate) fn opening() -> Vec<Value> {
    let said = |role: &str, text: &str| json!({ "type": "message", "role": role, "content": [{ "type": "input_text", "text": text }] });
    vec![
        said(
            "developer",
            "<permissions instructions>ask first</permissions instructions>",
        ),
        said(
            "user",
            "<environment_context><cwd>/w</cwd></environment_context>",
        ),
        said("user", "list the files"),
    ]
}

async fn send(server: &TestServer, body: &Value) -> Vec<(String, Value)> {
    let request = server
        .client
        .post(server.url("/v1/responses"))
        .header("accept", "text/event-stream")
        .header("originator", "codex_exec")
        .header("session-id", "0199")
        .header("x-codex-turn-metadata", "{\"turn_id\":\"1\"}")
        .json(body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["x-shimmy-ignored"],
        "client_metadata, prompt_cache_key, tools.format, tools.web_search"
    );
    named(&response.text().await.unwrap())
}

fn setup() -> Setup {
    let mut setup = Setup {
        template: Some(TOOLS_TEMPLATE),
        ..Setup::default()
    };
    setup.stub.cells = 1 << 16;
    setup.stub.batch = 1 << 14;
    setup
}

/// What Codex needs of every stream, or it tries again for ever.
fn completed(events: &[(String, Value)]) -> &Value {
    let (name, last) = events.last().unwrap();
    assert_eq!(name, "response.completed");
    let response = &last["response"];
    assert!(response["id"].as_str().unwrap().starts_with("resp_"));
    let usage = &response["usage"];
    for count in ["input_tokens", "output_tokens", "total_tokens"] {
        assert!(usage[count].is_u64(), "{usage}");
    }
    assert!(usage["input_tokens_details"]["cached_tokens"].is_u64());
    assert!(usage["output_tokens_details"]["reasoning_tokens"].is_u64());
    let items = |name: &str| events.iter().filter(|(other, _)| other == name).count();
    assert!(items("response.output_item.added") > 0);
    assert_eq!(
        items("response.output_item.added"),
        items("response.output_item.done")
    );
    response
}

#[tokio::test]
async fn a_turn_and_the_next_one_which_brings_all_of_it_again() {
    let server = setup().start().await;
    let mut input = opening();
    let first = send(&server, &turn(json!(input))).await;
    let first = completed(&first);
    assert_eq!(first["output"][0]["content"][0]["text"], "list the files");
    assert_eq!(first["store"], false);

    // What it was given, it sends back, with what came of it.
    input.push(first["output"][0].clone());
    input.extend([
        json!({ "type": "reasoning", "summary": [], "encrypted_content": "gAAAAA" }),
        json!({ "type": "function_call", "name": "spawn_agent", "namespace": "multi_agent_v1",
            "arguments": "{}", "call_id": "call_1" }),
        json!({ "type": "function_call_output", "call_id": "call_1", "output": "spawned" }),
        json!({ "type": "custom_tool_call", "status": "completed", "call_id": "call_2",
            "name": "apply_patch", "input": "*** Begin Patch" }),
        json!({ "type": "custom_tool_call_output", "call_id": "call_2", "output": "Done" }),
        json!({ "type": "web_search_call", "status": "completed", "action": { "type": "search" } }),
        json!({ "role": "user", "content": [{ "type": "input_text", "text": "go on" }] }),
    ]);
    let body = turn(json!(input));
    let response = server.post("/v1/responses", &body).await;
    assert_eq!(
        response.headers()["x-shimmy-ignored"],
        "client_metadata, prompt_cache_key, input.web_search_call, tools.format, tools.web_search"
    );
    let second = named(&response.text().await.unwrap());
    let second = completed(&second);
    assert_eq!(second["output"][0]["content"][0]["text"], "go on");
    let tokens = |response: &Value| response["usage"]["input_tokens"].as_u64().unwrap();
    assert!(tokens(second) > tokens(first));
}

#[tokio::test]
async fn its_local_provider_finds_the_models() {
    let server = setup().start().await;
    let (status, list) = server.get_json("/v1/models").await;
    assert_eq!((status, &list["data"][0]["id"]), (200, &json!("stub")));
}
