//! What becomes of items.

use super::*;

fn read_all(items: Value) -> Result<Read, ApiError> {
    messages(&items, &[], &|_| None, &mut Ignored::default())
}

fn refused(item: Value) -> String {
    let refused = read_all(json!([item])).map(|read| read.messages);
    refused.unwrap_err().param.unwrap()
}

fn roles(messages: &[Message]) -> Vec<(&str, &str)> {
    messages.iter().map(|m| (&*m.role, &*m.content)).collect()
}

/// A turn of Codex, as it comes again with every request.
fn codex() -> Value {
    json!([
        { "type": "message", "role": "developer", "content": [
            { "type": "input_text", "text": "<permissions>" } ] },
        { "role": "user", "content": "list the files" },
        { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "I list." }],
          "encrypted_content": "gAAAA…" },
        { "type": "message", "role": "assistant", "content": [
            { "type": "output_text", "text": "Looking.", "annotations": [] } ] },
        { "type": "function_call", "name": "exec", "namespace": "shell", "call_id": "call_1",
          "arguments": "{\"cmd\":\"ls\"}" },
        { "type": "custom_tool_call", "name": "apply_patch", "call_id": "call_2",
          "input": "*** Begin\n" },
        { "type": "function_call_output", "call_id": "call_1", "output": "a\nb" },
        { "type": "custom_tool_call_output", "call_id": "call_2", "output": [
            { "type": "input_text", "text": "done" } ] },
    ])
}

#[test]
fn the_items_of_one_turn_are_one_message() {
    let messages = read_all(codex()).unwrap().messages;
    assert_eq!(
        roles(&messages),
        [
            ("system", "<permissions>"),
            ("user", "list the files"),
            ("assistant", "Looking."),
            ("tool", "a\nb"),
            ("tool", "done"),
        ]
    );
    let turn = &messages[2];
    assert_eq!(turn.reasoning_content, Some(json!("I list.")));
    assert_eq!(
        turn.tool_calls,
        Some(json!([
            { "id": "call_1", "type": "function",
              "function": { "name": "shell__exec", "arguments": "{\"cmd\":\"ls\"}" } },
            { "id": "call_2", "type": "function",
              "function": { "name": "apply_patch", "arguments": "{\"input\":\"*** Begin\\n\"}" } },
        ]))
    );
    assert_eq!(messages[3].tool_call_id, Some(json!("call_1")));
    assert_eq!(messages[3].name.as_deref(), Some("shell__exec"));
}

#[test]
fn items_without_a_type_are_known_by_their_fields() {
    let items = json!([
        { "role": "user", "content": [{ "type": "input_text", "text": "go" }] },
        { "call_id": "1", "name": "f", "arguments": "{}" },
        { "call_id": "1", "output": "ok" },
    ]);
    let messages = read_all(items).unwrap().messages;
    assert_eq!(
        roles(&messages),
        [("user", "go"), ("assistant", ""), ("tool", "ok")]
    );
    assert_eq!(refused(json!({})), "input[0].type");
    assert_eq!(refused(json!("text")), "input[0].type");
}

#[test]
fn thoughts_come_from_the_best_place_that_has_them() {
    let thought = |item: Value| {
        let said = json!({ "role": "assistant", "content": "ok" });
        let messages = read_all(json!([item, said])).unwrap().messages;
        messages[0].reasoning_content.clone()
    };
    let text = json!([{ "type": "reasoning_text", "text": "text" }]);
    let summary =
        json!([{ "type": "summary_text", "text": "a" }, { "type": "summary_text", "text": "b" }]);
    let sealed = thoughts::seal("sealed");
    let all = json!({ "type": "reasoning", "content": text, "summary": summary,
        "encrypted_content": sealed });
    assert_eq!(thought(all), Some(json!("text")));
    let carried = json!({ "type": "reasoning", "summary": summary, "encrypted_content": sealed });
    assert_eq!(thought(carried), Some(json!("sealed")));
    let foreign = json!({ "type": "reasoning", "summary": summary, "encrypted_content": "gAAA" });
    assert_eq!(thought(foreign), Some(json!("a\n\nb")));
    let empty = json!({ "type": "reasoning", "summary": [] });
    assert_eq!(thought(empty.clone()), None);
    assert!(
        read_all(json!([empty])).unwrap().messages.is_empty(),
        "no turn of nothing"
    );
}

