//! Golden frames of what no engine has to be asked for.

use insta::assert_snapshot;
use shimmy_engine::{Finish, FinishReason, Logprob, Timings, Usage};

use super::*;
use crate::openai::usage::Endings;

fn frames(calls: CallStyle, logprobs: bool) -> ChunkFrames {
    let kind = ("chatcmpl-", "chat.completion.chunk");
    let envelope = Envelope::new(kind, "m".to_owned(), true, Endings::new(1));
    ChunkFrames::new(envelope, AnswerStyle { calls, logprobs })
}

fn ending(reason: FinishReason, calls: usize) -> Ending {
    let usage = Usage {
        prompt_tokens: 5,
        cached_tokens: 2,
        completion_tokens: 9,
    };
    Ending {
        finish: Finish {
            reason,
            stop: None,
            usage,
            timings: Timings::default(),
        },
        calls,
        reasoning_tokens: 3,
        logprobs: Vec::new(),
    }
}

/// The choices of the chunks that a stream of these deltas has, and its usage.
fn choices(mut frames: ChunkFrames, deltas: &[Delta], ending: Ending) -> String {
    let mut out = Vec::new();
    frames.open(&mut out);
    for delta in deltas {
        frames.delta(0, delta, &[], &mut out);
    }
    frames.finished(0, ending, &mut out);
    frames.close(&mut out);
    shown(&out)
}

/// What differs from chunk to chunk, with the ids hidden.
fn shown(out: &[u8]) -> String {
    let text = std::str::from_utf8(out).unwrap();
    let mut shown = String::new();
    for event in text.split_terminator("\n\n") {
        let data = event.strip_prefix("data: ").unwrap();
        let Ok(chunk) = serde_json::from_str::<serde_json::Value>(data) else {
            shown.push_str(data);
            continue;
        };
        let line = &data[data.find("\"choices\"").unwrap()..];
        match chunk["choices"][0]["delta"]["tool_calls"][0]["id"].as_str() {
            Some(id) => {
                assert!(id.starts_with("call_") && id.len() > 20, "{id}");
                shown.push_str(&line.replace(id, "call_[id]"));
            }
            None => shown.push_str(line),
        }
        shown.push('\n');
    }
    shown
}

fn called(index: usize, name: &str) -> Delta {
    let name = name.to_owned();
    Delta::ToolCall { index, name }
}

fn arguments(index: usize, json: &str) -> Delta {
    let json = json.to_owned();
    Delta::ToolArguments { index, json }
}

#[test]
fn a_thought_and_two_calls() {
    let deltas = [
        Delta::Reasoning("hm".to_owned()),
        called(0, "read"),
        arguments(0, "{\"path\":"),
        arguments(0, "\"a\"}"),
        called(1, "list"),
        arguments(1, "{}"),
    ];
    let ending = ending(FinishReason::Stop, 2);
    let shown = choices(frames(CallStyle::Tools, false), &deltas, ending);
    assert_snapshot!("tool_calls", shown);
}

#[test]
fn the_older_function_call() {
    let deltas = [
        called(0, "read"),
        arguments(0, "{}"),
        called(1, "no room for it"),
        arguments(1, "{}"),
    ];
    let ending = ending(FinishReason::Stop, 2);
    let shown = choices(frames(CallStyle::Function, false), &deltas, ending);
    assert_snapshot!("function_call", shown);
}

#[test]
fn a_call_that_is_cut_short_is_told_as_a_length() {
    let deltas = [called(0, "read"), arguments(0, "{\"pa")];
    let ending = ending(FinishReason::Length, 1);
    let shown = choices(frames(CallStyle::Tools, false), &deltas, ending);
    assert!(shown.contains(r#""finish_reason":"length""#), "{shown}");
    assert!(!shown.contains("\"tool_calls\"}"), "{shown}");
}

#[test]
fn probabilities_stand_beside_the_text_they_are_of() {
    let token = |bytes: &[u8]| TokenLogprobs {
        chosen: Logprob {
            token: 1,
            bytes: bytes.to_vec(),
            logprob: -0.5,
        },
        top: Vec::new(),
    };
    let hidden = |wanted: bool| {
        let mut frames = frames(CallStyle::Tools, wanted);
        let mut out = Vec::new();
        let delta = Delta::Content("hi".to_owned());
        frames.delta(0, &delta, &[token(b"h"), token(b"i")], &mut out);
        let mut ending = ending(FinishReason::Stop, 0);
        ending.logprobs = vec![token(b"!")];
        frames.finished(0, ending, &mut out);
        shown(&out)
    };
    assert_snapshot!("chunk_logprobs", hidden(true));
    assert!(!hidden(false).contains("bytes"));
}
