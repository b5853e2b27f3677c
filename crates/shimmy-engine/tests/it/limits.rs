//! Every limit says what was too much, and costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shimmy_engine::stub::{Reply, StubConfig, session};
use shimmy_engine::{
    Constraint, EngineConfig, Event, FillInTheMiddle, FinishReason, GenerateError, GenerateRequest,
    Prompt, PromptPart, SamplingParams, Session, Specials, SubmitError, TextMarks, Token,
    TokenizeError, Tokenizer,
};

use crate::{ask, gated, saying, whole};

#[test]
fn a_prompt_over_the_context_names_both_numbers() {
    let stub = StubConfig {
        cells: 100,
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let error = session
        .generate(ask(&"x".repeat(100)))
        .expect_err("too long");
    assert_eq!(
        error,
        SubmitError::PromptTooLong {
            got: 100,
            limit: 100
        }
    );
    let text = error.to_string();
    assert!(
        text.contains("100 tokens") && text.contains("holds 100"),
        "{text}"
    );
    assert_eq!(session.engine().status().occupied, 0);
}

#[test]
fn a_prompt_longer_than_the_batch_is_computed_in_chunks() {
    let stub = StubConfig {
        batch: 8,
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let prompt = "a long prompt ".repeat(100);
    let (text, finish) = whole(session.generate(ask(&prompt)).expect("taken"));
    assert_eq!(text, prompt);
    assert_eq!(finish.usage.prompt_tokens as usize, prompt.len());
}

#[test]
fn an_answer_ends_with_length_where_the_context_ends() {
    let stub = StubConfig {
        reply: Reply::Mixed,
        cells: 64,
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let request = GenerateRequest {
        max_tokens: Some(u32::MAX),
        ..ask("0123456789")
    };
    let (text, finish) = whole(session.generate(request).expect("taken"));
    assert_eq!((text.len(), finish.reason), (54, FinishReason::Length));
}

#[test]
fn when_the_cache_is_short_everyone_still_finishes_with_the_same_answer() {
    let request = |n: usize| GenerateRequest {
        max_tokens: Some(60),
        ..ask(&"p".repeat(30 + n))
    };
    let alone: Vec<String> = (0..8)
        .map(|n| whole(saying(Reply::Mixed).generate(request(n)).expect("taken")).0)
        .collect();
    // Room for about two of the eight.
    let stub = StubConfig {
        reply: Reply::Mixed,
        cells: 200,
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let together: Vec<_> = (0..8)
        .map(|n| session.generate(request(n)).expect("taken"))
        .collect();
    let together: Vec<String> = together.into_iter().map(|g| whole(g).0).collect();
    assert_eq!(together, alone);
}

#[test]
fn a_cache_smaller_than_promised_holds_nobody_up_for_ever() {
    let stub = StubConfig {
        reply: Reply::Mixed,
        real_cells: 150,
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let request = |n: usize| GenerateRequest {
        max_tokens: Some(50),
        ..ask(&"p".repeat(60 + n))
    };
    let both: Vec<_> = (0..2)
        .map(|n| session.generate(request(n)).expect("taken"))
        .collect();
    for generation in both {
        assert_eq!(whole(generation).0.len(), 50);
    }
    // Alone and still too large: said, not retried for ever.
    let mut large = session.generate(ask(&"p".repeat(400))).expect("taken");
    match large.next_blocking() {
        Some(Event::Failed(GenerateError::CacheExhausted { needed, cells })) => {
            assert_eq!(needed, 400);
            assert!(cells <= 150, "{cells}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        whole(session.generate(request(0)).expect("taken")).0.len(),
        50
    );
}

#[test]
fn a_cache_that_was_full_for_a_moment_is_used_in_full_again() {
    let stub = StubConfig {
        reply: Reply::Mixed,
        cells: 600,
        full_at_step: Some(10),
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let request = |prompt: usize, answer: u32| GenerateRequest {
        max_tokens: Some(answer),
        ..ask(&"p".repeat(prompt))
    };
    // The refusal comes in the middle of the first or of the first two, as they happen to start, and
    // they end as if nothing had been.
    let both = [30, 40].map(|prompt| session.generate(request(prompt, 50)).expect("taken"));
    for generation in both {
        assert_eq!(whole(generation).0.len(), 50);
    }
    // What needs many more cells than were in use when there were said to be no more.
    let large = session.generate(request(500, 50)).expect("taken");
    assert_eq!(whole(large).0.len(), 50);
}

#[test]
fn a_full_queue_refuses_at_once() {
    let stub = StubConfig {
        reply: Reply::Mixed,
        sequences: 1,
        ..StubConfig::default()
    };
    let (session, steps) = gated(
        stub,
        EngineConfig {
            queue: 2,
            ..EngineConfig::default()
        },
    );
    let taken: Vec<_> = (0..3)
        .map(|_| session.generate(ask("x")).expect("taken"))
        .collect();
    let error = session.generate(ask("x")).expect_err("full");
    assert_eq!(error, SubmitError::QueueFull { limit: 2 });
    drop((taken, steps));
}

#[test]
fn a_request_that_waits_too_long_is_told_so() {
    let stub = StubConfig {
        reply: Reply::Mixed,
        sequences: 1,
        ..StubConfig::default()
    };
    let config = EngineConfig {
        queue_timeout: Duration::ZERO,
        ..EngineConfig::default()
    };
    let (session, steps) = gated(stub, config);
    let mut first = session.generate(ask("first")).expect("taken");
    steps.send(()).expect("the engine waits");
    let running = matches!(first.next_blocking(), Some(Event::Text { .. }));
    // With a patience of zero the first may be late itself when the machine is slow to wake; what
    // matters is that whoever waits is told.
    let mut late = session.generate(ask("late")).expect("taken");
    drop(steps);
    if running {
        let expected = Event::Failed(GenerateError::QueueTimeout { seconds: 0 });
        assert_eq!(late.next_blocking(), Some(expected));
    }
}

#[test]
fn parameters_out_of_bounds_are_refused_by_name() {
    let session = saying(Reply::Echo);
    let sampling = |change: fn(&mut SamplingParams)| {
        let mut request = ask("x");
        change(&mut request.sampling);
        request
    };
    let cases: [(&str, GenerateRequest); 8] = [
        ("temperature", sampling(|p| p.temperature = -1.0)),
        ("temperature", sampling(|p| p.temperature = f32::NAN)),
        ("top_p", sampling(|p| p.top_p = 1.5)),
        ("min_p", sampling(|p| p.min_p = -0.1)),
        ("repeat_penalty", sampling(|p| p.repeat_penalty = 0.0)),
        (
            "logit_bias",
            sampling(|p| p.logit_bias = vec![(100_000, 1.0)]),
        ),
        (
            "max_tokens",
            GenerateRequest {
                max_tokens: Some(0),
                ..ask("x")
            },
        ),
        (
            "stop",
            GenerateRequest {
                stop: vec!["x".to_owned(); 100],
                ..ask("x")
            },
        ),
    ];
    for (field, request) in cases {
        match session.generate(request) {
            Err(SubmitError::Invalid(invalid)) => assert_eq!(invalid.field, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    assert_eq!(
        session
            .generate(GenerateRequest {
                prompt: Prompt::default(),
                ..ask("")
            })
            .err(),
        Some(SubmitError::PromptEmpty)
    );
}

#[test]
fn a_constraint_that_cannot_be_honoured_is_refused_before_anything_runs() {
    let session = saying(Reply::Echo);
    let gbnf = Constraint::Grammar("root ::= missing".to_owned());
    let request = GenerateRequest {
        constraint: Some(gbnf),
        ..ask("x")
    };
    match session.generate(request) {
        Err(SubmitError::Invalid(invalid)) => assert_eq!(invalid.field, "grammar"),
        other => panic!("{other:?}"),
    }
    assert_eq!(session.engine().status().occupied, 0);
}

#[test]
fn a_model_that_only_makes_vectors_refuses_to_answer_and_makes_them() {
    let stub = StubConfig {
        generates: false,
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    assert_eq!(
        session.generate(ask("x")).err(),
        Some(SubmitError::CannotGenerate)
    );
    assert_eq!(session.engine().status().occupied, 0);
}

/// The deterministic tokenizer, which notes how many bytes it is given.
struct Counting {
    inner: Session,
    bytes: AtomicUsize,
}

impl Tokenizer for Counting {
    fn vocabulary(&self) -> usize {
        self.inner.tokenizer().vocabulary()
    }
    fn tokenize(&self, text: &str, specials: Specials) -> Result<Vec<Token>, TokenizeError> {
        self.bytes.fetch_add(text.len(), Ordering::Relaxed);
        self.inner.tokenizer().tokenize(text, specials)
    }
    fn append_piece(&self, token: Token, specials: Specials, out: &mut Vec<u8>) {
        self.inner.tokenizer().append_piece(token, specials, out);
    }
    fn is_end_of_generation(&self, token: Token) -> bool {
        self.inner.tokenizer().is_end_of_generation(token)
    }
    fn is_control(&self, token: Token) -> bool {
        self.inner.tokenizer().is_control(token)
    }
    fn beginning_of_sequence(&self) -> Option<Token> {
        self.inner.tokenizer().beginning_of_sequence()
    }
    fn end_of_sequence(&self) -> Option<Token> {
        self.inner.tokenizer().end_of_sequence()
    }
    fn special_texts(&self) -> &[String] {
        self.inner.tokenizer().special_texts()
    }
    fn text_marks(&self) -> TextMarks {
        self.inner.tokenizer().text_marks()
    }
    fn fill_in_the_middle(&self) -> Option<FillInTheMiddle> {
        self.inner.tokenizer().fill_in_the_middle()
    }
}

#[test]
fn a_prompt_that_is_far_too_long_is_not_tokenised_whole() {
    let stub = StubConfig {
        cells: 1000,
        ..StubConfig::default()
    };
    let inner = session(stub, EngineConfig::default());
    let engine = inner.engine().clone();
    let tokenizer = Arc::new(Counting {
        inner,
        bytes: AtomicUsize::new(0),
    });
    let session = Session::new(Arc::clone(&tokenizer) as Arc<dyn Tokenizer>, engine, 0);
    let ten_million = "\n".repeat(10_000_000);
    for parts in [
        vec![PromptPart::Marked(ten_million.clone())],
        vec![
            PromptPart::Marked("short".to_owned()),
            PromptPart::Literal(ten_million),
        ],
    ] {
        let request = GenerateRequest {
            prompt: Prompt { parts },
            ..GenerateRequest::default()
        };
        let error = session.generate(request).expect_err("far too long");
        let SubmitError::PromptFarTooLong { at_least, limit } = error else {
            panic!("{error}")
        };
        // A byte is a token here: there are more than is said.
        assert!((1000..10_000_000).contains(&at_least), "{at_least}");
        assert_eq!(limit, 1000);
        let work = tokenizer.bytes.swap(0, Ordering::Relaxed);
        assert!(work < 100_000, "{work} bytes became tokens");
    }
    // The first tokens are those of the whole, and what follows them is not looked at.
    let long = "0123456789".repeat(1_000_000);
    let start = session.tokenize_start(&Prompt::marked(long.clone()), 1000);
    let whole = session.tokenize(&Prompt::marked(&long[..1000]));
    assert_eq!(start.expect("tokens"), whole.expect("tokens"));
    let work = tokenizer.bytes.swap(0, Ordering::Relaxed);
    assert!(work < 200_000, "{work} bytes became tokens");
    // One that is only somewhat too long is counted.
    let error = session
        .generate(ask(&"x".repeat(7000)))
        .expect_err("too long");
    let exact = SubmitError::PromptTooLong {
        got: 7000,
        limit: 1000,
    };
    assert_eq!(error, exact);
    assert_eq!(tokenizer.bytes.load(Ordering::Relaxed), 7000, "once");
}
