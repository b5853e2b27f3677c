//! The requests of coding agents: several at once, tools, conversations that grow.

use serde_json::{Value, json};
use shimmy_engine::stub::Reply;

use crate::loader::TOOLS_TEMPLATE;
use crate::stream::{Streamed, strict};
use crate::support::{HANG, Setup, TestServer, chat, with};

const PATH: &str = "/v1/chat/completions";

/// Posts with the token of some other service, as agents do that insist on having one.
async fn post(server: &TestServer, body: &Value) -> reqwest::Response {
    let request = server.client.post(server.url(PATH)).json(body);
    let sent = request.bearer_auth("sk-of-somebody-else").send();
    let response = tokio::time::timeout(HANG, sent).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

async fn streamed(server: &TestServer, body: &Value) -> Streamed {
    let stream = post(server, body).await.text().await.unwrap();
    let asked = body["stream_options"]["include_usage"] == true;
    strict(&stream, asked)
}

fn message(role: &str, content: impl Into<Value>) -> Value {
    json!({ "role": role, "content": content.into() })
}

fn push(body: &mut Value, messages: impl IntoIterator<Item = Value>) {
    body["messages"].as_array_mut().unwrap().extend(messages);
}

fn prompt_tokens(streamed: &Streamed) -> u64 {
    streamed.usage.as_ref().unwrap()["prompt_tokens"]
        .as_u64()
        .unwrap()
}

fn opencode_title() -> Value {
    json!({
        "model": "stub", "max_tokens": 32_000, "temperature": 0.5, "stream": true,
        "stream_options": { "include_usage": true },
        "messages": [
            message("system", "You are a title generator. You output only a title."),
            message("user", "Generate a title for this conversation:\n"),
            message("user", "fix the parser"),
        ],
    })
}

fn opencode_answer() -> Value {
    let tool = |name: &str| {
        json!({ "type": "function", "function": {
            "name": name, "description": format!("Runs {name} in the project's folder."),
            "parameters": {
                "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
                "properties": {
                    "path": { "type": "string", "description": "Absolute" },
                    "limit": { "type": "number", "minimum": 0 },
                    "edits": { "type": "array", "items": { "type": "object",
                        "properties": { "old": { "type": "string" } }, "required": ["old"] } },
                },
                "required": ["path"], "additionalProperties": false,
            },
        } })
    };
    let tools = [
        "bash",
        "edit",
        "glob",
        "grep",
        "list",
        "read",
        "task",
        "todowrite",
        "webfetch",
        "write",
    ];
    json!({
        "model": "stub", "max_tokens": 32_000, "stream": true,
        "stream_options": { "include_usage": true },
        "messages": [
            message("system", "You are opencode, an agent. ".repeat(220)),
            message("user", "fix the parser"),
        ],
        "tools": tools.map(tool), "tool_choice": "auto",
    })
}

#[tokio::test]
async fn opencode_asks_for_a_title_and_an_answer_at_once() {
    let (mut setup, gate) = Setup::gated();
    setup.stub.reply = Reply::Fixed("Fixing it.".to_owned());
    setup.stub.batch = 1 << 12;
    setup.template = Some(TOOLS_TEMPLATE);
    let server = setup.start().await;
    let (title, mut answer) = (opencode_title(), opencode_answer());
    // The gate is shut: both begin before anything is computed.
    let mut began = tokio::join!(post(&server, &title), post(&server, &answer));
    assert!(!began.1.headers().contains_key("x-shimmy-ignored"));
    let mut streams = [String::new(), String::new()];
    for (stream, response) in streams.iter_mut().zip([&mut began.0, &mut began.1]) {
        let first = tokio::time::timeout(HANG, response.chunk()).await.unwrap();
        let first = first.unwrap().unwrap();
        assert!(first.starts_with(b"data: {"), "{first:?}");
        stream.push_str(std::str::from_utf8(&first).unwrap());
    }
    gate.step_until(|| server.engine().running == 2).await;
    let rest = async { tokio::join!(began.0.text(), began.1.text()) };
    let rest = gate.step_while(rest).await;
    streams[0].push_str(&rest.0.unwrap());
    streams[1].push_str(&rest.1.unwrap());
    let [titled, answered] = streams.map(|stream| strict(&stream, true));
    for done in [&titled, &answered] {
        assert_eq!((&*done.text, &*done.finish_reason), ("Fixing it.", "stop"));
    }
    let definitions = answer["tools"].to_string().len() as u64;
    assert!(
        prompt_tokens(&answered) > definitions,
        "the model reads of its tools"
    );

    drop(gate);
    let call = json!({ "role": "assistant", "content": "", "tool_calls": [ {
        "id": "call_1", "type": "function",
        "function": { "name": "read", "arguments": "{\"path\":\"/src/parser.rs\"}" } } ] });
    let outcome = json!({ "role": "tool", "tool_call_id": "call_1", "content": "fn parse() {}" });
    push(&mut answer, [call, outcome]);
    let followed = streamed(&server, &answer).await;
    assert_eq!(followed.text, "Fixing it.");
    assert!(prompt_tokens(&followed) > prompt_tokens(&answered));
}

/// Asks, lets the conversation grow by the answer and a further question, and asks again.
async fn two_turns(mut body: Value, question: Value, text: &str) {
    let mut setup = Setup::default();
    setup.stub.cells = 1 << 18;
    setup.stub.batch = 1 << 15;
    let server = setup.start().await;
    let first = streamed(&server, &body).await;
    assert_eq!(first.finish_reason, "stop");
    push(&mut body, [message("assistant", first.text), question]);
    let second = streamed(&server, &body).await;
    // The stub repeats the last question: the whole conversation has arrived.
    assert_eq!((&*second.text, &*second.finish_reason), (text, "stop"));
    if let Some(before) = &first.usage {
        let after = second.usage.unwrap();
        let tokens = |usage: &Value| usage["prompt_tokens"].as_u64().unwrap();
        assert!(tokens(&after) > tokens(before), "{after}");
    }
}

#[tokio::test]
async fn continue_streams_a_conversation() {
    let body = json!({
        "model": "stub", "stream": true, "max_tokens": 4096, "temperature": 0.2, "stop": null,
        "messages": [
            message("system", "<important_rules>You are in chat mode.</important_rules>"),
            message("user", "```src/a.rs\nfn a() {}\n```\nwhat is a?"),
        ],
    });
    two_turns(body, message("user", "and b?"), "and b?").await;
}

#[tokio::test]
async fn cline_sends_parts_and_wants_usage() {
    let parts = |texts: [&str; 2]| {
        let part = |text| json!({ "type": "text", "text": text });
        message("user", json!(texts.map(part)))
    };
    let body = json!({
        "model": "stub", "stream": true, "temperature": 0,
        "stream_options": { "include_usage": true },
        "messages": [
            message("system", "You are Cline, a skilled engineer. ".repeat(300)),
            parts(["<task>\nfix\n</task>", "<environment_details>\n/</environment_details>"]),
        ],
    });
    two_turns(
        body,
        parts(["[read_file] Result:", "fn a() {}"]),
        "[read_file] Result:fn a() {}",
    )
    .await;
}

#[tokio::test]
async fn aider_sends_its_whole_repository_map_and_no_limit() {
    let mut body = json!({
        "model": "stub", "stream": true, "temperature": 0,
        "messages": [message("system", "Act as an expert software developer.")],
    });
    let file = |n: usize| format!("src/module_{n}.rs:\n{}", "⋮\n│pub fn run()\n".repeat(300));
    push(
        &mut body,
        (0..12).flat_map(|n| [message("user", file(n)), message("assistant", "Ok.")]),
    );
    push(&mut body, [message("user", "add a test")]);
    assert!(body.to_string().len() > 60_000);
    two_turns(body, message("user", "and run it"), "and run it").await;
}

#[tokio::test]
async fn an_answer_without_a_limit_ends_with_the_default_one_or_with_the_context() {
    for default_max_tokens in [Some(5), None] {
        let mut setup = Setup::default();
        setup.stub.reply = Reply::Mixed;
        setup.stub.cells = 256;
        setup.server.default_max_tokens = default_max_tokens;
        let server = setup.start().await;
        let usage = json!({ "stream": true, "stream_options": { "include_usage": true } });
        let ended = streamed(&server, &with(chat("x"), usage)).await;
        assert_eq!(ended.finish_reason, "length");
        let usage = ended.usage.unwrap();
        match default_max_tokens {
            Some(limit) => assert_eq!(usage["completion_tokens"], limit),
            None => assert_eq!(usage["total_tokens"], 256),
        }
    }
}
