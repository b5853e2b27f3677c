//! `/api/chat` and `/api/generate` as Ollama's clients know them.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};
use shimmy_engine::stub::StubConfig;
use shimmy_server::KeepAlive;

use crate::calls::THINKING_TEMPLATE;
use crate::loader::TOOLS_TEMPLATE;
use crate::support::{Setup, TestServer, chat, filters, with};

const CHAT: &str = "/api/chat";

/// The lines of a stream.
pub(crate) fn lines(stream: &str) -> Vec<Value> {
    let lines = stream.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A POST to the address where everything is Ollama's dialect.
pub(crate) async fn post(server: &TestServer, path: &str, body: &Value) -> reqwest::Response {
    let url = format!("http://{}{path}", server.ollama);
    server.client.post(url).json(body).send().await.unwrap()
}

/// The status and the JSON of the same.
pub(crate) async fn post_json(server: &TestServer, path: &str, body: &Value) -> (u16, Value) {
    let response = post(server, path, body).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_chat_streams_lines_by_default() {
    let server = Setup::saying("ok").start().await;
    let response = server.post(CHAT, &chat("hi")).await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    // A proxy must not hold lines back.
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let text = response.text().await.unwrap();
    filters().bind(|| assert_snapshot!("ollama_chat_stream", text));
}

#[tokio::test]
async fn a_chat_that_is_not_streamed_is_one_object() {
    let server = Setup::default().start().await;
    let body = with(chat("hi"), json!({ "stream": false }));
    let response = server.post(CHAT, &body).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let text = response.text().await.unwrap();
    filters().bind(|| assert_snapshot!("ollama_chat_json", text));
}

#[tokio::test]
async fn a_stream_and_one_object_say_the_same() {
    let server = Setup::saying("first, second\n and é🦀").start().await;
    let stream = lines(&server.stream(CHAT, &chat("hi")).await);
    let joined: String = stream
        .iter()
        .map(|line| line["message"]["content"].as_str().unwrap())
        .collect();
    let body = with(chat("hi"), json!({ "stream": false }));
    let (_, whole) = server.post_json(CHAT, &body).await;
    assert_eq!(whole["message"]["content"], joined);
    let last = stream.last().unwrap();
    for count in ["prompt_eval_count", "eval_count", "done_reason", "done"] {
        assert_eq!(last[count], whole[count], "{count}");
    }
    let (last_line, others) = stream.split_last().unwrap();
    assert_eq!(last_line["done"], true);
    assert!(others.iter().all(|line| line["done"] == false));
}

#[tokio::test]
async fn an_answer_at_its_limit_says_so() {
    let server = Setup::saying("abcdef").start().await;
    let ask = async |options: Value| {
        let body = with(chat("hi"), json!({ "stream": false, "options": options }));
        server.post_json(CHAT, &body).await.1
    };
    let short = ask(json!({ "num_predict": 3 })).await;
    assert_eq!(short["message"]["content"], "abc");
    assert_eq!(short["done_reason"], "length");
    assert_eq!(short["eval_count"], 3);
    for no_limit in [-1, -2, 0, i64::MAX] {
        let whole = ask(json!({ "num_predict": no_limit })).await;
        assert_eq!(whole["message"]["content"], "abcdef", "{no_limit}");
    }
    let stopped = ask(json!({ "stop": ["d"] })).await;
    assert_eq!(stopped["message"]["content"], "abc");
    assert_eq!(stopped["done_reason"], "stop");
}

#[tokio::test]
async fn num_ctx_bounds_one_request() {
    let server = Setup::saying("0123456789").start().await;
    let ask = async |num_ctx: u32| {
        let options = json!({ "num_ctx": num_ctx });
        let body = with(chat("hi"), json!({ "stream": false, "options": options }));
        let response = server.post(CHAT, &body).await;
        let ignored = response.headers().get("x-shimmy-ignored").cloned();
        let status = response.status().as_u16();
        (status, ignored, response.json::<Value>().await.unwrap())
    };
    let (status, ignored, whole) = ask(4096).await;
    assert_eq!((status, ignored), (200, None), "{whole}");
    let prompt = whole["prompt_eval_count"].as_u64().unwrap() as u32;
    let (_, _, cut) = ask(prompt + 4).await;
    assert_eq!(cut["done_reason"], "length");
    assert!(cut["eval_count"].as_u64().unwrap() <= 4, "{cut}");
    let (status, _, error) = ask(prompt - 1).await;
    assert_eq!(status, 400, "{error}");
    let message = error["error"].as_str().unwrap();
    assert!(message.contains(&prompt.to_string()), "{message}");
    // More than there is: nothing is cut for it, and the client learns that it got less.
    let (status, ignored, _) = ask(131_072).await;
    assert_eq!(status, 200);
    assert_eq!(ignored.unwrap(), "options.num_ctx");
}

#[tokio::test]
async fn options_that_say_nothing_here_are_named() {
    let server = Setup::default().start().await;
    let options = json!({ "num_gpu": 99, "num_thread": 8, "num_keep": null, "mirostat": 0,
        "mirostat_tau": 5.0, "repeat_last_n": 64, "repeat_penalty": 1.1, "unheard_of": 1 });
    let body = with(chat("hi"), json!({ "options": options }));
    for path in [CHAT, "/api/generate"] {
        let body = with(body.clone(), json!({ "prompt": "hi" }));
        let response = post(&server, path, &body).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(
            response.headers()["x-shimmy-ignored"],
            "options.mirostat_tau, options.num_gpu, options.num_thread"
        );
    }
}

#[tokio::test]
async fn nothing_asked_loads_and_unloads() {
    let server = Setup::default().start().await;
    for (body, reason) in [
        (json!({ "model": "stub" }), "load"),
        (json!({ "model": "stub", "messages": [] }), "load"),
        (
            json!({ "model": "stub", "messages": null, "keep_alive": -1 }),
            "load",
        ),
        (
            json!({ "model": "stub", "messages": [], "keep_alive": 0 }),
            "unload",
        ),
        (json!({ "model": "stub", "keep_alive": "0s" }), "unload"),
    ] {
        let (status, answer) = server.post_json(CHAT, &body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["done_reason"], reason, "{body}");
        assert_eq!(answer["done"], true);
        let empty = json!({ "role": "assistant", "content": "" });
        assert_eq!(answer["message"], empty);
        assert!(answer.get("eval_count").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn keep_alive_reaches_whoever_keeps_models() {
    let server = Setup::default().start().await;
    let after = |seconds| KeepAlive::For(Duration::from_secs(seconds));
    for (value, expected) in [
        (json!(null), KeepAlive::Default),
        (json!(90), after(90)),
        (json!("1h30m"), after(5400)),
        (json!(0), after(0)),
        (json!(-1), KeepAlive::Forever),
        (json!("-1m"), KeepAlive::Forever),
    ] {
        let body = with(chat("hi"), json!({ "keep_alive": value, "prompt": "hi" }));
        for path in [CHAT, "/api/generate", "/api/embed", "/api/embeddings"] {
            post(&server, path, &body).await.text().await.unwrap();
            let last = server.loader.kept_alive.lock().unwrap().pop();
            assert_eq!(last, Some(expected), "{path} {value}");
        }
    }
}

#[tokio::test]
async fn a_conversation_with_tools_reaches_the_template() {
    let server = Setup {
        template: Some(TOOLS_TEMPLATE),
        ..Setup::default()
    }
    .start()
    .await;
    let body = json!({
        "model": "stub", "stream": false,
        "messages": [
            { "role": "user", "content": "The weather in Paris?" },
            { "role": "assistant", "content": "", "thinking": "I need a tool.", "tool_calls": [
                { "function": { "name": "weather", "arguments": { "city": "Paris" } } } ] },
            { "role": "tool", "content": "11 degrees", "tool_name": "weather" },
        ],
        "tools": [{ "type": "function", "function": { "name": "weather", "description": "Tells it.",
            "parameters": { "type": "object", "properties": { "city": { "type": "string" } },
                "required": ["city"] } } }],
    });
    let (status, answer) = server.post_json(CHAT, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["message"]["content"], "The weather in Paris?");
    let with_tools = answer["prompt_eval_count"].as_u64().unwrap();
    let bare = with(body, json!({ "tools": [] }));
    let (_, answer) = server.post_json(CHAT, &bare).await;
    assert!(answer["prompt_eval_count"].as_u64().unwrap() < with_tools);
}

#[tokio::test]
async fn calls_and_thoughts_have_fields_of_their_own() {
    let said = "<think>\nHm.\n</think>\n\nSo.\n<tool_call>\n{\"name\": \"weather\", \
        \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"time\", \
        \"arguments\": {}}\n</tool_call>";
    let server = Setup {
        template: Some(THINKING_TEMPLATE),
        ..Setup::saying(said)
    }
    .start()
    .await;
    let tool = |name| json!({ "type": "function", "function": { "name": name } });
    let tools = json!({ "tools": [tool("weather"), tool("time")] });
    let body = with(chat("What is it like in Paris?"), tools);
    let stream = server.stream(CHAT, &body).await;
    filters().bind(|| assert_snapshot!("ollama_chat_calls_stream", stream));
    let whole = with(body, json!({ "stream": false }));
    let whole = server.post(CHAT, &whole).await.text().await.unwrap();
    filters().bind(|| assert_snapshot!("ollama_chat_calls_json", whole));
    // A prompt's answer has no calls, and its thoughts beside it.
    let prompt = json!({ "model": "stub", "prompt": "hi", "stream": false });
    let (_, answer) = post_json(&server, "/api/generate", &prompt).await;
    assert_eq!(answer["thinking"].as_str().unwrap().trim(), "Hm.");
    assert!(answer["response"].as_str().unwrap().starts_with("So."));
}

#[tokio::test]
async fn formats_are_json_or_a_schema() {
    let server = Setup::default().start().await;
    for (format, status) in [
        (json!(null), 200),
        (json!(""), 200),
        (json!("xml"), 400),
        (json!(5), 400),
    ] {
        let body = with(chat("hi"), json!({ "format": format, "stream": false }));
        let (got, answer) = server.post_json(CHAT, &body).await;
        assert_eq!(got, status, "{answer}");
    }
}

#[tokio::test]
async fn think_is_a_switch_or_a_level() {
    let server = Setup::default().start().await;
    // The model under test cannot think: who wants it to learns that it did not.
    for (think, status, named) in [
        (json!(null), 200, None),
        (json!(false), 200, None),
        (json!(true), 200, Some("think")),
        (json!("high"), 200, Some("think")),
        (json!("very"), 400, None),
        (json!(3), 400, None),
    ] {
        let more = json!({ "think": think, "prompt": "hi", "stream": false });
        let body = with(chat("hi"), more);
        for path in [CHAT, "/api/generate"] {
            let response = post(&server, path, &body).await;
            assert_eq!(response.status(), status, "{path} {think}");
            let ignored = response.headers().get("x-shimmy-ignored");
            assert_eq!(
                ignored.map(|name| name.to_str().unwrap()),
                named,
                "{path} {think}"
            );
        }
    }
}

#[tokio::test]
async fn probabilities_come_with_the_tokens() {
    let server = Setup::saying("ab").start().await;
    let body = with(chat("hi"), json!({ "logprobs": true, "top_logprobs": 2 }));
    let stream = lines(&server.stream(CHAT, &body).await);
    let tokens: Vec<&str> = stream
        .iter()
        .flat_map(|line| line["logprobs"].as_array().into_iter().flatten())
        .map(|token| {
            assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
            assert!(token["logprob"].as_f64().unwrap() <= 0.0);
            token["token"].as_str().unwrap()
        })
        .collect();
    assert_eq!(tokens[..2], ["a", "b"]);
}

#[tokio::test]
async fn a_suffix_needs_a_model_that_fills_gaps() {
    let server = Setup::default().start().await;
    let body = json!({ "model": "stub", "prompt": "a = ", "suffix": ";" });
    let (status, error) = post_json(&server, "/api/generate", &body).await;
    assert_eq!(status, 400);
    let message = error["error"].as_str().unwrap();
    assert!(message.starts_with("`suffix` needs a model"), "{message}");
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_an_error_line() {
    let stub = StubConfig {
        fail_from_step: Some(0),
        ..StubConfig::default()
    };
    let server = Setup {
        stub,
        ..Setup::default()
    }
    .start()
    .await;
    let stream = lines(&server.stream(CHAT, &chat("hi")).await);
    let last = stream.last().unwrap();
    assert_eq!(last.as_object().unwrap().len(), 1, "{last}");
    assert!(last["error"].as_str().unwrap().contains("told to fail"));
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let (setup, gate) = Setup::gated();
    let server = setup.start().await;
    let response = server.post(CHAT, &chat("hi")).await;
    gate.step_until(|| server.engine().running == 1).await;
    drop(response);
    gate.step_until(|| server.engine().occupied == 0).await;
}

#[tokio::test]
async fn a_long_silence_has_signs_of_life() {
    let (mut setup, gate) = Setup::gated();
    setup.server.keep_alive = Duration::from_millis(10);
    let server = setup.start().await;
    let mut response = server.post(CHAT, &chat("hi")).await;
    let line = response.chunk().await.unwrap().unwrap();
    let line: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(
        line["message"],
        json!({ "role": "assistant", "content": "" })
    );
    assert_eq!(line["done"], false);
    drop((response, gate));
}
