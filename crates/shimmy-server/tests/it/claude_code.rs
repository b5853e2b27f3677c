//! The requests of Claude Code 2.1, as it sends them.

use serde_json::{Value, json};
use shimmy_engine::stub::Reply;

use crate::loader::TOOLS_TEMPLATE;
use crate::messages::named;
use crate::support::{Setup, TestServer, with};

const TOOLS: [&str; 12] = [
    "Agent",
    "Bash",
    "Edit",
    "Glob",
    "Grep",
    "NotebookEdit",
    "Read",
    "Skill",
    "TaskOutput",
    "TodoWrite",
    "WebFetch",
    "Write",
];

/// A turn; the vendor's accounts get another line with each.
fn turn(accounts: &str, messages: Value) -> Value {
    let tool = |name: &str| {
        json!({ "name": name, "description": format!("Runs {name}. ").repeat(20),
            "input_schema": { "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object", "additionalProperties": false, "required": ["path"],
                "properties": { "path": { "type": "string", "description": "Absolute" } } } })
    };
    let cached = json!({ "type": "ephemeral" });
    json!({
        "model": "stub",
        "messages": messages,
        "system": [
            { "type": "text", "text": format!(
                "x-anthropic-billing-header: cc_version=2.1.330.{accounts}; cc_entrypoint=cli; cch={accounts};") },
            { "type": "text", "text": "You are Claude Code, an agent.", "cache_control": cached },
            { "type": "text", "text": "\nYou work on code. ".repeat(100), "cache_control": cached },
        ],
        "tools": TOOLS.map(tool),
        "metadata": { "user_id": "{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"s\"}" },
        "max_tokens": 32_000,
        "thinking": { "type": "adaptive", "display": "summarized" },
        "context_management": { "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] },
        "output_config": { "effort": "high" },
        "stream": true,
    })
}

/// Sends a turn with its headers; the events of the answer.
async fn send(server: &TestServer, body: &Value) -> Vec<(String, Value)> {
    let request = server
        .client
        .post(server.url("/v1/messages?beta=true"))
        .header("accept", "application/json")
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-dangerous-direct-browser-access", "true")
        .header(
            "anthropic-beta",
            "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,effort-2025-11-24",
        )
        .header("user-agent", "claude-cli/2.1.330 (external, cli)")
        .header("x-app", "cli")
        .header("x-stainless-helper-method", "stream")
        .bearer_auth("a-token-of-somebody")
        .json(body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["x-shimmy-ignored"],
        "context_management, metadata, output_config.effort"
    );
    named(&response.text().await.unwrap())
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": [
        { "type": "text", "text": "<system-reminder>\nToday is Monday.\n</system-reminder>\n" },
        { "type": "text", "text": text, "cache_control": { "type": "ephemeral" } } ] })
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

/// Tokens of the prompt, whether they had to be computed or not.
fn prompt_tokens(events: &[(String, Value)]) -> u64 {
    let usage = &events[events.len() - 2].1["usage"];
    let [computed, cached] =
        ["input_tokens", "cache_read_input_tokens"].map(|name| usage[name].as_u64().unwrap());
    computed + cached
}

fn text(events: &[(String, Value)]) -> String {
    let deltas = events
        .iter()
        .filter_map(|(_, data)| data["delta"]["text"].as_str());
    deltas.collect()
}

#[tokio::test]
async fn a_turn_and_the_next_one() {
    let server = setup().start().await;
    let first = send(&server, &turn("6f1a2", json!([user("fix the parser")]))).await;
    let said = text(&first);
    assert!(said.ends_with("fix the parser"), "{said}");
    let before = prompt_tokens(&first);
    assert!(
        before > 6_000,
        "its tools and its system are in the prompt: {before}"
    );
    assert_eq!(
        first[0].1["message"]["context_management"],
        json!({ "applied_edits": [] })
    );

    let messages = json!([
        user("fix the parser"),
        { "role": "assistant", "content": [{ "type": "text", "text": said }] },
        user("and test it"),
    ]);
    let second = send(&server, &turn("90b3c", messages)).await;
    assert!(prompt_tokens(&second) > before);
}

#[tokio::test]
async fn the_line_for_the_accounts_does_not_change_the_prompt() {
    let mut setup = setup();
    // What this says depends on every token before it.
    setup.stub.reply = Reply::Mixed;
    let server = setup.start().await;
    let said = async |accounts: &str, question: &str| {
        let body = turn(accounts, json!([user(question)]));
        let body = with(body, json!({ "max_tokens": 20 }));
        text(&send(&server, &body).await)
    };
    let first = said("6f1a2", "x").await;
    assert_eq!(first.len(), 20);
    assert_eq!(said("another-and-longer-one", "x").await, first);
    assert_ne!(
        said("6f1a2", "y").await,
        first,
        "the test can see a difference"
    );
}

#[tokio::test]
async fn a_turn_of_calls_and_their_results() {
    let server = setup().start().await;
    let messages = json!([
        user("fix the parser"),
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "I look first.", "signature": "shimmy-thoughts:" },
            { "type": "text", "text": "Let me look." },
            { "type": "tool_use", "id": "toolu_01", "name": "Read", "input": { "path": "/a.rs" } },
            { "type": "tool_use", "id": "toolu_02", "name": "Bash", "input": { "path": "/b" } } ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "toolu_01", "content": [
                { "type": "text", "text": "fn parse() {}" } ] },
            { "type": "tool_result", "tool_use_id": "toolu_02", "is_error": true,
              "content": "<tool_use_error>no such file</tool_use_error>",
              "cache_control": { "type": "ephemeral" } },
            { "type": "text", "text": "go on" } ] },
        { "role": "system", "content": "The user has opened b.rs." },
    ]);
    let events = send(&server, &turn("1", messages)).await;
    assert_eq!(text(&events), "go on");
    assert_eq!(events.last().unwrap().0, "message_stop");
}

#[tokio::test]
async fn its_other_questions_are_answered_harmlessly() {
    let server = setup().start().await;
    let head = server.client.head(server.url("/api/hello")).send().await;
    assert_eq!(head.unwrap().status(), 200);
    // A search of the web is a request of its own, for a tool that is not there.
    let search = with(
        turn("1", json!([user("search")])),
        json!({ "tools": [{ "type": "web_search_20250305", "name": "web_search", "max_uses": 8 }],
            "tool_choice": { "type": "tool", "name": "web_search" }, "stream": false }),
    );
    let (status, error) = server.post_json("/v1/messages?beta=true", &search).await;
    assert_eq!(
        (status, &error["error"]["type"]),
        (400, &json!("invalid_request_error"))
    );
    let count = with(
        turn("1", json!([user("x")])),
        json!({ "stream": null, "max_tokens": null }),
    );
    let (status, counted) = server
        .post_json("/v1/messages/count_tokens?beta=true", &count)
        .await;
    assert!(status == 200 && counted["input_tokens"].as_u64() > Some(6_000));
}
