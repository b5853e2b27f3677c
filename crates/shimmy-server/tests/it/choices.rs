//! Several choices of one request, where fewer can run or wait.

use serde_json::{Value, json};
use shimmy_engine::EngineConfig;

use crate::support::{Setup, TestServer, chat, with};

/// Room for one that runs and two that wait.
async fn narrow() -> TestServer {
    let engine = EngineConfig {
        parallel: Some(1),
        queue: 2,
        ..EngineConfig::default()
    };
    let setup = Setup {
        engine,
        ..Setup::default()
    };
    setup.start().await
}

#[tokio::test]
async fn more_choices_than_the_queue_has_room_for_come_one_after_another() {
    let server = narrow().await;
    let body = with(chat("hello"), json!({ "n": 8 }));
    let (status, answer) = server.post_json("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 8);
    assert!(
        choices
            .iter()
            .all(|choice| choice["message"]["content"] == "hello")
    );

    let prompts: Vec<String> = (0..10).map(|n| format!("prompt {n}")).collect();
    let body = json!({ "model": "stub", "prompt": prompts });
    let (status, answer) = server.post_json("/v1/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    let texts = answer["choices"].as_array().unwrap().iter();
    let texts: Vec<&Value> = texts.map(|choice| &choice["text"]).collect();
    assert_eq!(
        texts,
        prompts.iter().map(String::as_str).collect::<Vec<_>>()
    );
}
