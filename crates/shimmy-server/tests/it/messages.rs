//! `/v1/messages`, frame by frame.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::messages_errors::refused;
use crate::support::{HANG, Setup, filters, with};

pub(crate) const PATH: &str = "/v1/messages";

pub(crate) fn ask(text: &str) -> Value {
    json!({ "model": "stub", "max_tokens": 64, "messages": [{ "role": "user", "content": text }] })
}

/// The names and the data of a stream's events.
pub(crate) fn named(stream: &str) -> Vec<(String, Value)> {
    let body = stream.strip_suffix("\n\n").expect("ends with an event");
    body.split("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').expect(event);
            let name = name.strip_prefix("event: ").expect(event);
            let data = data.strip_prefix("data: ").expect(event);
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["type"], name, "{event}");
            (name.to_owned(), data)
        })
        .collect()
}

/// Reads a stream until it has held `text` so often.
pub(crate) async fn until(response: &mut reqwest::Response, text: &str, times: usize) -> String {
    let mut stream = String::new();
    let reading = async {
        while stream.matches(text).count() < times {
            let chunk = response
                .chunk()
                .await
                .unwrap()
                .expect("the stream has ended");
            stream.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(HANG, reading).await.expect(text);
    stream
}

fn snapshot_settings() -> insta::Settings {
    let mut settings = filters();
    settings.add_filter(r#""(msg|toolu|req)_[0-9a-f]{24}"#, r#""${1}_[id]"#);
    settings
}

#[tokio::test]
async fn a_whole_answer_has_every_key_of_the_published_schema() {
    let server = Setup::default().start().await;
    let response = server.post(PATH, &ask("hello")).await;
    assert_eq!(response.status(), 200);
    let id = response.headers()["request-id"].to_str().unwrap();
    assert!(id.starts_with("req_"), "{id}");
    let text = response.text().await.unwrap();
    snapshot_settings().bind(|| assert_snapshot!("messages_whole", text));
}

#[tokio::test]
async fn a_stream_frame_by_frame() {
    let server = Setup::saying("Hi").start().await;
    let response = server
        .post(PATH, &with(ask("x"), json!({ "stream": true })))
        .await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let stream = response.text().await.unwrap();
    snapshot_settings().bind(|| assert_snapshot!("messages_stream", stream));
}

#[tokio::test]
async fn the_first_event_comes_before_anything_is_computed_and_pings_while_nothing_happens() {
    let (mut setup, gate) = Setup::gated();
    setup.server.keep_alive = Duration::from_millis(10);
    setup.stub.reply = shimmy_engine::stub::Reply::Fixed("done".to_owned());
    let server = setup.start().await;
    let mut response = server
        .post(PATH, &with(ask("x"), json!({ "stream": true })))
        .await;
    // The gate is shut: these come out of a prefill that takes its time.
    let mut stream = until(&mut response, "event: ping\n", 2).await;
    stream.push_str(&gate.step_while(response.text()).await.unwrap());
    let events = named(&stream);
    assert_eq!(events[0].0, "message_start");
    assert_eq!(events[1].0, "ping");
    let started = &events[0].1["message"]["usage"];
    let (_, last) = &events[events.len() - 2];
    assert_eq!(last["delta"]["stop_reason"], "end_turn");
    assert!(started["input_tokens"].as_u64().unwrap() > 0);
    assert_eq!(
        started["input_tokens"], last["usage"]["input_tokens"],
        "nothing was cached"
    );
}

#[tokio::test]
async fn a_failure_in_the_middle_is_an_event_of_its_own_and_the_last() {
    let mut setup = Setup::saying("several tokens");
    setup.stub.fail_from_step = Some(3);
    let server = setup.start().await;
    let stream = server
        .stream(PATH, &with(ask("x"), json!({ "stream": true })))
        .await;
    let events = named(&stream);
    let (name, error) = events.last().unwrap();
    assert_eq!(name, "error");
    assert_eq!(error["error"]["type"], "api_error");
    assert!(!stream.contains("message_stop"));
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let (setup, gate) = Setup::gated();
    let server = setup.start().await;
    let body = with(ask("x"), json!({ "stream": true, "max_tokens": 60_000 }));
    let response = server.post(PATH, &body).await;
    gate.step_until(|| server.engine().running == 1).await;
    drop(response);
    let steps = gate.step_until(|| server.engine().occupied == 0).await;
    assert!(steps < 30_000, "the answer ran to its end");
}

#[tokio::test]
async fn an_answer_ends_for_the_reason_it_says() {
    let server = Setup::saying("one two").start().await;
    let (_, answer) = server.post_json(PATH, &ask("x")).await;
    assert_eq!(answer["stop_reason"], "end_turn");
    let stops = with(ask("x"), json!({ "stop_sequences": ["nine", " two"] }));
    let (_, answer) = server.post_json(PATH, &stops).await;
    assert_eq!(
        (
            &answer["content"][0]["text"],
            &answer["stop_reason"],
            &answer["stop_sequence"]
        ),
        (&json!("one"), &json!("stop_sequence"), &json!(" two"))
    );
    let short = with(ask("x"), json!({ "max_tokens": 3 }));
    let (_, answer) = server.post_json(PATH, &short).await;
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("max_tokens"), &Value::Null)
    );
    assert_eq!(answer["usage"]["output_tokens"], 3);
}

#[tokio::test]
async fn a_schema_shapes_the_answer_by_either_name() {
    let server = Setup::saying("{no").start().await;
    let format = json!({ "type": "json_schema", "schema": { "type": "object",
        "properties": { "a": { "const": 1 } }, "required": ["a"], "additionalProperties": false } });
    for fields in [
        json!({ "output_config": { "format": format, "effort": "low" } }),
        json!({ "output_format": format }),
    ] {
        let (status, answer) = server.post_json(PATH, &with(ask("x"), fields)).await;
        assert_eq!(status, 200, "{answer}");
        let text = answer["content"][0]["text"].as_str().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(text).unwrap(),
            json!({ "a": 1 })
        );
    }
}

