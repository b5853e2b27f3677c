//! Texts become vectors in turns with the steps of answers.

use std::sync::mpsc;
use std::time::Duration;

use shimmy_engine::stub::{Computed, Reply, StubConfig, session};
use shimmy_engine::{EmbedError, EngineConfig, GenerateError, Prompt, Session, SubmitError};

use crate::{ask, gated};

/// A stub that computes long texts and answers without end, and what it tells of that.
fn told() -> (StubConfig, mpsc::Receiver<Computed>) {
    let (tell, computed) = mpsc::channel();
    let stub = StubConfig {
        reply: Reply::Mixed,
        longest_text: 1000,
        computed: Some(tell),
        ..StubConfig::default()
    };
    (stub, computed)
}

async fn embed(
    session: &Session,
    texts: &[Prompt],
    deadline: Option<Duration>,
) -> Result<Vec<Vec<f32>>, EmbedError> {
    let texts = session.prepare_texts(texts)?;
    Ok(session.embed(texts, deadline).await?.vectors)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_answer_has_a_step_after_every_share_of_a_long_text() {
    for in_parts in [true, false] {
        let (stub, computed) = told();
        let stub = StubConfig {
            embeds_in_parts: in_parts,
            ..stub
        };
        let session = session(stub, EngineConfig::default());
        let mut running = session.generate(ask("an answer")).expect("taken");
        running.next().await.expect("its first text");
        let mut texts = vec![Prompt::marked("\u{1}".repeat(1000))];
        texts.resize(40, Prompt::marked("\u{2}".repeat(30)));
        let vectors = embed(&session, &texts, None).await.expect("vectors");
        assert_eq!(vectors[0][1], 1000.0);
        assert_eq!(vectors[39][2], 30.0);
        drop(running);
        session.engine().shutdown();
        let computed: Vec<_> = computed.try_iter().collect();
        let mut all = 0;
        let most = if in_parts { 64 } else { 1000 };
        for (at, &computed_now) in computed.iter().enumerate() {
            if let Computed::Texts(tokens) = computed_now {
                all += tokens;
                assert!(tokens <= most, "{tokens} at a time");
                // After the last one, nobody reads the answer any more.
                let next = computed.get(at + 1);
                assert!(!matches!(next, Some(Computed::Texts(_))), "{next:?}");
            }
        }
        assert_eq!(all, 1000 + 39 * 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_nobody_waits_for_any_more_is_not_gone_on_with() {
    let (stub, computed) = told();
    let (session, gate) = gated(stub, EngineConfig::default());
    let texts = vec![Prompt::marked("x".repeat(1000)); 50];
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { embed(&session, &texts, None).await }
    });
    for _ in 0..2 {
        gate.send(()).expect("the engine waits");
    }
    let two: Vec<_> = computed.iter().take(2).collect();
    assert_eq!(two, [Computed::Texts(64); 2]);
    waiting.abort();
    assert!(waiting.await.is_err());
    drop(gate);
    // Who comes next has a turn at once.
    embed(&session, &[Prompt::marked("\u{1}")], None)
        .await
        .expect("a vector");
    session.engine().shutdown();
    let rest: Vec<_> = computed.try_iter().collect();
    // The one that waited at the gate, and the last text.
    assert!(rest.len() <= 2, "{rest:?}");
    assert_eq!(rest.last(), Some(&Computed::Texts(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_wait_no_longer_than_any_request() {
    let (stub, _computed) = told();
    let config = EngineConfig {
        queue_timeout: Duration::ZERO,
        ..EngineConfig::default()
    };
    let hurried = session(stub, config);
    let text = [Prompt::marked("x".repeat(1000))];
    let error = embed(&hurried, &text, None).await.expect_err("too late");
    let timeout = GenerateError::QueueTimeout { seconds: 0 };
    assert_eq!(error, EmbedError::Generate(timeout));

    let (stub, _computed) = told();
    let session = session(stub, EngineConfig::default());
    let outcome = embed(&session, &text, Some(Duration::ZERO)).await;
    let error = outcome.expect_err("too late");
    let late = GenerateError::OutOfTime { milliseconds: 0 };
    assert_eq!(error, EmbedError::Generate(late));
    assert_eq!(session.engine().status().occupied, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_ends_says_so_to_those_that_wait_for_vectors() {
    let (stub, _computed) = told();
    let (session, gate) = gated(stub, EngineConfig::default());
    let text = [Prompt::marked("x".repeat(1000))];
    let embedding = tokio::spawn({
        let session = session.clone();
        async move { embed(&session, &text, None).await }
    });
    gate.send(()).expect("the engine waits");
    session.engine().close();
    drop(gate);
    let error = embedding.await.expect("no panic").expect_err("it ended");
    let ended = [
        EmbedError::Generate(GenerateError::EngineStopped),
        EmbedError::Submit(SubmitError::ShuttingDown),
    ];
    assert!(ended.contains(&error), "{error}");
}
