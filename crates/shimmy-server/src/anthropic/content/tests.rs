//! What becomes of messages.

use super::*;

fn read_all(system: Value, messages: Value) -> Result<Conversation, ApiError> {
    let wire: Vec<WireMessage> = serde_json::from_value(messages).unwrap();
    conversation(Some(&system), &wire, &mut Ignored::default())
}

fn read_one(message: Value) -> Vec<Message> {
    read_all(Value::Null, json!([message])).unwrap().messages
}

/// The field that a user's message with this content is refused for.
fn refused(content: Value) -> String {
    let messages = json!([{ "role": "user", "content": content }]);
    read_all(Value::Null, messages).unwrap_err().param.unwrap()
}

#[test]
fn the_billing_line_is_no_part_of_the_prompt() {
    let line = "x-anthropic-billing-header: cc_version=2.1.330.a1b; cc_entrypoint=cli; cch=6f1a2;";
    let told = |system: Value| {
        let hello = json!([{ "role": "user", "content": "hi" }]);
        let mut messages = read_all(system, hello).unwrap().messages;
        messages.pop();
        messages.pop().map(|message| message.content)
    };
    let text = |text: &str| json!({ "type": "text", "text": text });
    assert_eq!(
        told(json!([
            text(line),
            text("You are an agent."),
            text("Be brief.")
        ]))
        .unwrap(),
        "You are an agent.\n\nBe brief."
    );
    assert_eq!(told(json!(format!("{line}\n\nYou."))).unwrap(), "You.");
    assert_eq!(told(json!([text(line)])), None);
    let quoted = format!("Never send {line}");
    assert_eq!(told(json!(quoted)).unwrap(), quoted);
}

#[test]
fn results_come_before_what_is_said_about_them_and_name_their_tool() {
    let messages = json!([
        { "role": "user", "content": [{ "type": "text", "text": "list", "cache_control": { "type": "ephemeral" } }] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "x" },
            { "type": "redacted_thinking", "data": "…" },
            { "type": "text", "text": "I will." },
            { "type": "tool_use", "id": "toolu_1", "name": "Bash", "input": { "z": 1, "a": "é" } },
            { "type": "tool_use", "id": "toolu_2", "name": "Read", "input": {} } ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "toolu_1", "content": "a\nb" },
            { "type": "tool_result", "tool_use_id": "toolu_2", "is_error": true, "content": [
                { "type": "text", "text": "no such file" } ] },
            { "type": "text", "text": "and now?" } ] },
    ]);
    let messages = read_all(Value::Null, messages).unwrap().messages;
    let roles: Vec<_> = messages.iter().map(|m| (&*m.role, &*m.content)).collect();
    assert_eq!(
        roles,
        [
            ("user", "list"),
            ("assistant", "I will."),
            ("tool", "a\nb"),
            ("tool", "Error: no such file"),
            ("user", "and now?"),
        ]
    );
    assert_eq!(messages[1].reasoning_content, Some(json!("hm")));
    let calls = messages[1].tool_calls.as_ref().unwrap();
    // The arguments in the model's own order, so that the prefix is met again.
    assert_eq!(calls[0]["function"]["arguments"], r#"{"z":1,"a":"é"}"#);
    assert_eq!(calls[1]["id"], "toolu_2");
    assert_eq!(messages[2].tool_call_id, Some(json!("toolu_1")));
    assert_eq!(messages[3].name.as_deref(), Some("Read"));
}

#[test]
fn thoughts_that_were_not_shown_come_back_by_their_signature() {
    let thought = |thinking: &str, signature: &str| {
        let messages = json!([
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": thinking, "signature": signature },
                { "type": "text", "text": "ok" } ] },
            { "role": "user", "content": "on" },
        ]);
        let messages = read_all(Value::Null, messages).unwrap().messages;
        messages[1].reasoning_content.clone()
    };
    assert_eq!(thought("", &thoughts::seal("deep")), Some(json!("deep")));
    assert_eq!(thought("shown", &thoughts::seal("")), Some(json!("shown")));
    assert_eq!(thought("", "EqQBCgIYAhIM"), None);
}

#[test]
fn documents_and_search_results_are_read_as_text() {
    let document = json!({ "type": "document", "title": "T", "context": "C",
        "source": { "type": "text", "media_type": "text/plain", "data": "D" } });
    let parts = json!({ "type": "document", "source": { "type": "content", "content": [
        { "type": "text", "text": "one" }, { "type": "text", "text": "two" } ] } });
    let found = json!({ "type": "search_result", "source": "s", "title": "t",
        "content": [{ "type": "text", "text": "x" }] });
    let said = read_one(json!({ "role": "user", "content": [document, parts, found] }));
    assert_eq!(said[0].content, "T\n\nC\n\nD\n\none\n\ntwo\n\nt (s)\n\nx");
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let image = json!({ "type": "image", "source": { "type": "base64", "data": "" } });
    let text = json!({ "type": "text", "text": "what is this?" });
    assert_eq!(refused(json!([text, image])), "messages[0].content[1]");
    let pdf = json!({ "type": "document", "source": { "type": "base64", "data": "" } });
    assert_eq!(refused(json!([pdf])), "messages[0].content[0].source");
    for (block, field) in [
        (json!({ "text": "x" }), "type"),
        (json!({ "type": 3 }), "type"),
        (json!({ "type": "text" }), "text"),
        (json!({ "type": "text", "text": null }), "text"),
        (
            json!({ "type": "tool_result", "content": "x" }),
            "tool_use_id",
        ),
        (
            json!({ "type": "tool_result", "tool_use_id": "1", "content": 3 }),
            "content",
        ),
    ] {
        assert_eq!(
            refused(json!([block])),
            format!("messages[0].content[0].{field}")
        );
    }
    assert_eq!(refused(json!(7)), "messages[0].content");
    assert_eq!(refused(json!([7])), "messages[0].content[0].type");
}

