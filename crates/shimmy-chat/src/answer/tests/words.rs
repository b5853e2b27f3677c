//! What is text, what is thought, and what arguments mean.

use super::notations::TWO_CALLS;
use super::*;

#[test]
fn nothing_is_a_call_where_nothing_can_be_called() {
    for (name, text) in TWO_CALLS {
        let format = formed(name, |parts| parts.tools = &[]);
        let read = read(&format, &[text]);
        assert_eq!(read.calls, [], "{name}: {text}");
        assert!(read.content.contains("Rome"), "{name}: {text}\n{read:?}");
    }
}

#[test]
fn what_is_no_call_is_text_and_none_of_it_is_lost() {
    for (name, text) in [
        (
            "hermes",
            "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": }}</tool_call>",
        ),
        (
            "hermes",
            "<tool_call>{\"name\": \"weather\", \"arguments\": \"Rome\"}</tool_call> b",
        ),
        ("hermes", "<tool_call>{\"arguments\": {}}</tool_call>"),
        ("hermes", "<tool_call>weather</tool_call>"),
        ("hermes", "a <tool_call> b"),
        ("hermes", "a <tool_call>\n{\"name\": \"weather\", \"argu"),
        ("hermes", "a <tool_ca"),
        ("hermes", "a <think> b </think>"),
        ("hermes", "{\"name\": \"weather\", \"arguments\": {}}"),
        ("llama-json", "{\"name\": \"Rome\", \"parameters\": {}}"),
        ("llama-json", "{\"city\": \"Rome\"}"),
        (
            "llama-json",
            "A {\"name\": \"weather\", \"parameters\": {}}",
        ),
        (
            "llama-python",
            "[1] is a reference, [weather(city=\"Rome\")] is not",
        ),
        ("llama-python", "[Rome(a=1)]"),
        ("llama-python", "[weather(\"Rome\")]"),
        ("phi", "import functools.partial"),
        (
            "qwen-coder",
            "<tool_call>\n<function=weather>\nRome\n</function>",
        ),
        ("glm", "<tool_call>weather in Rome</tool_call>"),
        ("mistral", "[TOOL_CALLS][\"weather\"]"),
        (
            "deepseek",
            "<｜tool▁calls▁begin｜> none <｜tool▁calls▁end｜>",
        ),
        ("kimi", "<|tool_call_begin|>weather{}"),
        ("harmony", "Rome it is."),
        ("functionary", "Rome it is.\nb"),
        ("functionary", "weather\nRome"),
        (
            "harmony",
            "<|channel|>commentary to=functions.weather<|message|>Rome",
        ),
    ] {
        let read = read(&format(name), &[text]);
        assert_eq!(
            (read.content.as_str(), read.calls.len()),
            (text, 0),
            "{name}"
        );
    }
}

#[test]
fn a_call_behind_one_that_is_none_is_read() {
    let text = "<tool_call>{x}<tool_call>{\"name\": \"time\"}</tool_call>";
    let read = read(&format("hermes"), &[text]);
    assert_eq!(read.content, "<tool_call>{x}");
    assert_eq!(read.calls(), [("time", json!({}))]);
}

#[test]
fn arguments_come_in_pieces_and_what_spoils_them_goes_with_them() {
    let city = "x".repeat(2 * ENOUGH);
    let begun = format!("<tool_call>{{\"name\": \"weather\", \"arguments\": {{\"city\": \"{city}");
    let mut parser = format("hermes").parser();
    let mut deltas = Vec::new();
    parser.push(&begun, &mut deltas);
    let Some(Delta::ToolArguments { index: 0, json }) = deltas.last() else {
        panic!("{deltas:?}");
    };
    assert_eq!(*json, format!("{{\"city\": \"{city}"));
    let mut more = Vec::new();
    parser.push("é", &mut more);
    assert_eq!(
        more,
        [Delta::ToolArguments {
            index: 0,
            json: "é".to_owned()
        }]
    );
    parser.push("\", oops}</tool_call> b", &mut deltas);
    parser.finish(&mut deltas);
    let read = Read::of(deltas);
    assert_eq!(read.calls[0].1, format!("{{\"city\": \"{city}\", oops}}"));
    assert_eq!(read.content, " b");
}

