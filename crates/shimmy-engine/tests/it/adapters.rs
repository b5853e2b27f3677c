//! Adapters are chosen per request.

use shimmy_engine::stub::{Reply, StubConfig, session};
use shimmy_engine::{AdapterId, AdapterScale, EngineConfig, GenerateRequest, SubmitError};

use crate::{ask, whole};

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

#[test]
fn two_adapters_give_two_answers_at_the_same_time() {
    let stub = StubConfig {
        reply: Reply::Fixed("aaa".into()),
        adapters: 2,
        ..Default::default()
    };
    let session = session(stub, EngineConfig::default());
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
    let answers: Vec<String> = answers.into_iter().map(|g| whole(g).0).collect();
    assert_eq!(answers, ["aaa", "baa", "caa", "daa", "aaa"]);
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
