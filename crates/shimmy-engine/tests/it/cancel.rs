//! An answer that nobody reads any more costs nothing from the next step on.

use std::time::{Duration, Instant};

use shimmy_engine::stub::{Reply, StubConfig};
use shimmy_engine::{EngineConfig, Event, FinishReason, GenerateRequest, SamplingPatch, Session};

use crate::{ask, gated, saying, whole};

fn mixed() -> StubConfig {
    StubConfig {
        reply: Reply::Mixed,
        ..StubConfig::default()
    }
}

/// Lets the engine make single steps until `done`; each step is one message through the gate.
fn step_until(steps: &std::sync::mpsc::Sender<()>, session: &Session, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(
            Instant::now() < deadline,
            "it never happened: {:?}",
            session.engine().status()
        );
        // The engine may have nothing left to do, and then nobody waits at the gate.
        let _ = steps.send(());
        std::thread::yield_now();
    }
}

#[test]
fn dropping_the_stream_frees_the_sequence() {
    let (session, steps) = gated(mixed(), EngineConfig::default());
    let mut generation = session.generate(ask("hello")).expect("taken");
    steps.send(()).expect("the engine waits");
    assert!(matches!(
        generation.next_blocking(),
        Some(Event::Text { .. })
    ));
    drop(generation);
    step_until(&steps, &session, || session.engine().status().occupied == 0);
    assert_eq!(session.engine().status().running, 0);
}

#[test]
fn dropping_a_request_in_the_queue_lets_the_next_one_pass() {
    let stub = StubConfig {
        sequences: 1,
        ..mixed()
    };
    let (session, steps) = gated(stub, EngineConfig::default());
    let first = session.generate(ask("first")).expect("taken");
    let queued = session.generate(ask("queued")).expect("taken");
    let last = session.generate(GenerateRequest {
        max_tokens: Some(3),
        ..ask("last")
    });
    drop(queued);
    drop(first);
    drop(steps);
    assert_eq!(whole(last.expect("taken")).0.len(), 3);
}

#[test]
fn stop_ends_the_answer_as_it_stands() {
    let (session, steps) = gated(mixed(), EngineConfig::default());
    let mut generation = session.generate(ask("hello")).expect("taken");
    steps.send(()).expect("the engine waits");
    let Some(Event::Text { .. }) = generation.next_blocking() else {
        panic!("no text")
    };
    generation.stop();
    drop(steps);
    let (_, finish) = whole(generation);
    assert_eq!(finish.reason, FinishReason::Cancelled);
}

#[test]
fn a_patch_changes_the_tokens_that_follow() {
    let (session, steps) = gated(
        StubConfig {
            reply: Reply::Fixed("aaaaaaaa".to_owned()),
            ..StubConfig::default()
        },
        EngineConfig::default(),
    );
    let generation = session.generate(ask("hello")).expect("taken");
    // A penalty far above the stub's certainty forbids what has been said.
    let patch = SamplingPatch {
        presence_penalty: Some(90.0),
        ..SamplingPatch::default()
    };
    generation.update(patch);
    drop(steps);
    let (text, _) = whole(generation);
    assert!(!text.starts_with("aaa"), "{text}");
}

#[test]
fn requests_run_together_and_say_what_they_say_alone() {
    let request = |n: usize| GenerateRequest {
        max_tokens: Some(40),
        ..ask(&"x".repeat(n + 1))
    };
    let alone: Vec<String> = (0..6)
        .map(|n| whole(saying(Reply::Mixed).generate(request(n)).expect("taken")).0)
        .collect();
    let session = saying(Reply::Mixed);
    let together: Vec<_> = (0..6)
        .map(|n| session.generate(request(n)).expect("taken"))
        .collect();
    let together: Vec<String> = together
        .into_iter()
        .map(|generation| whole(generation).0)
        .collect();
    assert_eq!(together, alone);
}

#[test]
fn a_second_request_answers_while_the_first_still_runs() {
    let session = saying(Reply::Mixed);
    let mut endless = session.generate(ask("endless")).expect("taken");
    assert!(matches!(endless.next_blocking(), Some(Event::Text { .. })));
    let short = session.generate(GenerateRequest {
        max_tokens: Some(2),
        ..ask("short")
    });
    assert_eq!(whole(short.expect("taken")).0.len(), 2);
    assert!(matches!(endless.next_blocking(), Some(Event::Text { .. })));
}

#[test]
fn a_seeded_answer_does_not_depend_on_what_else_runs() {
    let seeded = |seed| {
        let mut request = GenerateRequest {
            max_tokens: Some(60),
            ..ask("hi")
        };
        request.sampling.temperature = 1.2;
        request.sampling.seed = Some(seed);
        request
    };
    let alone = whole(
        saying(Reply::Uncertain)
            .generate(seeded(42))
            .expect("taken"),
    )
    .0;
    let other = whole(
        saying(Reply::Uncertain)
            .generate(seeded(43))
            .expect("taken"),
    )
    .0;
    assert_ne!(alone, other, "a seed must matter");
    let session = saying(Reply::Uncertain);
    let crowd: Vec<_> = (0..6)
        .map(|seed| session.generate(seeded(seed)).expect("taken"))
        .collect();
    assert_eq!(whole(session.generate(seeded(42)).expect("taken")).0, alone);
    drop(crowd);
}

#[test]
fn who_has_read_the_last_word_is_not_counted_any_more() {
    let session = saying(Reply::Mixed);
    for _ in 0..2000 {
        let request = GenerateRequest {
            max_tokens: Some(2),
            ..ask("x")
        };
        whole(session.generate(request).expect("taken"));
        let status = session.engine().status();
        assert_eq!(
            (status.running, status.occupied, status.cells_used),
            (0, 0, 0)
        );
    }
}
