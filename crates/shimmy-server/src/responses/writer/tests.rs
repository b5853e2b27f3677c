//! Every event, by itself and beside the same answer as a whole.

mod folded;

use serde_json::{Value, json};
use shimmy_engine::stub::{StubConfig, session};
use shimmy_engine::{EngineConfig, Finish, FinishReason, Logprob, Timings, Usage};

use folded::{folded, without_ids};

use super::*;
use crate::bodies::{Bodies, Whole};
use crate::caller::Caller;
use crate::config::ServerConfig;
use crate::limits::JsonBody;
use crate::responses::events::Nowhere;
use crate::responses::memory::Memory;
use crate::responses::request::Request;

fn model() -> LoadedModel {
    let session = session(StubConfig::default(), EngineConfig::default());
    let vocabulary = shimmy_chat::TemplateVocabulary::default();
    LoadedModel {
        name: "stub".to_owned(),
        session,
        template: std::sync::Arc::new(shimmy_chat::ChatTemplate::new(None, vocabulary).unwrap()),
        info: crate::ModelInfo::default(),
        default_sampling: shimmy_engine::SamplingParams::default(),
        preset: std::sync::Arc::default(),
        default_adapters: Vec::new(),
        adapters: std::sync::Arc::default(),
        load_time: std::time::Duration::ZERO,
        engine: "stub",
        placement: String::new(),
        hold: crate::Hold::default(),
    }
}

fn ending(reason: FinishReason) -> Ending {
    Ending {
        finish: Finish {
            reason,
            stop: None,
            usage: Usage {
                prompt_tokens: 20,
                cached_tokens: 8,
                completion_tokens: 9,
            },
            timings: Timings::default(),
        },
        calls: 2,
        reasoning_tokens: 3,
        logprobs: Vec::new(),
    }
}

fn text(text: &str) -> Delta {
    Delta::Content(text.to_owned())
}

fn thought(text: &str) -> Delta {
    Delta::Reasoning(text.to_owned())
}

fn call(index: usize, name: &str, arguments: &[&str]) -> Vec<Delta> {
    let name = name.to_owned();
    let arguments = arguments.iter().map(|json| Delta::ToolArguments {
        index,
        json: (*json).to_owned(),
    });
    [Delta::ToolCall { index, name }]
        .into_iter()
        .chain(arguments)
        .collect()
}

