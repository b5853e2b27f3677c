//! What comes out: the right text, whole characters, the right counts.

use shimmy_engine::stub::Reply;
use shimmy_engine::{Constraint, Event, FinishReason, GenerateRequest, Prompt, PromptPart};

use crate::{ask, saying, whole};

#[test]
fn an_answer_is_streamed_and_counted() {
    let session = saying(Reply::Fixed("hi ü 😀".to_owned()));
    let mut generation = session.generate(ask("abc")).expect("taken");
    assert_eq!(generation.prompt_tokens(), 3);
    let mut events = Vec::new();
    while let Some(event) = generation.next_blocking() {
        events.push(event);
    }
    let Some(Event::Finished(finish)) = events.pop() else {
        panic!("no last word: {events:?}")
    };
    let texts: Vec<(&str, u32)> = events
        .iter()
        .map(|event| match event {
            Event::Text { text, tokens, .. } => (text.as_str(), *tokens),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        texts,
        [("h", 1), ("i", 1), (" ", 1), ("ü", 2), (" ", 1), ("😀", 4)],
        "characters come whole, with the tokens they took"
    );
    assert_eq!(finish.reason, FinishReason::Stop);
    assert_eq!(finish.usage.prompt_tokens, 3);
    assert_eq!(
        finish.usage.completion_tokens, 11,
        "ten bytes and the end token"
    );
}

#[test]
fn a_stop_text_over_tokens_ends_the_answer_before_it() {
    let session = saying(Reply::Fixed("one END two".to_owned()));
    let request = GenerateRequest {
        stop: vec!["END".to_owned(), String::new()],
        ..ask("x")
    };
    let (text, finish) = whole(session.generate(request).expect("taken"));
    assert_eq!(text, "one ");
    assert_eq!(finish.reason, FinishReason::Stop);
    assert_eq!(finish.stop.as_deref(), Some("END"));
}

#[test]
fn max_tokens_ends_the_answer_with_length() {
    let session = saying(Reply::Mixed);
    let request = GenerateRequest {
        max_tokens: Some(5),
        ..ask("x")
    };
    let (text, finish) = whole(session.generate(request).expect("taken"));
    assert_eq!((text.len(), finish.reason), (5, FinishReason::Length));
}

#[test]
fn a_held_back_beginning_of_a_stop_text_comes_out_at_the_end() {
    let session = saying(Reply::Fixed("abcEN".to_owned()));
    let request = GenerateRequest {
        stop: vec!["END".to_owned()],
        ..ask("x")
    };
    assert_eq!(whole(session.generate(request).expect("taken")).0, "abcEN");
}

#[test]
fn special_texts_become_tokens_only_where_a_template_wrote_them() {
    let session = saying(Reply::Echo);
    let count = |part| {
        let prompt = Prompt { parts: vec![part] };
        session.tokenize(&prompt).expect("tokens").len()
    };
    assert_eq!(count(PromptPart::Marked("<|im_start|>".to_owned())), 1);
    assert_eq!(count(PromptPart::Literal("<|im_start|>".to_owned())), 12);
}

#[test]
fn ignore_eos_goes_on_to_the_limit() {
    let session = saying(Reply::Fixed("ab".to_owned()));
    let request = GenerateRequest {
        ignore_eos: true,
        max_tokens: Some(6),
        ..ask("x")
    };
    let (text, finish) = whole(session.generate(request).expect("taken"));
    assert_eq!((text.as_str(), finish.usage.completion_tokens), ("ab", 6));
}

#[test]
fn a_constrained_answer_parses_whatever_the_model_wants_to_say() {
    let session = saying(Reply::Fixed("I would rather not say".to_owned()));
    let schema = serde_json::json!({
        "type": "object",
        "properties": { "answer": { "enum": ["yes", "no"] } },
        "required": ["answer"],
        "additionalProperties": false,
    });
    let request = GenerateRequest {
        constraint: Some(Constraint::JsonSchema(schema)),
        ..ask("x")
    };
    let (text, finish) = whole(session.generate(request).expect("taken"));
    let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(
        ["yes", "no"].contains(&answer["answer"].as_str().expect("a string")),
        "{text}"
    );
    assert_eq!(finish.reason, FinishReason::Stop);
}
