//! `/v1/responses` over a WebSocket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use shimmy_engine::stub::Reply;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::codex;
use crate::support::{HANG, Setup, TestServer, with};
use crate::websocket::{Client, send};

async fn connect(server: &TestServer) -> Client {
    let url = format!("ws://{}/v1/responses", server.address);
    connect_async(url).await.unwrap().0
}

fn create(text: &str) -> Value {
    json!({ "type": "response.create", "model": "stub", "input": text })
}

/// The next event; `None` when the connection is closed.
async fn event(client: &mut Client) -> Option<Value> {
    loop {
        let message = tokio::time::timeout(HANG, client.next()).await.unwrap()?;
        match message.unwrap() {
            Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return None,
            other => panic!("{other:?}"),
        }
    }
}

/// The events of one answer, or the error in place of it.
async fn answer(client: &mut Client) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let event = event(client).await.expect("the connection was closed");
        let last = event["type"].as_str().unwrap().to_owned();
        events.push(event);
        if matches!(
            last.as_str(),
            "response.completed" | "response.incomplete" | "response.failed" | "error"
        ) {
            return events;
        }
    }
}

fn last(events: &[Value]) -> &Value {
    events.last().unwrap()
}

fn text(events: &[Value]) -> &str {
    let output = &last(events)["response"]["output"];
    output[0]["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn one_answer_after_the_other_each_with_its_own_numbers() {
    let server = Setup::default().start().await;
    let mut client = connect(&server).await;
    for prompt in ["first", "second é"] {
        send(&mut client, &create(prompt)).await;
        let events = answer(&mut client).await;
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number);
        }
        assert_eq!(events[0]["type"], "response.created");
        assert_eq!(last(&events)["type"], "response.completed");
        assert_eq!(text(&events), prompt);
    }
}

#[tokio::test]
async fn codex_goes_on_from_its_last_answer_though_it_wants_nothing_kept() {
    let mut setup = Setup::default();
    setup.stub.cells = 1 << 16;
    setup.stub.batch = 1 << 14;
    let server = setup.start().await;
    let mut client = connect(&server).await;
    let typed = json!({ "type": "response.create" });
    let warm_up = with(
        with(codex::turn(json!([])), typed.clone()),
        json!({ "generate": false }),
    );
    send(&mut client, &warm_up).await;
    let warmed = answer(&mut client).await;
    assert_eq!(warmed.len(), 3, "{warmed:?}");
    let previous = json!({ "previous_response_id": last(&warmed)["response"]["id"] });

    let first = with(
        with(codex::turn(json!(codex::opening())), typed.clone()),
        previous,
    );
    send(&mut client, &first).await;
    let first = answer(&mut client).await;
    assert_eq!(text(&first), "list the files");
    let id = last(&first)["response"]["id"].clone();
    send(
        &mut client,
        &json!({ "type": "response.processed", "response_id": id }),
    )
    .await;

    let more = json!([{ "role": "user", "content": "and now?" }]);
    let more = with(
        codex::turn(more),
        with(typed, json!({ "previous_response_id": id })),
    );
    send(&mut client, &more).await;
    let second = answer(&mut client).await;
    assert_eq!(text(&second), "and now?");
    let tokens = |events: &[Value]| {
        let usage = &last(events)["response"]["usage"];
        usage["input_tokens"].as_u64().unwrap()
    };
    assert!(tokens(&second) > tokens(&first));

    // Nothing of it is there for others.
    let mut other = connect(&server).await;
    send(&mut other, &more).await;
    let refused = answer(&mut other).await;
    assert_eq!(
        refused[0],
        json!({ "type": "error", "status": 400, "error": {
            "message": format!("previous response with id '{}' not found", id.as_str().unwrap()),
            "type": "invalid_request_error", "param": "previous_response_id",
            "code": "previous_response_not_found" } })
    );
}

