//! What was computed once is not computed again, and answers do not show it.

use std::time::Duration;

use shimmy_engine::stub::{Reply, StubConfig, session};
use shimmy_engine::{EngineConfig, FinishReason, GenerateRequest, Prompt, StoreConfig};

use crate::{ask, gated, saying, whole};

fn short(prompt: &str) -> GenerateRequest {
    GenerateRequest {
        max_tokens: Some(12),
        ..ask(prompt)
    }
}

const LONG: &str = "a beginning that several requests have in common, and then ";

#[test]
fn cached_tokens_are_those_that_were_not_computed() {
    let session = saying(Reply::Mixed);
    let (first, finish) = whole(session.generate(short(LONG)).expect("taken"));
    assert_eq!(finish.usage.cached_tokens, 0);
    let (again, finish) = whole(session.generate(short(LONG)).expect("taken"));
    // The last token of a prompt is always computed.
    assert_eq!(finish.usage.cached_tokens as usize, LONG.len() - 1);
    assert_eq!(again, first);
    // A conversation that goes on: all but the last word of the answer is there.
    let next = format!("{LONG}{first} and more");
    let (_, finish) = whole(session.generate(short(&next)).expect("taken"));
    assert_eq!(finish.usage.cached_tokens as usize, LONG.len() + 11);
    let status = session.engine().status();
    assert_eq!(
        status.tokens_reused as usize,
        (LONG.len() - 1) + (LONG.len() + 11)
    );
    assert!(status.cells_parked > 0);
}

#[test]
fn another_scope_finds_nothing() {
    let session = saying(Reply::Mixed);
    for (scope, cached) in [(1, 0), (2, 0), (1, LONG.len() - 1)] {
        let request = GenerateRequest {
            cache_scope: scope,
            ..short(LONG)
        };
        let (_, finish) = whole(session.generate(request).expect("taken"));
        assert_eq!(finish.usage.cached_tokens as usize, cached, "scope {scope}");
    }
}

#[test]
fn requests_that_come_together_compute_their_prefix_once() {
    let stub = StubConfig {
        reply: Reply::Mixed,
        ..StubConfig::default()
    };
    let (session, steps) = gated(stub, EngineConfig::default());
    let prompts: Vec<String> = (0..6).map(|n| format!("{LONG}{n}")).collect();
    let running: Vec<_> = prompts
        .iter()
        .map(|prompt| session.generate(short(prompt)).expect("taken"))
        .collect();
    drop(steps);
    let answers: Vec<_> = running.into_iter().map(whole).collect();
    let cached: Vec<usize> = answers
        .iter()
        .map(|(_, finish)| finish.usage.cached_tokens as usize)
        .collect();
    assert_eq!(
        cached,
        [
            0,
            LONG.len(),
            LONG.len(),
            LONG.len(),
            LONG.len(),
            LONG.len()
        ]
    );
    let cold = EngineConfig {
        parked_cells: Some(0),
        ..EngineConfig::default()
    };
    for (prompt, (answer, _)) in prompts.iter().zip(&answers) {
        let stub = StubConfig {
            reply: Reply::Mixed,
            ..StubConfig::default()
        };
        let alone = shimmy_engine::stub::session(stub, cold.clone());
        let (expected, finish) = whole(alone.generate(short(prompt)).expect("taken"));
        assert_eq!(*answer, expected);
        assert_eq!(finish.usage.cached_tokens, 0);
    }
}

#[test]
fn a_prefix_outlives_its_engine_on_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = |fingerprint| EngineConfig {
        store: Some(StoreConfig {
            folder: folder.path().to_owned(),
            fingerprint,
            most_bytes: 1 << 20,
        }),
        ..EngineConfig::default()
    };
    let stub = || StubConfig {
        reply: Reply::Mixed,
        ..StubConfig::default()
    };
    let first = session(stub(), engine(1));
    let (answer, _) = whole(first.generate(short(LONG)).expect("taken"));
    first.engine().shutdown();

    let second = session(stub(), engine(1));
    let (again, finish) = whole(second.generate(short(LONG)).expect("taken"));
    assert_eq!(finish.usage.cached_tokens as usize, LONG.len() - 1);
    assert_eq!(again, answer);
    second.engine().shutdown();

    let other_model = session(stub(), engine(2));
    let (_, finish) = whole(other_model.generate(short(LONG)).expect("taken"));
    assert_eq!(finish.usage.cached_tokens, 0);
}