#[test]
fn what_is_unknown_is_left_out_and_named() {
    let mut ignored = Ignored::default();
    let items = json!([
        { "type": "web_search_call", "id": "ws_1", "status": "completed", "action": {} },
        { "type": "local_shell_call_output", "output": { "x": 1 } },
        { "role": "user", "content": "go" },
    ]);
    let read = messages(&items, &[], &|_| None, &mut ignored).unwrap();
    assert_eq!(roles(&read.messages), [("user", "go")]);
    let mut response = axum::response::Response::default();
    ignored.tell(&mut response);
    let named = &response.headers()["x-shimmy-ignored"];
    assert_eq!(
        named,
        "input.web_search_call, input.local_shell_call_output"
    );
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let image = json!({ "role": "user", "content": [
        { "type": "input_text", "text": "what?" }, { "type": "input_image", "image_url": "x" } ] });
    assert_eq!(refused(image), "input[0].content[1]");
    for (item, field) in [
        (json!({ "role": "wizard", "content": "x" }), "role"),
        (json!({ "role": "user" }), "content"),
        (json!({ "role": "user", "content": 3 }), "content"),
        (
            json!({ "role": "user", "content": [{ "text": "x" }] }),
            "content[0].type",
        ),
        (
            json!({ "role": "user", "content": [{ "type": "input_text" }] }),
            "content[0].text",
        ),
        (
            json!({ "type": "function_call", "name": "f", "arguments": "{}" }),
            "call_id",
        ),
        (
            json!({ "type": "function_call", "name": "f", "call_id": "1" }),
            "arguments",
        ),
        (
            json!({ "type": "function_call", "name": 3, "call_id": "1" }),
            "name",
        ),
        (
            json!({ "type": "custom_tool_call", "name": "f", "call_id": "1" }),
            "input",
        ),
        (
            json!({ "type": "function_call_output", "call_id": "1" }),
            "output",
        ),
        (
            json!({ "type": "reasoning", "summary": [{}] }),
            "summary[0].text",
        ),
        (json!({ "type": "item_reference", "id": "msg_gone" }), "id"),
        (json!({ "id": "msg_gone" }), "id"),
    ] {
        assert_eq!(refused(item), format!("input[0].{field}"));
    }
    assert_eq!(
        refused(json!({ "type": "compaction", "encrypted_content": "x" })),
        "input[0]"
    );
    assert_eq!(
        read_all(json!(3)).unwrap_err().param.as_deref(),
        Some("input")
    );
}

#[test]
fn an_outcome_that_cannot_be_seen_is_told_to_the_model_and_ends_no_session() {
    let items = json!([{ "type": "function_call_output", "call_id": "1", "output": [
        { "type": "input_text", "text": "a.png: " }, { "type": "input_image", "image_url": "x" } ] }]);
    assert_eq!(
        read_all(items).unwrap().messages[0].content,
        "a.png: [input_image: not shown, because this model reads only text]"
    );
}

#[test]
fn an_item_can_be_named_where_it_is_kept() {
    let kept = json!({ "type": "message", "role": "assistant", "content": [
        { "type": "output_text", "text": "as I said" } ] });
    let find = |id: &str| (id == "msg_1").then(|| kept.clone());
    let items =
        json!([{ "type": "item_reference", "id": "msg_1" }, { "role": "user", "content": "so?" }]);
    let read = messages(&items, &[], &find, &mut Ignored::default()).unwrap();
    let twice = json!([{ "type": "item_reference", "id": "msg_1" }, { "id": "msg_1" }]);
    let error = messages(&twice, &[], &find, &mut Ignored::default()).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("input[1].id"));
    assert_eq!(
        roles(&read.messages),
        [("assistant", "as I said"), ("user", "so?")]
    );
}

#[test]
fn an_output_knows_the_tool_of_an_earlier_answer() {
    let before = Message {
        tool_calls: Some(json!([{ "id": "call_1", "function": { "name": "f" } }])),
        ..Message::new("assistant", "")
    };
    let items = json!([{ "type": "function_call_output", "call_id": "call_1", "output": "1" }]);
    let read = messages(
        &items,
        &[Arc::new(before)],
        &|_| None,
        &mut Ignored::default(),
    );
    assert_eq!(read.unwrap().messages[0].name.as_deref(), Some("f"));
}
