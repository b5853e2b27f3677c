//! How the parts of an answer become lines.

use serde_json::json;
use shimmy_engine::{FinishReason, Timings, Usage};

use super::*;

fn lines() -> Lines {
    Lines {
        shape: Shape::Chat,
        model: "m".to_owned(),
        received: Instant::now(),
        load: Duration::ZERO,
        call: None,
        calls: 0,
        logprobs: Vec::new(),
    }
}

fn ending() -> Ending {
    Ending {
        finish: Finish {
            reason: FinishReason::Stop,
            stop: None,
            usage: Usage::default(),
            timings: Timings::default(),
        },
        calls: 0,
        reasoning_tokens: 0,
        logprobs: Vec::new(),
    }
}

/// The lines of some deltas but the last one, without what differs from run to run.
fn written(deltas: &[Delta], close: bool) -> Vec<Value> {
    let (mut lines, mut out) = (lines(), Vec::new());
    for delta in deltas {
        lines.delta(0, delta, &[], &mut out);
    }
    if close {
        lines.finished(0, ending(), &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let others = text.lines().count() - usize::from(close);
    text.lines()
        .take(others)
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(
                (&line["model"], &line["done"]),
                (&json!("m"), &json!(false))
            );
            let calls = line.pointer_mut("/message/tool_calls");
            let calls = calls.and_then(Value::as_array_mut).into_iter().flatten();
            for call in calls {
                let id = call.as_object_mut().unwrap().remove("id").unwrap();
                assert!(id.as_str().unwrap().starts_with("call_"));
            }
            line["message"].take()
        })
        .collect()
}

fn call(index: usize, name: &str) -> Delta {
    Delta::ToolCall {
        index,
        name: name.to_owned(),
    }
}

fn arguments(index: usize, json: &str) -> Delta {
    Delta::ToolArguments {
        index,
        json: json.to_owned(),
    }
}

#[test]
fn thoughts_words_and_whole_calls_have_lines_of_their_own() {
    let deltas = [
        Delta::Reasoning("Hm.".to_owned()),
        Delta::Content("Let me see.".to_owned()),
        call(0, "weather"),
        arguments(0, r#"{"city":"#),
        arguments(0, r#""Paris"}"#),
        call(1, "time"),
        arguments(1, "{}"),
    ];
    assert_eq!(
        written(&deltas, true),
        [
            json!({ "role": "assistant", "content": "", "thinking": "Hm." }),
            json!({ "role": "assistant", "content": "Let me see." }),
            json!({ "role": "assistant", "content": "", "tool_calls": [{ "function": {
                "index": 0, "name": "weather", "arguments": { "city": "Paris" } } }] }),
            json!({ "role": "assistant", "content": "", "tool_calls": [{ "function": {
                "index": 1, "name": "time", "arguments": {} } }] }),
        ]
    );
}

#[test]
fn a_call_is_told_as_soon_as_something_follows_it() {
    let deltas = [
        call(0, "time"),
        arguments(0, "{}"),
        Delta::Content("Done.".to_owned()),
    ];
    let lines = written(&deltas, false);
    assert_eq!(lines[0]["tool_calls"][0]["function"]["name"], "time");
    assert_eq!(lines[1]["content"], "Done.");
}

#[test]
fn a_call_that_was_cut_short_is_told_as_text() {
    let deltas = [
        call(0, "time"),
        arguments(0, "{}"),
        call(1, "weather"),
        arguments(1, r#"{"city":"Pa"#),
    ];
    let lines = written(&deltas, true);
    assert_eq!(lines[0]["tool_calls"][0]["function"]["name"], "time");
    assert_eq!(
        lines[1],
        json!({ "role": "assistant", "content": r#"weather({"city":"Pa"# })
    );
}