#[cfg(unix)]
#[test]
fn answers_go_on_while_a_prefix_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = || EngineConfig {
        store: Some(StoreConfig {
            folder: folder.path().to_owned(),
            fingerprint: 1,
            most_bytes: 1 << 20,
        }),
        ..EngineConfig::default()
    };
    let stub = || StubConfig {
        reply: Reply::Mixed,
        ..StubConfig::default()
    };
    let first = session(stub(), engine());
    let (answer, _) = whole(first.generate(short(LONG)).expect("taken"));
    first.engine().shutdown();

    let second = session(stub(), engine());
    let mut running = second.generate(ask("another")).expect("taken");
    running.next_blocking().expect("its first text");
    // From now on, whoever reads the file waits until the test writes it.
    let listing = std::fs::read_dir(folder.path()).expect("a folder");
    let file = listing.map(|entry| entry.expect("an entry").path()).next();
    let file = file.expect("a file");
    let bytes = std::fs::read(&file).expect("its bytes");
    std::fs::remove_file(&file).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("mkfifo").success());
    let waiting = [short(LONG), short(LONG)].map(|ask| second.generate(ask).expect("taken"));
    for _ in 0..200 {
        running.next_blocking().expect("a text");
    }
    std::fs::write(&file, bytes).expect("written");
    for generation in waiting {
        let (again, finish) = whole(generation);
        assert_eq!(finish.usage.cached_tokens as usize, LONG.len() - 1);
        assert_eq!(again, answer);
    }
}

#[test]
fn a_state_that_the_runner_does_not_take_is_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = || EngineConfig {
        store: Some(StoreConfig {
            folder: folder.path().to_owned(),
            fingerprint: 1,
            most_bytes: 1 << 20,
        }),
        ..EngineConfig::default()
    };
    let stub = |takes_states| StubConfig {
        reply: Reply::Mixed,
        takes_states,
        ..StubConfig::default()
    };
    let files = || std::fs::read_dir(folder.path()).expect("a folder").count();
    let first = session(stub(true), engine());
    let (answer, _) = whole(first.generate(short(LONG)).expect("taken"));
    first.engine().shutdown();
    assert_eq!(files(), 1);
    let second = session(stub(false), engine());
    let (again, finish) = whole(second.generate(short(LONG)).expect("taken"));
    assert_eq!((again, finish.usage.cached_tokens), (answer, 0));
    assert_eq!(files(), 0);
}

/// An engine whose cache has place for next to nothing that has ended.
fn offloading(bytes: u64) -> EngineConfig {
    EngineConfig {
        parked_cells: Some(16),
        offload_bytes: bytes,
        ..EngineConfig::default()
    }
}

#[test]
fn conversations_in_turn_go_on_from_what_left_the_cache() {
    let stub = || StubConfig {
        reply: Reply::Mixed,
        ..StubConfig::default()
    };
    let session = shimmy_engine::stub::session(stub(), offloading(1 << 20));
    let prompts: Vec<String> = (0..6).map(|n| format!("{n}: {LONG}")).collect();
    for prompt in &prompts {
        whole(session.generate(short(prompt)).expect("taken"));
    }
    let status = session.engine().status();
    assert!(status.cells_parked < 2 * LONG.len(), "{status:?}");
    assert!(status.offloaded_bytes > 0, "{status:?}");
    assert_eq!(status.prefixes_evicted, 0);
    for prompt in &prompts {
        let (answer, finish) = whole(session.generate(short(prompt)).expect("taken"));
        assert_eq!(finish.usage.cached_tokens as usize, prompt.len() - 1);
        let alone = shimmy_engine::stub::session(stub(), EngineConfig::default());
        let (expected, _) = whole(alone.generate(short(prompt)).expect("taken"));
        assert_eq!(answer, expected);
    }
    // Without memory for them they are given up.
    let forgetful = shimmy_engine::stub::session(stub(), offloading(1));
    for prompt in &prompts {
        whole(forgetful.generate(short(prompt)).expect("taken"));
    }
    let status = forgetful.engine().status();
    assert_eq!(status.offloaded_bytes, 0);
    assert!(status.prefixes_evicted > 0, "{status:?}");
}

