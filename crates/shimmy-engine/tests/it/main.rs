//! The engine as its callers see it, on the deterministic backend.

mod adapters;
mod cancel;
mod constrained;
mod embed;
mod faults;
mod limits;
mod prefix;
mod text;

use std::sync::mpsc;

use shimmy_engine::stub::{Reply, StubConfig, session};
use shimmy_engine::{
    EngineConfig, Event, Finish, GenerateRequest, Generation, Prompt, SamplingParams, Session,
};

/// A session that says `reply`.
fn saying(reply: Reply) -> Session {
    session(
        StubConfig {
            reply,
            ..StubConfig::default()
        },
        EngineConfig::default(),
    )
}

/// A session whose every step waits for the test, and the test's end of that gate.
fn gated(stub: StubConfig, engine: EngineConfig) -> (Session, mpsc::Sender<()>) {
    let (steps, gate) = mpsc::channel();
    (
        session(
            StubConfig {
                gate: Some(gate),
                ..stub
            },
            engine,
        ),
        steps,
    )
}

/// A greedy request for a raw prompt.
fn ask(prompt: &str) -> GenerateRequest {
    GenerateRequest {
        prompt: Prompt::marked(prompt),
        sampling: SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        },
        ..GenerateRequest::default()
    }
}

/// The whole answer.
fn whole(mut generation: Generation) -> (String, Finish) {
    let mut answer = String::new();
    loop {
        match generation.next_blocking() {
            Some(Event::Text { text, .. }) => answer.push_str(&text),
            Some(Event::Finished(finish)) => return (answer, finish),
            other => panic!("the answer failed after {answer:?}: {other:?}"),
        }
    }
}