fn everything() -> Vec<Delta> {
    [
        vec![thought("Let me "), thought("see."), text("\n\n")],
        vec![text("Look"), text("ing.")],
        call(0, "shell__exec", &[r#"{"cmd":"#, r#""ls"}"#]),
        vec![text("\n")],
        call(
            1,
            "apply_patch",
            &[r#"{"input""#, r#":"*** "#, r#"Begin\n"}"#],
        ),
        call(2, "made_up", &["{}"]),
    ]
    .concat()
}

/// A writer for a request with these fields.
fn writer(fields: Value) -> Writer {
    let mut body = json!({
        "input": "go", "store": false,
        "tools": [
            { "type": "namespace", "name": "shell", "description": "", "tools": [
                { "type": "function", "name": "exec" } ] },
            { "type": "custom", "name": "apply_patch" },
        ],
    });
    let fields = fields.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    let body = Whole {
        bytes: body.to_string().into(),
        held: Bodies::new(0, || ()).hold(),
    };
    let body = JsonBody::check(body, Caller::ANYONE, &ServerConfig::default()).unwrap();
    let kept = KeptResponses::new(8, 1 << 20);
    let memory = Memory {
        kept: &kept,
        caller: Caller::ANYONE,
        last: None,
    };
    Writer::new(&model(), Request::read(&body, memory).unwrap().plan)
}

/// What these deltas become, and the conversation after them.
fn streamed(fields: Value, deltas: &[Delta], reason: FinishReason) -> (Vec<Value>, Arc<Kept>) {
    let mut writer = writer(fields);
    let mut events: Vec<String> = Vec::new();
    writer.open(&mut events);
    for delta in deltas {
        writer.delta(delta, &[], &mut events);
    }
    let kept = writer.finished(
        &ending(reason),
        &KeptResponses::new(8, 1 << 20),
        &mut events,
    );
    let events = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap());
    (events.collect(), kept)
}

/// Types without the prefix that all of them share.
fn types(events: &[Value]) -> Vec<&str> {
    let types = events.iter().map(|event| event["type"].as_str().unwrap());
    types
        .map(|name| name.strip_prefix("response.").unwrap())
        .collect()
}

#[test]
fn an_answer_with_thoughts_text_and_calls_of_every_kind() {
    let (events, _) = streamed(json!({}), &everything(), FinishReason::Stop);
    assert_eq!(
        types(&events).join(" "),
        "created in_progress \
         output_item.added content_part.added reasoning_text.delta reasoning_text.delta \
         reasoning_text.done content_part.done output_item.done \
         output_item.added content_part.added output_text.delta output_text.delta \
         output_text.done content_part.done output_item.done \
         output_item.added function_call_arguments.delta function_call_arguments.delta \
         function_call_arguments.done output_item.done \
         output_item.added custom_tool_call_input.delta custom_tool_call_input.delta \
         custom_tool_call_input.done output_item.done \
         output_item.added function_call_arguments.delta \
         function_call_arguments.done output_item.done \
         completed"
    );
    assert_eq!(
        without_ids(&folded(&events)),
        [
            json!({ "type": "reasoning", "status": "completed", "summary": [],
                "content": [{ "type": "reasoning_text", "text": "Let me see." }],
                "encrypted_content": null }),
            json!({ "type": "message", "status": "completed", "role": "assistant", "content": [
                { "type": "output_text", "text": "\n\nLooking.", "annotations": [], "logprobs": [] } ] }),
            json!({ "type": "function_call", "status": "completed", "name": "exec",
                "namespace": "shell", "arguments": "{\"cmd\":\"ls\"}" }),
            json!({ "type": "custom_tool_call", "status": "completed", "name": "apply_patch",
                "input": "*** Begin\n" }),
            json!({ "type": "function_call", "status": "completed", "name": "made_up",
                "arguments": "{}" }),
        ]
    );
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"], Value::Array(folded(&events)));
    assert_eq!(
        last["usage"],
        json!({ "input_tokens": 20,
            "input_tokens_details": { "cached_tokens": 8, "cache_write_tokens": 0 },
            "output_tokens": 9, "output_tokens_details": { "reasoning_tokens": 3 },
            "total_tokens": 29 })
    );
}

#[test]
fn a_whole_answer_is_what_the_events_add_up_to() {
    let (events, _) = streamed(json!({}), &everything(), FinishReason::Stop);
    let mut whole = writer(json!({}));
    for delta in everything() {
        whole.delta(&delta, &[], &mut Nowhere);
    }
    let responses = KeptResponses::new(8, 1 << 20);
    let kept = whole.finished(&ending(FinishReason::Stop), &responses, &mut Nowhere);
    let output = serde_json::to_value(&kept.response).unwrap()["output"].take();
    assert_eq!(
        without_ids(output.as_array().unwrap()),
        without_ids(&folded(&events))
    );
}

#[test]
fn thoughts_go_where_the_client_looks_for_them() {
    let fields = json!({ "reasoning": { "effort": "low", "summary": "auto" },
        "include": ["reasoning.encrypted_content"] });
    let deltas = [thought("Let me "), thought("see."), text("Done.")];
    let (events, kept) = streamed(fields, &deltas, FinishReason::Stop);
    assert_eq!(
        types(&events)[2..9].join(" "),
        "output_item.added reasoning_summary_part.added reasoning_summary_text.delta \
         reasoning_summary_text.delta reasoning_summary_text.done reasoning_summary_part.done \
         output_item.done"
    );
    let items = folded(&events);
    assert_eq!(
        without_ids(&items)[0],
        json!({ "type": "reasoning", "status": "completed",
            "summary": [{ "type": "summary_text", "text": "Let me see." }],
            "encrypted_content": "shimmy-thoughts:Let me see." })
    );
    let last = kept.messages.last().unwrap();
    assert_eq!(last.reasoning_content, Some(json!("Let me see.")));
}

#[test]
fn the_conversation_goes_on_with_all_that_was_said() {
    let (_, kept) = streamed(json!({}), &everything(), FinishReason::Stop);
    let roles: Vec<_> = kept
        .messages
        .iter()
        .map(|m| (&*m.role, &*m.content))
        .collect();
    assert_eq!(roles, [("user", "go"), ("assistant", "\n\nLooking.")]);
    let calls = kept.messages[1].tool_calls.as_ref().unwrap();
    let function = |index: usize| calls[index]["function"].clone();
    assert_eq!(
        function(0),
        json!({ "name": "shell__exec", "arguments": "{\"cmd\":\"ls\"}" })
    );
    assert_eq!(
        function(1)["arguments"],
        json!("{\"input\":\"*** Begin\\n\"}")
    );
    assert_eq!(function(2)["name"], "made_up");
}

#[test]
fn an_answer_that_was_cut_says_so_everywhere() {
    let deltas = [
        vec![text("Now.")],
        call(0, "apply_patch", &[r#"{"input":"*** Be"#]),
    ];
    let (events, _) = streamed(json!({}), &deltas.concat(), FinishReason::Length);
    assert_eq!(types(&events).last(), Some(&"incomplete"));
    let items = folded(&events);
    assert_eq!(items[0]["status"], "completed");
    assert_eq!(
        (&items[1]["status"], &items[1]["input"]),
        (&json!("incomplete"), &json!("*** Be"))
    );
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["status"], "incomplete");
    assert_eq!(
        last["incomplete_details"],
        json!({ "reason": "max_output_tokens" })
    );
    assert_eq!(last["completed_at"], Value::Null);
}

#[test]
fn a_warm_up_says_nothing_and_ends_well() {
    let fields = json!({ "generate": false });
    let (events, kept) = streamed(fields, &[text("x")], FinishReason::Length);
    assert_eq!(types(&events), ["created", "in_progress", "completed"]);
    let last = &events[2]["response"];
    assert_eq!(
        (&last["status"], &last["output"]),
        (&json!("completed"), &json!([]))
    );
    assert_eq!(
        kept.messages.len(),
        1,
        "what comes next goes on from the input"
    );
}

#[test]
fn an_answer_of_white_space_is_still_said() {
    let (events, _) = streamed(json!({}), &[text("\n")], FinishReason::Stop);
    assert_eq!(folded(&events)[0]["content"][0]["text"], "\n");
    let (events, _) = streamed(json!({}), &[], FinishReason::Stop);
    assert_eq!(types(&events), ["created", "in_progress", "completed"]);
}

#[test]
fn a_failure_is_told_in_both_words() {
    let mut writer = writer(json!({}));
    let mut out: Vec<u8> = Vec::new();
    writer.delta(&text("half"), &[], &mut Nowhere);
    let error = ApiError::shutting_down();
    writer.broken(&error, &mut out);
    writer.failed(&error, &mut out);
    let out = String::from_utf8(out).unwrap();
    let events: Vec<(&str, Value)> = out
        .trim_end()
        .split("\n\n")
        .map(|event| {
            let (name, data) = event.split_once("\ndata: ").unwrap();
            let name = name.strip_prefix("event: ").unwrap();
            (name, serde_json::from_str(data).unwrap())
        })
        .collect();
    let message = "the server is shutting down";
    let inner = json!({ "message": message, "type": "server_error", "param": null, "code": null });
    assert_eq!(events[0].0, "error");
    assert_eq!(
        events[0].1,
        json!({ "type": "error", "sequence_number": 3, "code": null, "message": message,
            "param": null, "error": inner })
    );
    let (name, failed) = &events[1];
    assert_eq!(
        (*name, &failed["sequence_number"]),
        ("response.failed", &json!(4))
    );
    assert_eq!(failed["response"]["status"], "failed");
    assert_eq!(
        failed["response"]["error"],
        json!({ "code": "server_error", "message": message })
    );
}

#[test]
fn probabilities_are_told_where_they_were_asked_for() {
    let token = |text: &str, logprob| Logprob {
        token: 1,
        bytes: text.as_bytes().to_vec(),
        logprob,
    };
    let logprobs = [TokenLogprobs {
        chosen: token("Hi", -0.5),
        top: vec![token("Hi", -0.5), token("Ho", -1.5)],
    }];
    let asked = json!({ "include": ["message.output_text.logprobs"], "top_logprobs": 2 });
    for (fields, expected) in [
        (json!({}), json!([])),
        (
            asked,
            json!([{ "token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [
                { "token": "Hi", "logprob": -0.5, "bytes": [72, 105] },
                { "token": "Ho", "logprob": -1.5, "bytes": [72, 111] } ] }]),
        ),
    ] {
        let mut writer = writer(fields);
        let mut events: Vec<String> = Vec::new();
        writer.delta(&text("Hi"), &logprobs, &mut events);
        let responses = KeptResponses::new(8, 1 << 20);
        writer.finished(&ending(FinishReason::Stop), &responses, &mut events);
        let events: Vec<Value> = events
            .iter()
            .map(|e| serde_json::from_str(e).unwrap())
            .collect();
        assert_eq!(events[2]["logprobs"], expected);
        let done = &events.last().unwrap()["response"]["output"][0]["content"][0];
        assert_eq!(done["logprobs"], expected);
    }
}
