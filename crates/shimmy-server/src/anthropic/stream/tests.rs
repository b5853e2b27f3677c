//! Every event, by itself and beside the same answer as a whole.

use serde_json::{Value, json};
use shimmy_engine::{Finish, FinishReason, Timings, Usage};

use super::*;
use crate::anthropic::answer::Draft;

fn ending(calls: usize) -> Ending {
    Ending {
        finish: Finish {
            reason: FinishReason::Stop,
            stop: None,
            usage: Usage {
                prompt_tokens: 20,
                cached_tokens: 8,
                completion_tokens: 9,
            },
            timings: Timings::default(),
        },
        calls,
        reasoning_tokens: 3,
        logprobs: Vec::new(),
    }
}

fn deltas() -> Vec<Delta> {
    let call = |index, name: &str| Delta::ToolCall {
        index,
        name: name.to_owned(),
    };
    let arguments = |index, json: &str| Delta::ToolArguments {
        index,
        json: json.to_owned(),
    };
    vec![
        Delta::Reasoning("Let me ".to_owned()),
        Delta::Reasoning("see.".to_owned()),
        Delta::Content("\n\n".to_owned()),
        Delta::Content("Look".to_owned()),
        Delta::Content("ing.".to_owned()),
        Delta::Content("\n".to_owned()),
        call(0, "Bash"),
        arguments(0, r#"{"command":"#),
        arguments(0, r#""ls"}"#),
        Delta::Content("\n".to_owned()),
        call(1, "Read"),
    ]
}

/// The events of these deltas, each with its name.
fn streamed(deltas: &[Delta], ending: Ending, style: Style) -> Vec<(String, Value)> {
    let mut frames = MessageFrames::new("stub".to_owned(), 20, style);
    let mut out = Vec::new();
    frames.open(&mut out);
    for delta in deltas {
        frames.delta(0, delta, &[], &mut out);
    }
    frames.finished(0, ending, &mut out);
    frames.close(&mut out);
    let text = String::from_utf8(out).unwrap();
    let events = text.strip_suffix("\n\n").unwrap().split("\n\n");
    let events = events.map(|event| {
        let (name, data) = event.split_once('\n').unwrap();
        let name = name.strip_prefix("event: ").unwrap().to_owned();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["type"], *name);
        (name, data)
    });
    events.collect()
}

/// The blocks that a client makes of these events, and panics where it would stumble.
fn folded(events: &[(String, Value)]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    let mut inputs: Vec<String> = Vec::new();
    let mut open = false;
    for (name, data) in events {
        let index = || {
            assert_eq!(data["index"], blocks.len() - 1, "{data}");
            blocks.len() - 1
        };
        match name.as_str() {
            "content_block_start" => {
                assert!(!open && data["index"] == blocks.len(), "{data}");
                open = true;
                blocks.push(data["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                assert!(open, "{data}");
                let (index, delta) = (index(), &data["delta"]);
                let mut grow = |name: &str| {
                    let whole = blocks[index][name].as_str().unwrap().to_owned();
                    blocks[index][name] = json!(whole + delta[name].as_str().unwrap());
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => grow("text"),
                    "thinking_delta" => grow("thinking"),
                    "signature_delta" => grow("signature"),
                    "input_json_delta" => {
                        inputs[index].push_str(delta["partial_json"].as_str().unwrap());
                    }
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                assert!(open, "{data}");
                let index = index();
                if !inputs[index].is_empty() {
                    blocks[index]["input"] = serde_json::from_str(&inputs[index]).unwrap();
                }
                open = false;
            }
            _ => assert!(!open, "{data}"),
        }
    }
    blocks
}

/// What differs from call to call is hidden.
fn without_ids(mut value: Value) -> Value {
    for block in value.as_array_mut().unwrap() {
        if let Some(id) = block.get_mut("id") {
            assert!(id.as_str().unwrap().starts_with("toolu_"));
            *id = json!("");
        }
    }
    value
}

#[test]
fn an_answer_with_thoughts_text_and_calls() {
    let events = streamed(&deltas(), ending(2), Style::default());
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names.join(" "),
        "message_start \
         content_block_start content_block_delta content_block_delta content_block_delta content_block_stop \
         content_block_start content_block_delta content_block_delta content_block_delta content_block_stop \
         content_block_start content_block_delta content_block_delta content_block_stop \
         content_block_start content_block_stop \
         message_delta message_stop"
    );
    assert_eq!(
        without_ids(Value::Array(folded(&events))),
        json!([
            { "type": "thinking", "thinking": "Let me see.", "signature": "shimmy-thoughts:" },
            { "type": "text", "text": "\n\nLooking.\n", "citations": null },
            { "type": "tool_use", "id": "", "name": "Bash", "input": { "command": "ls" } },
            { "type": "tool_use", "id": "", "name": "Read", "input": {} },
        ])
    );
    let last = &events[events.len() - 2].1;
    assert_eq!(
        *last,
        json!({ "type": "message_delta",
            "delta": { "stop_reason": "tool_use", "stop_sequence": null, "stop_details": null,
                "container": null },
            "usage": { "input_tokens": 12, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 8, "output_tokens": 9,
                "output_tokens_details": { "thinking_tokens": 3 }, "server_tool_use": null } })
    );
}

#[test]
fn a_stream_and_a_whole_answer_hold_the_same_blocks() {
    for style in [
        Style::default(),
        Style {
            omits_thoughts: true,
            ..Style::default()
        },
    ] {
        let mut draft = Draft::new(style);
        deltas().into_iter().for_each(|delta| draft.push(delta));
        let whole = json!(draft.finish());
        let events = streamed(&deltas(), ending(2), style);
        let folded = Value::Array(folded(&events));
        assert_eq!(without_ids(folded), without_ids(whole));
    }
}

#[test]
fn thoughts_that_are_not_to_be_shown_travel_in_the_signature() {
    let style = Style {
        omits_thoughts: true,
        ..Style::default()
    };
    let blocks = folded(&streamed(&deltas(), ending(2), style));
    assert_eq!(
        blocks[0],
        json!({ "type": "thinking", "thinking": "", "signature": "shimmy-thoughts:Let me see." })
    );
}

#[test]
fn an_answer_of_white_space_is_still_said() {
    let space = [Delta::Content("\n".to_owned())];
    let blocks = folded(&streamed(&space, ending(0), Style::default()));
    assert_eq!(
        blocks,
        [json!({ "type": "text", "text": "\n", "citations": null })]
    );
    assert!(folded(&streamed(&[], ending(0), Style::default())).is_empty());
}

#[test]
fn each_way_to_end_has_its_word() {
    let reason = |change: fn(&mut Ending), calls| {
        let mut ending = ending(calls);
        change(&mut ending);
        let events = streamed(&[], ending, Style::default());
        let (_, last) = &events[events.len() - 2];
        let delta = &last["delta"];
        (delta["stop_reason"].clone(), delta["stop_sequence"].clone())
    };
    let null = Value::Null;
    assert_eq!(reason(|_| {}, 0), (json!("end_turn"), null.clone()));
    assert_eq!(reason(|_| {}, 1), (json!("tool_use"), null.clone()));
    let cut = |ending: &mut Ending| ending.finish.reason = FinishReason::Length;
    assert_eq!(reason(cut, 1), (json!("max_tokens"), null));
    let stopped = |ending: &mut Ending| ending.finish.stop = Some("END".to_owned());
    assert_eq!(reason(stopped, 0), (json!("stop_sequence"), json!("END")));
}

#[test]
fn what_was_done_to_the_context_is_told_to_those_who_asked() {
    let style = Style {
        tells_edits: true,
        ..Style::default()
    };
    let events = streamed(&[], ending(0), style);
    let none = json!({ "applied_edits": [] });
    assert_eq!(events[0].1["message"]["context_management"], none);
    assert_eq!(events[events.len() - 2].1["context_management"], none);
}

#[test]
fn a_failure_and_a_sign_of_life() {
    let mut frames = MessageFrames::new("stub".to_owned(), 1, Style::default());
    let mut out = Vec::new();
    frames.idle(&mut out);
    frames.failed(&ApiError::shutting_down(), &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "event: ping\ndata: {\"type\":\"ping\"}\n\n\
         event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
         \"message\":\"the server is shutting down\"}}\n\n"
    );
}
