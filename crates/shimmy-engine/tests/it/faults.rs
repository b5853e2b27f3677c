//! A fault ends what it touched, says so, and leaves the engine serving.

use shimmy_engine::stub::{Reply, StubConfig, session};
use shimmy_engine::{EngineConfig, Event, GenerateError, GenerateRequest, SubmitError};

use crate::{ask, gated, whole};

#[test]
fn a_failed_step_fails_its_requests_and_the_next_one_is_served() {
    let stub = StubConfig {
        fail_at_step: Some(2),
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let mut broken = session.generate(ask("hello")).expect("taken");
    let mut last = None;
    while let Some(event) = broken.next_blocking() {
        last = Some(event);
    }
    let Some(Event::Failed(GenerateError::Backend(reason))) = last else {
        panic!("{last:?}")
    };
    assert!(reason.contains("told to fail"), "{reason}");
    assert_eq!(
        whole(session.generate(ask("again")).expect("taken")).0,
        "again"
    );
}

#[test]
fn shutdown_ends_running_answers_with_a_word() {
    let stub = StubConfig {
        reply: Reply::Mixed,
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let mut generation = session.generate(ask("hello")).expect("taken");
    assert!(matches!(
        generation.next_blocking(),
        Some(Event::Text { .. })
    ));
    session.engine().shutdown();
    let mut last = None;
    while let Some(event) = generation.next_blocking() {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::Failed(GenerateError::EngineStopped)));
    assert_eq!(
        session.generate(ask("x")).err(),
        Some(SubmitError::ShuttingDown)
    );
    session.engine().shutdown();
}

#[test]
fn everyone_who_shuts_down_waits_for_the_end() {
    let stub = StubConfig {
        reply: Reply::Mixed,
        ..StubConfig::default()
    };
    let (session, steps) = gated(stub, EngineConfig::default());
    let _running = session.generate(ask("hello")).expect("taken");
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    session.engine().shutdown();
                    // The runner, which has the other end, is gone.
                    steps.send(()).is_err()
                })
            })
            .collect();
        // The step that the engine waits in, and those that it begins before it hears of any of them.
        while steps.send(()).is_ok() {
            std::thread::yield_now();
        }
        for caller in callers {
            assert!(caller.join().expect("no panic"), "it came back too soon");
        }
    });
}

#[test]
fn a_panic_in_the_backend_ends_the_engine_and_its_answers_but_not_the_process() {
    let stub = StubConfig {
        panic_at_step: Some(1),
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let mut generation = session.generate(ask("hello")).expect("taken");
    let mut last = None;
    while let Some(event) = generation.next_blocking() {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::Failed(GenerateError::EngineStopped)));
    session.engine().shutdown();
    let status = session.engine().status();
    assert!(status.failed && !status.alive, "{status:?}");
}

#[test]
fn a_bystander_of_a_failed_step_is_computed_again_with_the_same_answer() {
    // Where two adapter sets do not share a step, only one of the two is in the failing one.
    let stub = |fail_at_step| StubConfig {
        // What is drafted must not outlive the cache.
        reply: Reply::Alphabet,
        adapters: 1,
        mixes_adapters: false,
        fail_at_step,
        ..StubConfig::default()
    };
    // Both prompts are longer than a batch, so that they come in parts when they come again.
    let plain = || GenerateRequest {
        max_tokens: Some(200),
        ..ask(&"abcdefghijklmnopqrstuvwxyz".repeat(8))
    };
    let adapted = || GenerateRequest {
        adapters: vec![shimmy_engine::AdapterScale {
            id: shimmy_engine::AdapterId(0),
            scale: 1.0,
        }],
        ..plain()
    };
    let alone = [plain(), adapted()].map(|request| {
        let session = session(stub(None), EngineConfig::default());
        whole(session.generate(request).expect("taken")).0
    });
    for failing in 6..14 {
        let (session, steps) = gated(stub(Some(failing)), EngineConfig::default());
        let both = [plain(), adapted()].map(|request| session.generate(request).expect("taken"));
        drop(steps);
        let mut failed = 0;
        for (mut running, alone) in both.into_iter().zip(&alone) {
            let mut answer = String::new();
            loop {
                match running.next_blocking() {
                    Some(Event::Text { text, .. }) => answer.push_str(&text),
                    Some(Event::Finished(_)) => break assert_eq!(&answer, alone, "{failing}"),
                    Some(Event::Failed(GenerateError::Backend(_))) => break failed += 1,
                    other => panic!("{failing}: {other:?}"),
                }
            }
        }
        assert_eq!(failed, 1, "of two requests one was in step {failing}");
    }
}