#[tokio::test]
async fn a_wrong_request_is_answered_and_the_next_one_too() {
    let server = Setup::default().start().await;
    let mut client = connect(&server).await;
    for (message, field) in [
        (json!({ "input": "x" }), "type"),
        (json!({ "type": "response.steer" }), "type"),
        (json!({ "type": "response.create" }), "input"),
        (
            with(create("x"), json!({ "max_output_tokens": 0 })),
            "max_output_tokens",
        ),
    ] {
        send(&mut client, &message).await;
        let events = answer(&mut client).await;
        assert_eq!(
            (&events[0]["status"], &events[0]["error"]["param"]),
            (&json!(400), &json!(field))
        );
    }
    client.send(Message::text("no json")).await.unwrap();
    assert_eq!(
        answer(&mut client).await[0]["error"]["type"],
        "invalid_request_error"
    );
    send(
        &mut client,
        &with(create("x"), json!({ "model": "nobody" })),
    )
    .await;
    let events = answer(&mut client).await;
    assert_eq!(
        (&events[0]["status"], &events[0]["error"]["code"]),
        (&json!(404), &json!("model_not_found"))
    );
    send(&mut client, &create("still here")).await;
    assert_eq!(text(&answer(&mut client).await), "still here");
}

#[tokio::test]
async fn what_comes_during_an_answer_waits_for_its_end() {
    let (mut setup, gate) = Setup::gated();
    setup.stub.reply = Reply::Fixed("done".to_owned());
    let server = setup.start().await;
    let mut client = connect(&server).await;
    for _ in 0..3 {
        send(&mut client, &create("x")).await;
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        let events = gate.step_while(answer(&mut client)).await;
        assert_eq!(text(&events), "done");
        ids.push(last(&events)["response"]["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn too_much_at_once_ends_the_connection() {
    let (setup, _gate) = Setup::gated();
    let server = setup.start().await;
    let mut client = connect(&server).await;
    for _ in 0..30 {
        if client
            .send(Message::text(create("x").to_string()))
            .await
            .is_err()
        {
            break;
        }
    }
    let closed = async {
        loop {
            match client.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let code = tokio::time::timeout(HANG, closed).await.unwrap();
    assert_eq!(code, CloseCode::Policy);
}

#[tokio::test]
async fn signs_of_life_are_events() {
    let (mut setup, gate) = Setup::gated();
    setup.server.keep_alive = Duration::from_millis(10);
    setup.stub.reply = Reply::Fixed("done".to_owned());
    let server = setup.start().await;
    let mut client = connect(&server).await;
    send(&mut client, &create("x")).await;
    for number in 0..4 {
        let event = event(&mut client).await.unwrap();
        assert_eq!(event["sequence_number"], number);
        let expected = ["response.created", "response.in_progress"][usize::from(number > 0)];
        assert_eq!(event["type"], expected);
    }
    assert_eq!(text(&gate.step_while(answer(&mut client)).await), "done");
}

#[tokio::test]
async fn a_connection_that_is_too_old_says_so() {
    let mut setup = Setup::default();
    setup.server.websocket_max_age = Duration::ZERO;
    let server = setup.start().await;
    let mut client = connect(&server).await;
    send(&mut client, &create("x")).await;
    let events = answer(&mut client).await;
    let error = &events[0]["error"];
    assert_eq!(error["code"], "websocket_connection_limit_reached");
    assert_eq!(event(&mut client).await, None);
}

#[tokio::test]
async fn a_failure_is_the_last_event_of_its_answer_and_the_connection_goes_on() {
    let mut setup = Setup::saying("several tokens");
    setup.stub.fail_at_step = Some(3);
    let server = setup.start().await;
    let mut client = connect(&server).await;
    send(&mut client, &create("x")).await;
    let events = answer(&mut client).await;
    assert_eq!(last(&events)["type"], "response.failed");
    assert_eq!(last(&events)["response"]["error"]["code"], "server_error");
    send(&mut client, &create("again")).await;
    assert_eq!(text(&answer(&mut client).await), "several tokens");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let (setup, gate) = Setup::gated();
    let server = setup.start().await;
    let mut client = connect(&server).await;
    send(&mut client, &create("x")).await;
    gate.step_until(|| server.engine().running == 1).await;
    drop(client);
    let steps = gate.step_until(|| server.engine().occupied == 0).await;
    assert!(steps < 30_000, "the answer ran to its end");
}

#[tokio::test]
async fn a_plain_get_is_told_what_is_missing() {
    let server = Setup::default().start().await;
    let (status, error) = server.get_json("/v1/responses").await;
    assert_eq!(status, 400);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("a WebSocket is needed"), "{message}");
}
