//! Adapters are chosen per request.

use shimmy_engine::stub::{Reply, StubConfig, session};
use shimmy_engine::{AdapterId, AdapterScale, EngineConfig, GenerateRequest, SubmitError};

use crate::{ask, gated, whole};

fn with(adapters: &[(u32, f32)], prompt: &str) -> GenerateRequest {
    let adapters = adapters
        .iter()
        .map(|&(id, scale)| AdapterScale {
            id: AdapterId(id),
            scale,
        })
        .collect();
    GenerateRequest {
        adapters,
        max_tokens: Some(10),
        ..ask(prompt)
    }
}

/// The answers to requests with different adapters, and how many steps they took together.
fn answers_at_the_same_time(mixes_adapters: bool) -> (Vec<String>, u64) {
    let stub = StubConfig {
        reply: Reply::Fixed("aaa".into()),
        adapters: 2,
        mixes_adapters,
        ..Default::default()
    };
    let (session, steps) = gated(stub, EngineConfig::default());
    let sets: [&[(u32, f32)]; 5] = [
        &[],
        &[(0, 1.0)],
        &[(1, 1.0)],
        &[(1, 0.5), (0, 1.0)],
        &[(0, 0.0)],
    ];
    let answers: Vec<_> = sets
        .iter()
        .map(|set| session.generate(with(set, "x")).expect("taken"))
        .collect();
    drop(steps);
    let answers = answers.into_iter().map(|g| whole(g).0).collect();
    (answers, session.engine().status().steps)
}

#[test]
fn two_adapters_give_two_answers_at_the_same_time() {
    let expected = ["aaa", "baa", "caa", "daa", "aaa"];
    let (in_turn, steps_in_turn) = answers_at_the_same_time(false);
    let (together, steps_together) = answers_at_the_same_time(true);
    assert_eq!(in_turn, expected);
    assert_eq!(together, expected);
    // Three letters and the end: four sets take four times as many steps, one after the other.
    assert!(steps_in_turn >= 16, "{steps_in_turn}");
    assert!(steps_together < 8, "{steps_together}");
}

#[test]
fn an_adapter_that_is_not_there_is_refused_by_name() {
    let stub = StubConfig {
        adapters: 1,
        ..Default::default()
    };
    let session = session(stub, EngineConfig::default());
    for set in [&[(1, 1.0)][..], &[(0, f32::NAN)], &[(0, 1.0), (0, 2.0)]] {
        match session.generate(with(set, "x")) {
            Err(SubmitError::Invalid(invalid)) => assert_eq!(invalid.field, "lora"),
            other => panic!("{set:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn adapters_come_and_go_while_requests_run() {
    let stub = StubConfig {
        reply: Reply::Fixed("aaa".into()),
        ..Default::default()
    };
    let (session, steps) = gated(stub, EngineConfig::default());
    let engine = session.engine().clone();
    assert!(session.generate(with(&[(0, 1.0)], "x")).is_err());
    let id = engine
        .load_adapter("one.gguf".into())
        .await
        .expect("loaded");
    assert_eq!(engine.adapters(), [id]);
    let error = engine.load_adapter("missing".into()).await;
    assert!(
        error
            .expect_err("missing")
            .to_string()
            .contains("no such file")
    );

    let running = session.generate(with(&[(0, 1.0)], "x")).expect("taken");
    let unloading = tokio::spawn({
        let engine = engine.clone();
        async move { engine.unload_adapter(id).await }
    });
    // No new request may name it, from the moment that it is to go.
    while !engine.adapters().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(session.generate(with(&[(0, 1.0)], "x")).is_err());
    assert!(!unloading.is_finished(), "it waits for its user");
    drop(steps);
    let (answer, _) = tokio::task::spawn_blocking(|| whole(running))
        .await
        .expect("an answer");
    assert_eq!(answer, "baa");
    assert_eq!(unloading.await.expect("no panic"), Ok(true));
    assert_eq!(engine.unload_adapter(id).await, Ok(false));
}

#[tokio::test]
async fn answers_go_on_while_an_adapter_is_read() {
    let (read, adapter_gate) = std::sync::mpsc::channel();
    let stub = StubConfig {
        reply: Reply::Mixed,
        adapter_gate: Some(adapter_gate),
        ..Default::default()
    };
    let session = session(stub, EngineConfig::default());
    let engine = session.engine().clone();
    let mut running = session.generate(ask("x")).expect("taken");
    let loading = tokio::spawn({
        let engine = engine.clone();
        async move { engine.load_adapter("large.gguf".into()).await }
    });
    // Begun, so that the test means something.
    tokio::task::yield_now().await;
    for _ in 0..200 {
        running.next().await.expect("a text");
    }
    assert!(!loading.is_finished());
    read.send(()).expect("it waits");
    let id = loading.await.expect("no panic").expect("loaded");
    assert_eq!(engine.adapters(), [id]);
}
