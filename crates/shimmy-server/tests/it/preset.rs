//! What a model's maker wants of requests that do not say: in every dialect, under their own words.

use serde_json::{Value, json};
use shimmy_chat::Message;
use shimmy_engine::stub::{Reply, StubConfig};
use shimmy_server::Preset;

use crate::support::{Setup, TestServer, with};

/// A model that says its whole prompt back, told to be brief and to stop at `END`.
async fn told() -> TestServer {
    let setup = Setup {
        stub: StubConfig {
            reply: Reply::Fixed("one END two".to_owned()),
            ..StubConfig::default()
        },
        preset: Preset {
            system: Some("Be brief.".to_owned()),
            messages: vec![Message::new("user", "hi"), Message::new("assistant", "ho")],
            stop: vec!["END".to_owned()],
            max_tokens: None,
        },
        ..Setup::default()
    };
    setup.start().await
}

/// A request of every dialect that is a conversation, and where its answer has the text.
fn conversations(system: Option<&str>) -> Vec<(&'static str, Value, &'static str)> {
    let user = json!({ "role": "user", "content": "hello" });
    let messages: Vec<Value> = system
        .map(|text| json!({ "role": "system", "content": text }))
        .into_iter()
        .chain([user.clone()])
        .collect();
    let chat = json!({ "model": "stub", "messages": messages, "stream": false });
    let anthropic = json!({ "model": "stub", "messages": [user], "max_tokens": 50 });
    let responses = json!({ "model": "stub", "input": "hello" });
    let prompt = json!({ "model": "stub", "prompt": "hello", "stream": false });
    let with_system = |body: Value, field: &str| match system {
        Some(text) => with(body, json!({ field: text })),
        None => body,
    };
    vec![
        (
            "/v1/chat/completions",
            chat.clone(),
            "/choices/0/message/content",
        ),
        ("/api/chat", chat, "/message/content"),
        (
            "/v1/messages",
            with_system(anthropic, "system"),
            "/content/0/text",
        ),
        (
            "/v1/responses",
            with_system(responses, "instructions"),
            "/output/0/content/0/text",
        ),
        ("/api/generate", with_system(prompt, "system"), "/response"),
    ]
}

/// How many tokens the prompt had.
fn prompt_tokens(answer: &Value) -> u64 {
    let places = [
        "/usage/prompt_tokens",
        "/usage/input_tokens",
        "/prompt_eval_count",
    ];
    let found = places
        .iter()
        .find_map(|place| answer.pointer(place)?.as_u64());
    let read = answer.pointer("/usage/cache_read_input_tokens");
    // Only Anthropic's number leaves these out.
    let read = read.and_then(Value::as_u64).unwrap_or_default();
    found.unwrap_or_else(|| panic!("{answer}")) + read
}

#[tokio::test]
async fn stop_texts_hold_unless_a_request_has_its_own() {
    let server = told().await;
    for (path, body, place) in conversations(None) {
        let (status, answer) = server.post_json(path, &body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert_eq!(
            answer.pointer(place),
            Some(&json!("one ")),
            "{path}: {answer}"
        );
    }
    for (path, own) in [
        ("/v1/chat/completions", json!({ "stop": "two" })),
        ("/api/chat", json!({ "options": { "stop": ["two"] } })),
        ("/v1/messages", json!({ "stop_sequences": ["two"] })),
        ("/api/generate", json!({ "stop": ["two"] })),
    ] {
        let all = conversations(None);
        let (_, body, place) = all.iter().find(|(other, ..)| *other == path).unwrap();
        let (_, answer) = server.post_json(path, &with(body.clone(), own)).await;
        assert_eq!(
            answer.pointer(place),
            Some(&json!("one END ")),
            "{path}: {answer}"
        );
    }
    let raw = json!({ "model": "stub", "prompt": "hello" });
    let (_, answer) = server.post_json("/v1/completions", &raw).await;
    assert_eq!(answer["choices"][0]["text"], "one ");
}

#[tokio::test]
async fn a_conversation_begins_with_what_was_told_unless_it_has_such_words_itself() {
    let (plain, told) = (Setup::default().start().await, told().await);
    // The same text as the preset's, so that only the messages make a difference.
    for ((path, bare, _), (_, own, _)) in conversations(None)
        .into_iter()
        .zip(conversations(Some("Be brief.")))
    {
        let tokens = async |server: &TestServer, body: &Value| {
            prompt_tokens(&server.post_json(path, body).await.1)
        };
        let own_plain = tokens(&plain, &own).await;
        let own_told = tokens(&told, &own).await;
        assert!(own_plain > tokens(&plain, &bare).await, "{path}");
        assert!(own_told > own_plain, "{path}: the messages come before");
        assert_eq!(
            tokens(&told, &bare).await,
            own_told,
            "{path}: as if it had said so"
        );
    }
    let messages = json!([{ "role": "user", "content": "hello" }]);
    let (_, answer) = told
        .post_json("/apply-template", &json!({ "messages": messages }))
        .await;
    assert_eq!(
        answer["prompt"],
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n\
         <|im_start|>assistant\nho<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n\
         <|im_start|>assistant\n"
    );
    let own = json!([{ "role": "developer", "content": "Sing." }, messages[0]]);
    let (_, answer) = told
        .post_json("/apply-template", &json!({ "messages": own }))
        .await;
    let prompt = answer["prompt"].as_str().unwrap();
    assert!(
        prompt.contains("Sing.") && !prompt.contains("Be brief."),
        "{prompt}"
    );
}

#[tokio::test]
async fn the_answer_is_as_long_as_was_wanted_unless_a_request_says_so() {
    let setup = Setup {
        preset: Preset {
            max_tokens: Some(3),
            ..Preset::default()
        },
        ..Setup::saying("one two three four five six seven")
    };
    let server = setup.start().await;
    let body = json!({ "model": "stub", "messages": [{ "role": "user", "content": "x" }] });
    let (_, answer) = server.post_json("/v1/chat/completions", &body).await;
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let body = with(body, json!({ "max_tokens": 5 }));
    let (_, answer) = server.post_json("/v1/chat/completions", &body).await;
    assert_eq!(answer["usage"]["completion_tokens"], 5);
}
