//! `/v1/responses` over HTTP, event by event.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};
use shimmy_engine::stub::Reply;

use crate::loader::TOOLS_TEMPLATE;
use crate::messages::{named, until};
use crate::support::{Setup, filters, with};

pub(crate) const PATH: &str = "/v1/responses";

pub(crate) fn ask(text: &str) -> Value {
    json!({ "model": "stub", "input": text })
}

fn snapshot_settings() -> insta::Settings {
    let mut settings = filters();
    settings.add_filter(
        r#""(resp|msg|rs|fc|ctc|call)_[0-9a-f]{24}"#,
        r#""${1}_[id]"#,
    );
    settings.add_filter(r#"_at":\d{10}"#, r#"_at":[time]"#);
    settings
}

/// The text of a whole response.
fn text(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"]
        .as_str()
        .unwrap()
}

fn input_tokens(response: &Value) -> u64 {
    response["usage"]["input_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn a_whole_response_has_every_key_of_the_published_schema() {
    let server = Setup::default().start().await;
    let answer = server.post(PATH, &ask("hello")).await.text().await.unwrap();
    snapshot_settings().bind(|| assert_snapshot!("responses_whole", answer));
}

#[tokio::test]
async fn a_stream_event_by_event() {
    let server = Setup::saying("Hi").start().await;
    let body = with(ask("x"), json!({ "stream": true }));
    let response = server.post(PATH, &body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let stream = response.text().await.unwrap();
    for (number, (_, event)) in named(&stream).iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let events = named(&stream).into_iter().map(|(name, mut event)| {
        if let Some(response) = event.get_mut("response") {
            let kept = json!({ "status": response["status"], "output": response["output"],
                "usage": response["usage"] });
            *response = kept;
        }
        format!("{name} {event}\n")
    });
    let events: String = events.collect();
    snapshot_settings().bind(|| assert_snapshot!("responses_stream", events));
}

#[tokio::test]
async fn what_was_asked_is_repeated() {
    let server = Setup::default().start().await;
    let asked = json!({
        "instructions": "Be brief.", "max_output_tokens": 50, "max_tool_calls": 3,
        "metadata": { "topic": "x" }, "parallel_tool_calls": false, "prompt_cache_key": "k",
        "reasoning": { "effort": "low", "summary": "auto" }, "safety_identifier": "s",
        "store": false, "temperature": 0.25, "top_p": 0.5, "tool_choice": "none", "top_logprobs": 2,
        "text": { "format": { "type": "json_object" }, "verbosity": "low" }, "user": "u",
        "tools": [{ "type": "function", "name": "f", "parameters": { "type": "object" } }],
    });
    let (status, answer) = server
        .post_json(PATH, &with(ask("{\"a\":1}"), asked.clone()))
        .await;
    assert_eq!(status, 200, "{answer}");
    for (name, value) in asked.as_object().unwrap() {
        match name.as_str() {
            "tools" => assert_eq!(
                answer["tools"][0],
                json!({ "type": "function", "name": "f", "parameters": { "type": "object" },
                    "description": null, "strict": false })
            ),
            _ => assert_eq!(answer[name], *value, "{name}"),
        }
    }
}

#[tokio::test]
async fn signs_of_life_are_events_that_count_on() {
    let (mut setup, gate) = Setup::gated();
    setup.server.keep_alive = Duration::from_millis(10);
    setup.stub.reply = Reply::Fixed("done".to_owned());
    let server = setup.start().await;
    let mut response = server
        .post(PATH, &with(ask("x"), json!({ "stream": true })))
        .await;
    // The gate is shut: these come out of a prefill that takes its time.
    let mut stream = until(&mut response, "event: response.in_progress\n", 3).await;
    stream.push_str(&gate.step_while(response.text()).await.unwrap());
    let events = named(&stream);
    assert_eq!(events[0].0, "response.created");
    assert_eq!(events.last().unwrap().0, "response.completed");
    for (number, (_, event)) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
}

#[tokio::test]
async fn a_failure_in_the_middle_is_told_and_nothing_is_kept() {
    let mut setup = Setup::saying("several tokens");
    setup.stub.fail_from_step = Some(3);
    let server = setup.start().await;
    let stream = server
        .stream(PATH, &with(ask("x"), json!({ "stream": true })))
        .await;
    let events = named(&stream);
    let [.., (before, error), (last, failed)] = events.as_slice() else {
        panic!("{stream}")
    };
    assert_eq!(
        (before.as_str(), last.as_str()),
        ("error", "response.failed")
    );
    assert_eq!(error["code"], "generation_failed");
    assert_eq!(failed["response"]["error"]["code"], "server_error");
    let id = failed["response"]["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("{PATH}/{id}")).await.status(), 404);
    let (status, error) = server.post_json(PATH, &ask("x")).await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (502, &json!("generation_failed"))
    );
}

#[tokio::test]
async fn an_answer_that_is_cut_is_incomplete() {
    let server = Setup::saying("one two").start().await;
    let short = with(ask("x"), json!({ "max_output_tokens": 3 }));
    let (_, answer) = server.post_json(PATH, &short).await;
    assert_eq!(
        (&answer["status"], text(&answer)),
        (&json!("incomplete"), "one")
    );
    assert_eq!(
        answer["incomplete_details"],
        json!({ "reason": "max_output_tokens" })
    );
    let stream = server
        .stream(PATH, &with(short, json!({ "stream": true })))
        .await;
    assert_eq!(named(&stream).last().unwrap().0, "response.incomplete");
}

#[tokio::test]
async fn a_conversation_goes_on_from_a_kept_answer() {
    let server = Setup::default().start().await;
    let (_, first) = server
        .post_json(PATH, &with(ask("first"), json!({ "instructions": "I." })))
        .await;
    let next = json!({ "previous_response_id": first["id"] });
    let (status, second) = server.post_json(PATH, &with(ask("second"), next)).await;
    assert_eq!((status, text(&second)), (200, "second"), "{second}");
    assert_eq!(second["previous_response_id"], first["id"]);
    assert_eq!(
        second["instructions"],
        Value::Null,
        "instructions are for one answer"
    );

    // The same as all of it at once.
    let whole = json!({ "input": [
        { "role": "user", "content": "first" },
        { "role": "assistant", "content": "first" },
        { "role": "user", "content": "second" },
    ] });
    let (_, whole) = server.post_json(PATH, &whole).await;
    assert_eq!(input_tokens(&second), input_tokens(&whole));
    let items = json!({ "input": [
        { "role": "user", "content": "first" },
        { "type": "item_reference", "id": first["output"][0]["id"] },
        { "role": "user", "content": "second" },
    ] });
    let (status, referred) = server.post_json(PATH, &items).await;
    assert_eq!(status, 200, "{referred}");
    assert_eq!(input_tokens(&referred), input_tokens(&whole));
}

#[tokio::test]
async fn a_kept_answer_can_be_seen_and_forgotten() {
    let server = Setup::default().start().await;
    let (_, answer) = server.post_json(PATH, &ask("keep")).await;
    let path = format!("{PATH}/{}", answer["id"].as_str().unwrap());
    assert_eq!(server.get_json(&path).await, (200, answer.clone()));
    assert_eq!(
        server.get(&format!("{path}?stream=true")).await.status(),
        400
    );
    let deleted = server
        .client
        .delete(server.url(&path))
        .send()
        .await
        .unwrap();
    let deleted: Value = deleted.json().await.unwrap();
    assert_eq!(
        deleted,
        json!({ "id": answer["id"], "object": "response", "deleted": true })
    );
    let (status, error) = server.get_json(&path).await;
    assert_eq!(
        (status, &error["error"]["type"]),
        (404, &json!("invalid_request_error"))
    );
    let again = server
        .client
        .delete(server.url(&path))
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 404);

    let (_, unkept) = server
        .post_json(PATH, &with(ask("x"), json!({ "store": false })))
        .await;
    let path = format!("{PATH}/{}", unkept["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.status(), 404);
    let next = json!({ "previous_response_id": unkept["id"] });
    let (status, error) = server.post_json(PATH, &with(ask("y"), next)).await;
    assert_eq!(status, 400);
    assert_eq!(
        error["error"],
        json!({ "message": format!("previous response with id '{}' not found", unkept["id"].as_str().unwrap()),
            "type": "invalid_request_error", "param": "previous_response_id",
            "code": "previous_response_not_found" })
    );
}

#[tokio::test]
async fn kept_answers_are_bounded() {
    let mut setup = Setup::default();
    setup.server.max_kept_responses = 2;
    let server = setup.start().await;
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        let (_, answer) = server.post_json(PATH, &ask(text)).await;
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    let mut found = Vec::new();
    for id in &ids {
        found.push(server.get(&format!("{PATH}/{id}")).await.status().as_u16());
    }
    assert_eq!(found, [404, 200, 200]);
}

#[tokio::test]
async fn a_schema_shapes_the_answer() {
    let server = Setup::saying("{no").start().await;
    let format = json!({ "text": { "format": { "type": "json_schema", "name": "n", "strict": true,
        "schema": { "type": "object", "properties": { "a": { "const": 1 } },
            "required": ["a"], "additionalProperties": false } } } });
    let (status, answer) = server.post_json(PATH, &with(ask("x"), format)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        serde_json::from_str::<Value>(text(&answer)).unwrap(),
        json!({ "a": 1 })
    );
}

#[tokio::test]
async fn the_tokens_counted_are_the_tokens_used() {
    let setup = Setup {
        template: Some(TOOLS_TEMPLATE),
        ..Setup::default()
    };
    let server = setup.start().await;
    let body = with(
        ask("count me"),
        json!({ "instructions": "You count.", "tools": [
        { "type": "function", "name": "f", "parameters": { "type": "object" } } ] }),
    );
    let (_, counted) = server.post_json("/v1/responses/input_tokens", &body).await;
    let (_, answer) = server.post_json(PATH, &body).await;
    assert_eq!(
        counted,
        json!({ "object": "response.input_tokens", "input_tokens": input_tokens(&answer) })
    );
    let without = with(body, json!({ "tool_choice": "none" }));
    let (_, fewer) = server
        .post_json("/v1/responses/input_tokens", &without)
        .await;
    assert!(fewer["input_tokens"].as_u64() < counted["input_tokens"].as_u64());
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let (setup, gate) = Setup::gated();
    let server = setup.start().await;
    let response = server
        .post(PATH, &with(ask("x"), json!({ "stream": true })))
        .await;
    gate.step_until(|| server.engine().running == 1).await;
    drop(response);
    let steps = gate.step_until(|| server.engine().occupied == 0).await;
    assert!(steps < 30_000, "the answer ran to its end");
}

#[tokio::test]
async fn what_is_left_out_is_named() {
    let server = Setup::default().start().await;
    let habits = json!({ "user": "u", "service_tier": "auto", "truncation": "auto",
        "text": { "verbosity": "low" }, "tools": [{ "type": "image_generation" }],
        "prompt_cache_retention": "24h", "unknown": 1 });
    let response = server.post(PATH, &with(ask("x"), habits)).await;
    assert_eq!(
        response.headers()["x-shimmy-ignored"],
        "prompt_cache_retention, service_tier, user, tools.image_generation, text.verbosity, truncation"
    );
}