#[test]
fn a_schema_tells_texts_from_other_values() {
    let element = |key: &str, value: &str| format!("<parameter={key}>\n{value}\n</parameter>\n");
    let text = [
        "<tool_call>\n<function=weather>\n".to_owned(),
        element("city", "5\n\n\"a\" </b> \\ <x"),
        element("days", "5"),
        element("tags", "[1, {\"a\": null}]"),
        element("unit", "null"),
        element("other", "5"),
        "</function>\n</tool_call>".to_owned(),
    ]
    .concat();
    let read = read(&format("qwen-coder"), &[&text]);
    let arguments = json!({
        "city": "5\n\n\"a\" </b> \\ <x", "days": 5, "tags": [1, { "a": null }], "unit": null,
        "other": "5",
    });
    assert_eq!(read.calls(), [("weather", arguments)]);
    let odd = "<function=weather><parameter=days>soon</parameter><parameter=tags>None</parameter></function>";
    let odd = self::read(&format("qwen-coder"), &[odd]);
    assert_eq!(
        odd.calls(),
        [("weather", json!({ "days": "soon", "tags": null }))]
    );
}

#[test]
fn pythons_values_become_json() {
    let text = r#"[weather(a=[1, -2.5, 1e3, True,], b={'x': None, "y": (1,), 'z': {}}, c='it\'s \x41\u00e9\n"q"', d=[],)]"#;
    let read = read(&format("llama-python"), &[text]);
    let arguments = json!({
        "a": [1, -2.5, 1e3, true], "b": { "x": null, "y": [1], "z": {} },
        "c": "it's Aé\n\"q\"", "d": [],
    });
    assert_eq!(read.calls(), [("weather", arguments)]);
}

#[test]
fn thoughts_are_told_apart() {
    let check = |format: &AnswerFormat, text: &str, reasoning: &str, content: &str| {
        let read = read(format, &[text]);
        assert_eq!(
            (read.reasoning.as_str(), read.content.as_str()),
            (reasoning, content),
            "{text}"
        );
        read
    };
    let hermes = format("hermes");
    check(
        &hermes,
        "<think>\nwhy <b>\n</think>\n\nSo.\n",
        "why <b>",
        "So.\n",
    );
    check(&hermes, "\n<think></think>So", "", "So");
    check(&hermes, "<think>why", "why", "");
    check(&hermes, "So <think>x</think>", "", "So <think>x</think>");
    let read = check(
        &hermes,
        "<think>a <tool_call>{}</think><tool_call>{\"name\": \"time\"}",
        "a <tool_call>{}",
        "",
    );
    assert_eq!(read.calls(), [("time", json!({}))]);
    let open = formed("hermes", |parts| parts.are_thoughts_open = true);
    check(&open, "\nwhy\n</think>\n\nSo", "why", "So");
    let marks = |source| formed("hermes", |parts| parts.thoughts = ThoughtMarks::of(source));
    let answer = marks("<think></think><answer></answer>");
    check(
        &answer,
        "<think>\na\n</think>\n<answer>\nSo\n</answer>",
        "a",
        "So",
    );
    check(&marks("[THINK][/THINK]"), "[THINK]a[/THINK]So", "a", "So");
    let harmony = format("harmony");
    check(
        &harmony,
        "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>So",
        "why",
        "So",
    );
    // A control token cannot be spoken of: it ends what it stands in.
    let certain = formed("kimi", |parts| {
        parts.are_thoughts_open = true;
        parts.certain = vec!["<|tool_calls_section_begin|>", "<|tool_call_begin|>"];
    });
    let text = "a <|tool_calls_section_begin|><|tool_call_begin|>functions.time:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>";
    let read = check(&certain, text, "a", "");
    assert_eq!(read.calls(), [("time", json!({}))]);
}

#[test]
fn a_plain_answer_is_left_alone() {
    let text = " <think>a</think>\n<tool_call>{} \n";
    assert_eq!(read(&AnswerFormat::plain(), &[text]).content, text);
    let spaces = read(&format("hermes"), &["\n a \n\n"]);
    assert_eq!(spaces.content, "\n a \n\n");
}
