//! The main job over HTTP, SSE and WebSocket, on the real engine.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};
use shimmy_testkit::tiny;

use crate::support::{Server, text, tiny_folder};

fn greedy(prompt: &str, tokens: u32) -> Value {
    json!({ "prompt": prompt, "max_tokens": tokens, "temperature": 0 })
}

#[test]
fn health_answers_before_the_model_is_loaded_and_names_it_afterwards() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &[]);
    let (status, health) = server.get("/health");
    assert_eq!((status, &health["status"]), (200, &json!("ok")));
    server.generate(&greedy("hi", 1));
    assert_eq!(server.get("/health").1["models"]["loaded"], 1);
    assert_eq!(server.get("/v1/models").1["data"][0]["id"], "tiny");
}

#[test]
fn json_sse_and_chat_give_the_same_text() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &[]);
    let whole = server.generate(&greedy("hello", 40));

    let mut body = greedy("hello", 40);
    body["stream_format"] = json!("json");
    let (_, events) = server.stream(&body);
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let streamed: String = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str::<Value>(event).expect("JSON"))
        .filter_map(|event| event["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(streamed, whole);

    let chat = json!({
        "model": "tiny",
        "messages": [{ "role": "user", "content": "hello" }],
        "max_tokens": 40,
        "temperature": 0,
    });
    let (status, answer) = server.post("/v1/chat/completions", &chat);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], json!(whole));
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[test]
fn eight_clients_at_once_get_what_each_gets_alone() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &[]);
    let prompt = |n: usize| "hello ".repeat(n + 1);
    let alone: Vec<String> = (0..8)
        .map(|n| server.generate(&greedy(&prompt(n), 30)))
        .collect();
    let together: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|n| {
                let server = &server;
                scope.spawn(move || server.generate(&greedy(&prompt(n), 30)))
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client"))
            .collect()
    });
    assert_eq!(together, alone);
}

/// Alone each time: with others in a step, llama.cpp's kernels round differently, and a draw that
/// is nearly a tie may fall the other way. That the draws themselves do not depend on others is
/// the engine's own test.
#[test]
fn the_same_seed_gives_the_same_answer_again() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &[]);
    let seeded = |seed| {
        server.generate(&json!({
            "prompt": "hi", "max_tokens": 60, "temperature": 1.2, "top_k": 0, "seed": seed,
        }))
    };
    assert_eq!(seeded(42), seeded(42));
    assert_ne!(seeded(42), seeded(43));
}

#[test]
fn a_prompt_of_many_batches_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("long.gguf");
    tiny::Model::new()
        .context_length(8192)
        .write(&model)
        .expect("written");
    let server = Server::with_model(folder.path(), &model, &[]);
    let mut body = greedy(&"x y ".repeat(1800), 8);
    body["raw"] = json!(true);
    let (status, answer) = server.post("/api/generate", &body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["usage"]["prompt_tokens"], 7200);
}

#[test]
fn a_client_that_goes_away_frees_its_place() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &["--parallel", "1"]);
    let mut endless = greedy("hello", 2000);
    endless["stream"] = json!(true);
    let mut reader = BufReader::new(server.open("/api/generate", &endless));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a first event");
    drop(reader);
    // With one place, this answer starts only once the other's is free; the other had two
    // thousand tokens to go.
    assert!(!server.generate(&greedy("next", 2)).is_empty());
    let (_, status) = server.get("/api/models/tiny/status");
    assert_eq!(status["engine"]["running"], 0, "{status}");
}

#[test]
fn an_adapter_is_chosen_per_request() {
    let (folder, model) = tiny_folder();
    let adapter = folder.path().join("style.gguf");
    tiny::Adapter::new().write(&adapter).expect("written");
    let server = Server::with_model(folder.path(), &model, &["--lora", text(&adapter)]);
    let adapted = server.generate(&greedy("hello", 20));
    let mut body = greedy("hello", 20);
    body["lora"] = json!([{ "id": 0, "scale": 0.0 }]);
    assert_ne!(server.generate(&body), adapted);
    body["lora"] = json!([{ "id": "style", "scale": 1.0 }]);
    assert_eq!(server.generate(&body), adapted);
}

#[test]
fn a_model_is_loaded_on_demand_and_unloaded_on_request() {
    let (folder, model) = tiny_folder();
    tiny::Model::new()
        .seed(5)
        .write(&model.with_file_name("second.gguf"))
        .expect("written");
    let server = Server::start(folder.path(), &["--model-dirs", text(folder.path())]);
    let loaded = |server: &Server| server.get("/health").1["models"]["loaded"].clone();
    assert_eq!(loaded(&server), 0);
    assert_eq!(server.post("/api/models/second/load", &json!({})).0, 200);
    assert_eq!(loaded(&server), 1);
    let mut body = greedy("hi", 3);
    assert_eq!(
        server.post("/api/generate", &body).0,
        400,
        "two models, none named"
    );
    body["model"] = json!("tiny");
    server.generate(&body);
    assert_eq!(loaded(&server), 2);
    assert_eq!(server.post("/api/models/second/unload", &json!({})).0, 200);
    assert_eq!(loaded(&server), 1);
    body["model"] = json!("second");
    server.generate(&body);
}

#[test]
fn constrained_output_parses() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &[]);
    let schema = json!({
        "type": "object",
        "properties": { "n": { "type": "integer", "minimum": 0, "maximum": 9 } },
        "required": ["n"],
        "additionalProperties": false,
    });
    let body = json!({ "prompt": "hi", "max_tokens": 50, "format": schema });
    let answer: Value = serde_json::from_str(&server.generate(&body)).expect("JSON");
    assert!((0..=9).contains(&answer["n"].as_i64().expect("an integer")));
}

#[test]
fn an_answer_without_a_limit_gets_the_configured_one() {
    let (folder, model) = tiny_folder();
    let server = Server::with_model(folder.path(), &model, &["--max-output", "7"]);
    let (_, answer) = server.post(
        "/api/generate",
        &json!({ "prompt": "hi", "temperature": 0 }),
    );
    assert_eq!(answer["usage"]["completion_tokens"], 7, "{answer}");
    assert_eq!(answer["finish_reason"], "length");
}
