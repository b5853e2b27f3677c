//! Every number that a request can hold, out of its bounds: a 400 that names the field.

use std::cell::Cell;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Gate, Setup, TestServer, chat, with};

/// No 64-bit integer, no 32-bit float, and no number at all.
fn absurd() -> [Value; 4] {
    [
        json!(9_223_372_036_854_775_808_u64),
        json!(1e308),
        json!("NaN"),
        json!([1]),
    ]
}

/// Asserts that each value of each field is refused with the field's name in the complaint.
async fn refused(server: &TestServer, path: &str, base: Value, fields: &[(&str, &[Value])]) {
    for (field, values) in fields {
        for value in values.iter().chain(&absurd()) {
            let body = with(base.clone(), json!({ *field: value }));
            let (status, error) = server.post_json(path, &body).await;
            assert_eq!(status, 400, "{path} {field} {value}: {error}");
            let message = error["error"]["message"].as_str().unwrap();
            let named = message.starts_with(&format!("`{field}"));
            assert!(named, "{path} {field} {value}: {error}");
        }
    }
}

/// Fields that all dialects share.
fn sampling() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("temperature", vec![json!(-0.1), json!(100.5)]),
        ("top_p", vec![json!(-0.1), json!(1.1)]),
        ("min_p", vec![json!(-0.1), json!(1.1)]),
        ("typical_p", vec![json!(-0.1), json!(1.1)]),
        ("repeat_penalty", vec![json!(0), json!(101)]),
        ("presence_penalty", vec![json!(-101), json!(101)]),
        ("frequency_penalty", vec![json!(-101), json!(101)]),
        ("top_k", vec![json!(0.5)]),
        ("repeat_last_n", vec![json!(0.5)]),
        ("seed", vec![json!(0.5)]),
        ("mirostat", vec![json!(2)]),
        ("dry_multiplier", vec![json!(0.8)]),
        ("xtc_probability", vec![json!(0.5)]),
        ("dynatemp_range", vec![json!(0.5)]),
        (
            "logit_bias",
            vec![
                json!({ "97": 101 }),
                json!({ "97": -101 }),
                json!({ "97": 1e308 }),
                json!({ "97": true }),
                json!({ "-1": 1 }),
                json!({ "word": 1 }),
                json!({ "999999": 1 }),
                json!([[97, 101]]),
                json!([[97]]),
                json!([["a", true]]),
                json!([[999_999, 1]]),
            ],
        ),
        ("lora", vec![json!([{ "id": -1 }]), json!([{ "id": 7 }])]),
    ]
}