#[test]
fn an_outcome_that_cannot_be_seen_is_told_to_the_model_and_ends_no_session() {
    let image = json!({ "type": "image", "source": { "type": "base64", "data": "" } });
    let pdf = json!({ "type": "document", "source": { "type": "base64", "data": "" } });
    let text = json!({ "type": "text", "text": "a.png" });
    let result =
        json!({ "type": "tool_result", "tool_use_id": "1", "content": [text, image, pdf] });
    let read = read_one(json!({ "role": "user", "content": [result] }));
    assert_eq!(
        read[0].content,
        "a.png\n\n[image: not shown, because this model reads only text]\n\n\
         [document: not shown, because this model reads only text]"
    );
}

#[test]
fn tools_come_and_go_with_the_conversation() {
    let change = |kind: &str, tool: Value| json!({ "type": kind, "tool": tool });
    let reference = |name: &str| json!({ "type": "tool_reference", "name": name });
    let definition = json!({ "name": "New", "input_schema": {} });
    let found = json!([{ "type": "tool_reference", "tool_name": "Deferred" }]);
    let messages = json!([
        { "role": "system", "content": [
            change("tool_removal", reference("Gone")), change("tool_removal", reference("Back")),
            { "type": "text", "text": "Some are gone." } ] },
        { "role": "system", "content": [
            change("tool_addition", reference("Back")),
            change("tool_addition", json!({ "type": "tool_definition", "definition": definition })) ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "1", "content": found } ] },
    ]);
    let Conversation {
        messages, changes, ..
    } = read_all(Value::Null, messages).unwrap();
    let said: Vec<_> = messages.iter().map(|m| &*m.content).collect();
    assert_eq!(said, ["Some are gone.", "Deferred"]);
    let tool = |name: &str, deferred: bool| json!({ "name": name, "input_schema": {}, "defer_loading": deferred });
    let wire = [
        tool("Gone", false),
        tool("Back", false),
        tool("Deferred", true),
        tool("Later", true),
    ];
    let tools = crate::anthropic::tools::tools(&wire, &changes, &mut Ignored::default()).unwrap();
    let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["Back", "Deferred", "New"]);
    let unnamed =
        json!([{ "role": "system", "content": [{ "type": "tool_removal", "tool": {} }] }]);
    let error = read_all(Value::Null, unnamed).unwrap_err();
    assert_eq!(
        error.param.as_deref(),
        Some("messages[0].content[0].tool.name")
    );
}

#[test]
fn a_system_message_is_in_force_as_long_as_it_says() {
    let messages = json!([
        { "role": "user", "content": "a" },
        { "role": "system", "content": "for this turn", "clear_at": "next_user_message" },
        { "role": "assistant", "content": "b" },
        { "role": "user", "content": "c" },
        { "role": "system", "content": "now", "clear_at": "next_user_message" },
        { "role": "system", "output_config": { "effort": "low" } },
    ]);
    let read = read_all(Value::Null, messages).unwrap();
    let said: Vec<_> = read.messages.iter().map(|m| &*m.content).collect();
    assert_eq!(said, ["a", "b", "c", "now"]);
    assert_eq!(read.effort.as_deref(), Some("low"));
}

#[test]
fn an_assistant_at_the_end_opens_the_answer() {
    let end = |content: Value| {
        let messages = json!([
            { "role": "user", "content": "As JSON." }, { "role": "assistant", "content": content } ]);
        read_all(Value::Null, messages)
    };
    let read = end(json!("{")).unwrap();
    assert_eq!(
        (read.messages.len(), read.opening.as_deref()),
        (1, Some("{"))
    );
    assert_eq!(end(json!("")).unwrap().opening, None);
    let call = json!([{ "type": "tool_use", "id": "1", "name": "f", "input": {} }]);
    assert_eq!(end(call).unwrap_err().param.as_deref(), Some("messages"));
}

#[test]
fn a_system_may_speak_in_the_middle() {
    let messages = json!([
        { "role": "user", "content": "a" },
        { "role": "system", "content": [{ "type": "text", "text": "the plan changed" }] },
        { "role": "user", "content": [] },
    ]);
    let messages = read_all(json!("first"), messages).unwrap().messages;
    let roles: Vec<_> = messages.iter().map(|m| &*m.role).collect();
    assert_eq!(roles, ["system", "user", "system", "user"]);
}