#[tokio::test]
async fn an_answer_goes_on_from_what_it_has_been_given() {
    let server = Setup::default().start().await;
    let opened = |fields: Value| {
        let messages = json!({ "messages": [
            { "role": "user", "content": "Say {\"a\":1}" }, { "role": "assistant", "content": "{" } ] });
        with(with(ask(""), messages), fields)
    };
    // The stub repeats the user's words from as far as the answer has got.
    let (status, answer) = server.post_json(PATH, &opened(json!({}))).await;
    assert_eq!(
        (status, &answer["content"][0]["text"]),
        (200, &json!("ay {\"a\":1}"))
    );
    for fields in [
        json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } }),
        json!({ "output_config": { "format": { "type": "json_schema", "schema": {} } } }),
        json!({ "tools": [{ "name": "f", "input_schema": {} }], "tool_choice": { "type": "any" } }),
    ] {
        let (status, kind, message) = refused(&server, &opened(fields)).await;
        assert_eq!(
            (status, kind.as_str()),
            (400, "invalid_request_error"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn the_tokens_counted_are_the_tokens_used() {
    let server = Setup::default().start().await;
    let body = with(
        ask("count me"),
        json!({ "system": "You count.", "tools": [
        { "name": "f", "input_schema": { "type": "object" } } ] }),
    );
    let (status, counted) = server.post_json("/v1/messages/count_tokens", &body).await;
    assert_eq!(status, 200, "{counted}");
    let (_, answer) = server.post_json(PATH, &body).await;
    let usage = &answer["usage"];
    let used = usage["input_tokens"].as_u64().unwrap();
    let cached = usage["cache_read_input_tokens"].as_u64().unwrap();
    assert_eq!(counted, json!({ "input_tokens": used + cached }));
    // What would not fit can be counted all the same: that is what it is asked for.
    let long = with(ask(&"x".repeat(100_000)), json!({ "max_tokens": null }));
    let (status, counted) = server.post_json("/v1/messages/count_tokens", &long).await;
    assert!(
        status == 200 && counted["input_tokens"].as_u64() > Some(100_000),
        "{counted}"
    );
}

#[tokio::test]
async fn the_model_list_has_this_vendors_shape_for_its_clients() {
    let server = Setup::default().start().await;
    let get = async |query: &str| -> (u16, Value) {
        let request = server.client.get(server.url(&format!("/v1/models{query}")));
        let request = request.header("anthropic-version", "2023-06-01");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    };
    let (_, list) = get("?limit=1000").await;
    assert_eq!(
        list,
        json!({ "data": [
            { "type": "model", "id": "stub", "display_name": "stub",
              "created_at": "2023-11-14T22:13:20Z", "lifecycle": "active",
              "max_input_tokens": 4096, "max_tokens": 4096, "capabilities": null },
            { "type": "model", "id": "owner/tiny:q4", "display_name": "owner/tiny:q4",
              "created_at": "2023-11-14T22:13:20Z", "lifecycle": "active",
              "max_input_tokens": null, "max_tokens": null, "capabilities": null } ],
            "has_more": false, "first_id": "stub", "last_id": "owner/tiny:q4" })
    );
    let (_, page) = get("?limit=1").await;
    assert_eq!(
        (&page["last_id"], &page["has_more"]),
        (&json!("stub"), &json!(true))
    );
    let (_, page) = get("?limit=1&after_id=stub").await;
    assert_eq!(
        (&page["last_id"], &page["has_more"]),
        (&json!("owner/tiny:q4"), &json!(false))
    );
    let (_, page) = get("?before_id=owner/tiny:q4").await;
    assert_eq!(
        (&page["last_id"], &page["has_more"]),
        (&json!("stub"), &json!(false))
    );
    for query in [
        "?limit=0",
        "?limit=x",
        "?after_id=nobody",
        "?after_id=stub&before_id=stub",
    ] {
        assert_eq!(get(query).await.0, 400, "{query}");
    }
    let (_, model) = get("/stub").await;
    assert_eq!(model["type"], "model");
    // Without the header it is the other vendor's, whatever the query says.
    let (status, list) = server.get_json("/v1/models?limit=1000").await;
    assert_eq!((status, &list["object"]), (200, &json!("list")));
}

#[tokio::test]
async fn what_is_left_out_is_named() {
    let server = Setup::default().start().await;
    let habits = json!({ "metadata": { "user_id": "u" }, "service_tier": "auto", "container": null,
        "context_management": { "edits": [] }, "tools": [
            { "type": "web_search_20250305", "name": "web_search", "max_uses": 8 },
            { "type": "bash_20250124", "name": "bash" } ],
        "thinking": { "type": "enabled", "budget_tokens": 4096 }, "unknown": 1 });
    let response = server.post(PATH, &with(ask("x"), habits)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["x-shimmy-ignored"],
        "context_management, metadata, service_tier, tools.web_search_20250305, \
         tools.bash_20250124, thinking.budget_tokens, thinking"
    );
    let plain = server.post(PATH, &ask("x")).await;
    assert!(!plain.headers().contains_key("x-shimmy-ignored"));
}