#[test]
fn what_left_the_cache_outlives_the_engine_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = || EngineConfig {
        store: Some(StoreConfig {
            folder: folder.path().to_owned(),
            fingerprint: 1,
            most_bytes: 1 << 20,
        }),
        ..offloading(1 << 20)
    };
    let stub = || StubConfig {
        reply: Reply::Mixed,
        ..StubConfig::default()
    };
    let prompts: Vec<String> = (0..3).map(|n| format!("{n}: {}", LONG.repeat(2))).collect();
    let first = session(stub(), engine());
    for prompt in &prompts {
        whole(first.generate(short(prompt)).expect("taken"));
    }
    first.engine().shutdown();
    let second = session(stub(), engine());
    for prompt in &prompts {
        let (_, finish) = whole(second.generate(short(prompt)).expect("taken"));
        assert_eq!(finish.usage.cached_tokens as usize, prompt.len() - 1);
    }
}

#[test]
fn drafts_change_how_fast_an_answer_comes_and_not_what_it_says() {
    let stub = || StubConfig {
        reply: Reply::Echo,
        ..StubConfig::default()
    };
    let text = "one two three four, one two three four, ".repeat(20);
    let off = EngineConfig {
        drafts: false,
        ..EngineConfig::default()
    };
    let (plain, finish) = whole(session(stub(), off).generate(ask(&text)).expect("taken"));
    let drafting = session(stub(), EngineConfig::default());
    let (drafted, with_drafts) = whole(drafting.generate(ask(&text)).expect("taken"));
    assert_eq!(drafted, plain);
    assert_eq!(with_drafts.usage, finish.usage);
    let status = drafting.engine().status();
    assert!(status.tokens_drafted > 0, "{status:?}");
    assert!(
        status.drafts_accepted * 2 > status.tokens_drafted,
        "{status:?}"
    );
}

#[test]
fn an_answer_ends_with_length_when_its_time_is_over() {
    let session = saying(Reply::Mixed);
    let request = GenerateRequest {
        deadline: Some(Duration::ZERO),
        ..ask("x")
    };
    let (_, finish) = whole(session.generate(request).expect("taken"));
    assert_eq!(finish.reason, FinishReason::Length);
}

#[tokio::test]
async fn texts_become_vectors_beside_running_answers() {
    let session = saying(Reply::Mixed);
    let running = session
        .generate(ask("an answer without end"))
        .expect("taken");
    let texts: Vec<Prompt> = (0..50)
        .map(|n| Prompt::marked("\u{1}".repeat(n % 7 + 1)))
        .collect();
    let prepared = session.prepare_texts(&texts).expect("texts");
    let embedded = session.embed(prepared, None).await.expect("vectors");
    assert_eq!(embedded.vectors.len(), 50);
    for (n, vector) in embedded.vectors.iter().enumerate() {
        assert_eq!(vector[1], (n % 7 + 1) as f32);
        assert_eq!(embedded.tokens[n] as usize, n % 7 + 1);
    }
    let error = session.prepare_texts(&[Prompt::marked("x".repeat(65))]);
    assert!(
        error
            .expect_err("too long")
            .to_string()
            .contains("65 tokens")
    );
    assert!(session.prepare_texts(&[Prompt::default()]).is_err());
    let none = session.prepare_texts(&[]).expect("none");
    assert!(
        session
            .embed(none, None)
            .await
            .expect("none")
            .vectors
            .is_empty()
    );
    drop(running);
}

#[tokio::test]
async fn token_probabilities_come_with_the_text() {
    let session = saying(Reply::Fixed("ab".to_owned()));
    let request = GenerateRequest {
        logprobs: Some(3),
        ..ask("x")
    };
    let mut running = session.generate(request).expect("taken");
    let mut seen = Vec::new();
    while let Some(event) = running.next().await {
        if let shimmy_engine::Event::Text { logprobs, .. } = event {
            seen.extend(logprobs);
        }
    }
    let chosen: Vec<_> = seen.iter().map(|l| l.chosen.bytes.clone()).collect();
    assert_eq!(chosen, [b"a", b"b"]);
    for token in seen {
        assert!(token.chosen.logprob > -0.1);
        assert_eq!(token.top.len(), 3);
        assert_eq!(token.top[0], token.chosen);
    }
    let request = GenerateRequest {
        logprobs: Some(21),
        ..ask("x")
    };
    assert!(session.generate(request).is_err());
}
