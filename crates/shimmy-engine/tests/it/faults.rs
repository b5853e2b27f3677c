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
        reply: Reply::Mixed,
        adapters: 1,
        mixes_adapters: false,
        fail_at_step,
        ..StubConfig::default()
    };
    let request = |prompt| GenerateRequest {
        max_tokens: Some(20),
        ..ask(prompt)
    };
    let adapted = || GenerateRequest {
        adapters: vec![shimmy_engine::AdapterScale {
            id: shimmy_engine::AdapterId(0),
            scale: 1.0,
        }],
        ..request("adapted")
    };
    let alone = {
        let session = session(stub(None), EngineConfig::default());
        whole(session.generate(request("plain")).expect("taken")).0
    };
    let (session, steps) = gated(stub(Some(3)), EngineConfig::default());
    let plain = session.generate(request("plain")).expect("taken");
    let mut broken = session.generate(adapted()).expect("taken");
    drop(steps);
    let mut last = None;
    while let Some(event) = broken.next_blocking() {
        last = Some(event);
    }
    assert!(
        matches!(last, Some(Event::Failed(_) | Event::Finished(_))),
        "{last:?}"
    );
    if matches!(last, Some(Event::Failed(_))) {
        assert_eq!(whole(plain).0, alone);
    }
}