async fn all_refused(
    server: &TestServer,
    path: &str,
    base: Value,
    own: &[(&'static str, Vec<Value>)],
) {
    let fields = sampling();
    let fields: Vec<(&str, &[Value])> = fields
        .iter()
        .chain(own)
        .map(|(field, values)| (*field, values.as_slice()))
        .collect();
    refused(server, path, base, &fields).await;
}

#[tokio::test]
async fn every_number_of_a_chat_request() {
    let server = Setup::default().start().await;
    let own = [
        ("n", vec![json!(0), json!(-1), json!(9), json!(1_000_000)]),
        ("max_tokens", vec![json!(0), json!(-1)]),
        ("max_completion_tokens", vec![json!(0), json!(-1)]),
        ("top_logprobs", vec![json!(-1), json!(21)]),
        ("deadline_ms", vec![json!(0), json!(86_400_001)]),
    ];
    all_refused(
        &server,
        "/v1/chat/completions",
        with(chat("x"), json!({ "logprobs": true })),
        &own,
    )
    .await;
}

#[tokio::test]
async fn every_number_of_a_completion_request() {
    let mut setup = Setup::default();
    setup.server.max_prompts = 3;
    let server = setup.start().await;
    let own = [
        ("n", vec![json!(0), json!(-1), json!(9)]),
        ("best_of", vec![json!(0), json!(2), json!(1_000_000)]),
        ("max_tokens", vec![json!(0), json!(-1)]),
        ("logprobs", vec![json!(-1), json!(6), json!(1_000_000_000)]),
    ];
    let base = json!({ "prompt": "x" });
    all_refused(&server, "/v1/completions", base, &own).await;
    for prompt in [
        json!(null),
        json!([]),
        json!(vec!["x"; 4]),
        json!([1, 4_294_967_296_u64]),
        json!([-1]),
        json!([999]),
        json!(""),
    ] {
        let body = json!({ "prompt": prompt });
        let (status, error) = server.post_json("/v1/completions", &body).await;
        let param = error["error"]["param"].as_str().unwrap();
        assert!(status == 400 && param.starts_with("prompt"), "{error}");
    }
}

#[tokio::test]
async fn every_number_of_llama_servers_completion() {
    let server = Setup::default().start().await;
    let own = [
        ("n_predict", vec![json!(0.5)]),
        ("n_probs", vec![json!(-1), json!(21)]),
        ("n_cmpl", vec![json!(0), json!(-1), json!(9)]),
        ("t_max_predict_ms", vec![json!(0.5)]),
        ("top_n_sigma", vec![json!(1)]),
        ("min_keep", vec![json!(1)]),
    ];
    all_refused(&server, "/completion", json!({ "prompt": "x" }), &own).await;
}

#[tokio::test]
async fn every_number_of_the_other_routes() {
    let mut setup = Setup::default();
    setup.server.max_texts = 3;
    let server = setup.start().await;
    let four = || json!(["a", "b", "c", "d"]);
    let whole = |values: &[Value]| values.to_vec();
    for (path, base, field, values) in [
        (
            "/v1/embeddings",
            json!({ "input": "x" }),
            "dimensions",
            whole(&[json!(0), json!(-1), json!(4_294_967_296_u64)]),
        ),
        (
            "/v1/embeddings",
            json!({}),
            "input",
            whole(&[json!(null), json!([]), four(), json!([-1])]),
        ),
        (
            "/v1/rerank",
            json!({ "query": "q", "documents": ["d"] }),
            "top_n",
            whole(&[json!(0), json!(-1), json!(4_294_967_296_u64)]),
        ),
        (
            "/v1/rerank",
            json!({ "query": "q" }),
            "documents",
            whole(&[json!([]), four()]),
        ),
        (
            "/embedding",
            json!({ "content": "x" }),
            "embd_normalize",
            whole(&[json!(-2), json!(101)]),
        ),
        (
            "/embedding",
            json!({}),
            "content",
            whole(&[json!(null), json!([]), four()]),
        ),
        (
            "/detokenize",
            json!({}),
            "tokens",
            whole(&[json!([-1]), json!([999]), json!([4_294_967_296_u64])]),
        ),
        (
            "/tokenize",
            json!({}),
            "content",
            whole(&[json!(null), json!([999]), json!([-1])]),
        ),
    ] {
        for value in values {
            let body = with(base.clone(), json!({ field: value }));
            let (status, error) = server.post_json(path, &body).await;
            let message = error["error"]["message"].as_str().unwrap();
            let named = message.starts_with(&format!("`{field}"));
            assert!(status == 400 && named, "{path} {field} {value}: {error}");
        }
    }
    for query in ["limit=-1", "limit=x"] {
        let (status, error) = server.get_json(&format!("/v1/models?{query}")).await;
        let param = &error["error"]["param"];
        assert_eq!((status, param), (400, &json!("limit")), "{error}");
    }
}

/// How an answer without end ended, and with how many tokens.
async fn ending(setup: Setup, gate: Gate, fields: Value) -> (Value, u64) {
    let server = setup.start().await;
    let body = with(chat("Hi"), fields);
    let is_done = Cell::new(false);
    let asked = async {
        let answer = server.post_json("/v1/chat/completions", &body).await.1;
        is_done.set(true);
        answer
    };
    let (answer, _) = tokio::join!(asked, gate.step_until(|| is_done.get()));
    let tokens = answer["usage"]["completion_tokens"].as_u64().unwrap();
    (answer["choices"][0]["finish_reason"].clone(), tokens)
}

#[tokio::test]
async fn an_answer_ends_as_it_stands_when_its_time_is_over() {
    let (setup, gate) = Setup::gated();
    let most = setup.stub.cells as u64 / 2;
    let (reason, tokens) = ending(setup, gate, json!({ "deadline_ms": 5 })).await;
    assert_eq!(reason, "length");
    assert!(tokens < most, "{tokens}");

    let (mut setup, gate) = Setup::gated();
    setup.server.deadline = Some(Duration::from_millis(5));
    let (reason, tokens) = ending(setup, gate, json!({ "deadline_ms": 1000 })).await;
    assert_eq!(reason, "length");
    assert!(
        tokens < most,
        "a request gets no more than the server gives: {tokens}"
    );
}
