//! `/v1/chat/completions` and `/v1/models`.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Setup, chat, events, filters, with};

const PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_whole_answer_has_every_required_key() {
    let server = Setup::default().start().await;
    let text = server
        .post(PATH, &chat("hello"))
        .await
        .text()
        .await
        .unwrap();
    filters().bind(|| assert_snapshot!("chat_whole", text));
}

#[tokio::test]
async fn a_stream_frame_by_frame() {
    let server = Setup::saying("Hi").start().await;
    let body = with(chat("x"), json!({ "stream": true }));
    let response = server.post(PATH, &body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let stream = response.text().await.unwrap();
    filters().bind(|| assert_snapshot!("chat_stream", stream));
}

#[tokio::test]
async fn a_stream_with_usage() {
    let server = Setup::saying("H").start().await;
    let options = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let stream = server.stream(PATH, &with(chat("x"), options)).await;
    filters().bind(|| assert_snapshot!("chat_stream_with_usage", stream));
}

#[tokio::test]
async fn all_chunks_share_id_and_time() {
    let server = Setup::saying("several tokens").start().await;
    let stream = server
        .stream(PATH, &with(chat("x"), json!({ "stream": true })))
        .await;
    let mut frames = events(&stream);
    assert_eq!(frames.pop().as_deref(), Some("[DONE]"));
    let chunks: Vec<Value> = frames
        .iter()
        .map(|f| serde_json::from_str(f).unwrap())
        .collect();
    assert!(chunks.iter().all(|c| c["id"] == chunks[0]["id"]));
    assert!(chunks.iter().all(|c| c["created"] == chunks[0]["created"]));
    let roles = chunks
        .iter()
        .filter(|c| c["choices"][0]["delta"].get("role").is_some())
        .count();
    assert_eq!(roles, 1);
    let text: String = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "several tokens");
}

#[tokio::test]
async fn the_same_prompt_is_the_same_text_in_every_dialect() {
    let server = Setup::default().start().await;
    let text = "same everywhere é";
    let (_, openai) = server.post_json(PATH, &chat(text)).await;
    let (_, native) = server.post_json("/api/generate", &chat(text)).await;
    assert_eq!(openai["choices"][0]["message"]["content"], text);
    assert_eq!(native["response"], text);
    assert_eq!(
        openai["usage"]["prompt_tokens"],
        native["usage"]["prompt_tokens"]
    );
}

#[tokio::test]
async fn several_choices() {
    let server = Setup::saying("yes").start().await;
    let (_, answer) = server
        .post_json(PATH, &with(chat("x"), json!({ "n": 3 })))
        .await;
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 3);
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["message"]["content"], "yes");
    }
    // Three bytes and the end token, three times.
    assert_eq!(answer["usage"]["completion_tokens"], 12);

    let stream = server
        .stream(PATH, &with(chat("x"), json!({ "n": 2, "stream": true })))
        .await;
    let mut texts = [String::new(), String::new()];
    let mut ended = [false; 2];
    for frame in events(&stream).iter().filter(|frame| *frame != "[DONE]") {
        let chunk: Value = serde_json::from_str(frame).unwrap();
        let choice = &chunk["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        texts[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        ended[index] |= choice["finish_reason"] == "stop";
    }
    assert_eq!(
        (texts, ended),
        (["yes".to_owned(), "yes".to_owned()], [true; 2])
    );
}

#[tokio::test]
async fn every_role_and_shape_of_message_is_taken() {
    let server = Setup::default().start().await;
    let body = json!({ "messages": [
        { "role": "developer", "content": "be brief" },
        { "role": "user", "content": "first", "name": null },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "1", "type": "function", "function": { "name": "f", "arguments": "{}" } } ] },
        { "role": "tool", "tool_call_id": "1", "content": "42" },
        { "role": "user", "content": [
            { "type": "text", "text": "two " }, { "type": "text", "text": "parts" } ] },
    ] });
    let (status, answer) = server.post_json(PATH, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "two parts");
}

