//! What stays and what goes.

use super::*;
use crate::caller::Caller;
use crate::openai::habits::Metadata;
use crate::responses::item::Item;
use crate::responses::response::{Echo, EchoReasoning, EchoSampling, EchoText};

/// Who has asked.
const OWNER: Caller = Caller::ANYONE;

fn kept(instructions: &str) -> Arc<Kept> {
    let echo = Echo {
        background: false,
        conversation: None,
        instructions: Some(instructions.to_owned()),
        max_output_tokens: None,
        max_tool_calls: None,
        metadata: Metadata::new(),
        parallel_tool_calls: true,
        previous_response_id: None,
        prompt: None,
        prompt_cache_key: None,
        reasoning: EchoReasoning::default(),
        safety_identifier: None,
        service_tier: "default",
        store: true,
        sampling: EchoSampling::default(),
        text: EchoText {
            format: Value::Null,
            verbosity: None,
        },
        tool_choice: Value::Null,
        tools: Vec::new(),
        top_logprobs: 0,
        truncation: "disabled",
        user: None,
    };
    let mut response = Response::begun("stub", &shimmy_engine::SamplingParams::default(), echo);
    response.output.push(Item::message());
    Arc::new(Kept {
        caller: OWNER,
        response,
        messages: Vec::new(),
        bytes: 0,
    })
}

/// Keeps an answer and returns its id.
fn keep(responses: &KeptResponses, instructions: &str) -> String {
    let kept = kept(instructions);
    let id = kept.response.id.clone();
    responses.keep(kept);
    id
}

fn bytes(responses: &KeptResponses) -> usize {
    let inner = responses.lock();
    assert_eq!(inner.entries.len(), inner.by_use.len());
    assert_eq!(inner.entries.len(), inner.items.len(), "one item each");
    let sum: usize = inner.entries.values().map(|entry| entry.bytes).sum();
    assert_eq!(inner.bytes, sum);
    sum
}

#[test]
fn the_longest_unused_goes_first() {
    let responses = KeptResponses::new(3, 1 << 20);
    let ids: Vec<String> = (0..3).map(|_| keep(&responses, "")).collect();
    assert!(responses.get(&ids[0], OWNER).is_some());
    let fourth = keep(&responses, "");
    assert!(
        responses.get(&ids[1], OWNER).is_none(),
        "the one that nobody used"
    );
    for id in [&ids[0], &ids[2], &fourth] {
        assert!(responses.get(id, OWNER).is_some());
    }
    bytes(&responses);
}

#[test]
fn bytes_are_bounded_however_many_come() {
    let one = {
        let responses = KeptResponses::new(10, 1 << 20);
        keep(&responses, &"x".repeat(1000));
        bytes(&responses)
    };
    let responses = KeptResponses::new(1000, 3 * one + 10);
    for length in (0..200).map(|n| (n * 37) % 1500) {
        keep(&responses, &"x".repeat(length));
        assert!(bytes(&responses) <= 3 * one + 10);
    }
    let small = keep(&responses, "small");
    let large = keep(&responses, &"x".repeat(4 * one));
    assert!(
        responses.get(&large, OWNER).is_none(),
        "larger than all the place there is"
    );
    assert!(
        responses.get(&small, OWNER).is_some(),
        "and it took nobody's"
    );
}

#[test]
fn what_is_forgotten_is_gone_once() {
    let responses = KeptResponses::new(3, 1 << 20);
    let id = keep(&responses, "");
    let item = responses.get(&id, OWNER).unwrap().response.output[0]
        .id()
        .to_owned();
    assert_eq!(responses.item(&item, OWNER).unwrap()["id"], item);
    assert!(responses.remove(&id, OWNER));
    assert_eq!(responses.item(&item, OWNER), None);
    assert!(!responses.remove(&id, OWNER));
    assert_eq!(bytes(&responses), 0);
    let none = KeptResponses::new(0, 1 << 20);
    let id = keep(&none, "");
    assert!(none.get(&id, OWNER).is_none());
}

#[test]
fn what_one_caller_was_answered_is_there_for_no_other() {
    let responses = KeptResponses::new(3, 1 << 20);
    let id = keep(&responses, "mine");
    let other = Caller::with_key(b"sk-other");
    let item = responses.get(&id, OWNER).unwrap().response.output[0]
        .id()
        .to_owned();
    assert!(responses.get(&id, other).is_none());
    assert_eq!(responses.item(&item, other), None);
    assert!(!responses.remove(&id, other));
    assert!(responses.get(&id, OWNER).is_some(), "it is still there");
}