#[tokio::test]
async fn what_is_left_out_is_named() {
    let server = Setup::default().start().await;
    let habits = json!({ "user": "u", "store": false, "metadata": {}, "service_tier": null,
        "an_unknown_field": 1 });
    let response = server.post(PATH, &with(chat("x"), habits)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["x-shimmy-ignored"],
        "metadata, store, user"
    );
    assert!(
        server
            .post(PATH, &chat("x"))
            .await
            .headers()
            .get("x-shimmy-ignored")
            .is_none()
    );
}

#[tokio::test]
async fn the_usual_extensions_are_honoured() {
    let server = Setup::default().start().await;
    let extensions = json!({ "top_k": -1, "min_p": 0.1, "typical_p": 0.9, "repeat_penalty": 1.1,
        "seed": -1, "logit_bias": { "97": -100 }, "max_completion_tokens": 2, "stop": null,
        "temperature": null, "tools": [], "tool_choice": "auto", "logprobs": false,
        "response_format": { "type": "text" }, "chat_template_kwargs": { "enable_thinking": false } });
    let (status, answer) = server.post_json(PATH, &with(chat("bcd"), extensions)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["usage"]["completion_tokens"], 2);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn a_stop_list_ends_the_answer() {
    let server = Setup::saying("one two").start().await;
    let (_, answer) = server
        .post_json(PATH, &with(chat("x"), json!({ "stop": [" two"] })))
        .await;
    assert_eq!(answer["choices"][0]["message"]["content"], "one");
}

#[tokio::test]
async fn json_mode_constrains_the_answer() {
    // The stub wants to say something else: only the constraint makes this an object.
    let server = Setup::saying("{no").start().await;
    let format = json!({ "response_format": { "type": "json_schema", "json_schema": {
        "name": "n", "strict": true,
        "schema": { "type": "object", "properties": { "a": { "const": 1 } },
            "required": ["a"], "additionalProperties": false } } } });
    let (status, answer) = server.post_json(PATH, &with(chat("x"), format)).await;
    assert_eq!(status, 200, "{answer}");
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(content).unwrap(),
        json!({ "a": 1 })
    );
}

#[tokio::test]
async fn the_model_list_has_what_clients_probe_for() {
    let server = Setup::default().start().await;
    let text = server.get("/v1/models").await.text().await.unwrap();
    assert_snapshot!("models", text);
}

#[tokio::test]
async fn one_model_by_an_id_with_slashes() {
    let server = Setup::default().start().await;
    for path in ["/v1/models/owner/tiny:q4", "/v1/models/owner%2Ftiny%3Aq4"] {
        let (status, model) = server.get_json(path).await;
        assert_eq!((status, &model["id"]), (200, &json!("owner/tiny:q4")));
        assert_eq!(model["created"], 1_700_000_000);
    }
    let (status, error) = server.get_json("/v1/models/nobody").await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (404, &json!("model_not_found"))
    );
    assert_eq!(server.get("/v1/models/stub/").await.status(), 404);
}

#[tokio::test]
async fn fields_that_are_left_out_are_of_their_kind_all_the_same() {
    let server = Setup::default().start().await;
    for (field, value) in [
        ("metadata", json!("x")),
        ("metadata", json!({ "a": 1 })),
        ("service_tier", json!(5)),
        ("store", json!("x")),
        ("verbosity", json!("bogus")),
        // Nothing asked is no question.
        ("messages", json!([{ "role": "user", "content": [] }])),
    ] {
        let body = with(chat("x"), json!({ field: value }));
        let (status, error) = server.post_json("/v1/chat/completions", &body).await;
        let param = error["error"]["param"].as_str().unwrap();
        assert!(
            status == 400 && param.starts_with(field),
            "{field}: {error}"
        );
    }
}
