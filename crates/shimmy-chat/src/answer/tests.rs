//! Every notation: what is read of it, however it is cut.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::notation::{NOTATIONS, Spelling};

/// A whole answer, with pieces joined.
#[derive(Debug, Default, PartialEq)]
struct Read {
    content: String,
    reasoning: String,
    calls: Vec<(String, String)>,
}

impl Read {
    fn of(deltas: Vec<Delta>) -> Self {
        let mut read = Self::default();
        for delta in deltas {
            match delta {
                Delta::Content(text) => {
                    assert!(!text.is_empty());
                    read.content.push_str(&text);
                }
                Delta::Reasoning(text) => {
                    assert!(!text.is_empty());
                    read.reasoning.push_str(&text);
                }
                Delta::ToolCall { index, name } => {
                    assert_eq!(index, read.calls.len());
                    read.calls.push((name, String::new()));
                }
                Delta::ToolArguments { index, json } => {
                    assert_eq!(index + 1, read.calls.len());
                    assert!(!json.is_empty());
                    read.calls[index].1.push_str(&json);
                }
            }
        }
        read
    }

    fn calls(&self) -> Vec<(&str, Value)> {
        let value =
            |arguments: &str| serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments));
        let calls = self.calls.iter();
        calls
            .map(|(name, arguments)| (name.as_str(), value(arguments)))
            .collect()
    }
}

fn tools() -> Vec<Tool> {
    let tool = |name: &str, parameters: Value| Tool {
        name: name.to_owned(),
        description: None,
        parameters,
        strict: false,
    };
    vec![
        tool(
            "weather",
            json!({ "type": "object", "properties": {
                "city": { "type": "string" },
                "days": { "type": "integer" },
                "tags": { "anyOf": [{ "type": "array" }, { "type": "null" }] },
                "unit": { "$ref": "#/$defs/unit" },
            }, "$defs": { "unit": { "enum": ["c", "f", null] } } }),
        ),
        tool("time", json!({ "type": "object", "properties": {} })),
    ]
}

fn notation(name: &str) -> &'static Notation {
    let found = NOTATIONS.iter().find(|notation| notation.name == name);
    found
        .copied()
        .unwrap_or_else(|| panic!("no notation {name}"))
}

fn format(name: &str) -> AnswerFormat {
    formed(name, |_| {})
}

fn formed(name: &str, change: impl FnOnce(&mut Parts<'_>)) -> AnswerFormat {
    let tools = tools();
    let mut parts = Parts {
        notation: notation(name),
        tools: &tools,
        only_one_call: false,
        must_call: false,
        is_forced: false,
        thoughts: ThoughtMarks::of("<think></think>"),
        are_thoughts_open: false,
        certain: Vec::new(),
    };
    change(&mut parts);
    AnswerFormat::new(parts)
}

fn read(format: &AnswerFormat, pieces: &[&str]) -> Read {
    let mut parser = format.parser();
    let mut deltas = Vec::new();
    for piece in pieces {
        let mut new = Vec::new();
        parser.push(piece, &mut new);
        deltas.extend(new);
    }
    parser.finish(&mut deltas);
    Read::of(deltas)
}

/// Answers that say "A" (where the notation has room for text), then call `weather` for Rome and
/// 2 days, then `time`.
const TWO_CALLS: [(&str, &str); 35] = [
    (
        "hermes",
        "A\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}\n</tool_call>\n<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>",
    ),
    // The end of the answer stands for the last mark, and what nobody needs is passed over.
    (
        "hermes",
        "A<tool_call>{\"id\": [1, {}], \"arguments\": {\"city\": \"Rome\", \"days\": 2}, \"name\": \"weather\"}<tool_call>{\"name\": \"time\"}",
    ),
    (
        "hermes",
        "A<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}}{\"type\": \"function\", \"function\": \"time\", \"parameters\": null}</tool_call>",
    ),
    (
        "qwen-coder",
        "A\n\n<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=time>\n</function>\n</tool_call>",
    ),
    (
        "qwen-coder",
        "A<function=weather><parameter=city>Rome</parameter><parameter=days>2</parameter></function><function=time>",
    ),
    (
        "qwen-coder",
        "A<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}</tool_call><tool_call><function=time></function></tool_call>",
    ),
    (
        "seed",
        "A<seed:tool_call>\n<function=weather>\n<parameter=city>Rome</parameter>\n<parameter=days>2</parameter>\n</function>\n</seed:tool_call><seed:tool_call>\n<function=time>\n</function>\n</seed:tool_call>",
    ),
    (
        "minimax",
        "A\n<minimax:tool_call>\n<invoke name=\"weather\">\n<parameter name=\"city\">Rome</parameter>\n<parameter name=\"days\">2</parameter>\n</invoke>\n<invoke name=\"time\">\n</invoke>\n</minimax:tool_call>",
    ),
    (
        "glm",
        "A\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n<tool_call>time\n</tool_call>",
    ),
    (
        "glm",
        "A<tool_call>weather<arg_key>city</arg_key><arg_value>Rome</arg_value><arg_key>days</arg_key><arg_value>2</arg_value></tool_call><tool_call>time</tool_call>",
    ),
    (
        "tool-calls-tag",
        "A<tool_calls>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}, {\"name\": \"time\", \"arguments\": {}}]</tool_calls>",
    ),
    (
        "tool-calls-tag",
        "A<tool_calls>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}\n{\"name\": \"time\", \"arguments\": {}}\n</tool_calls>",
    ),
    (
        "nemotron",
        "A<TOOLCALL>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}, {\"name\": \"time\", \"arguments\": {}}]</TOOLCALL>",
    ),
    (
        "granite",
        "A<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}, {\"name\": \"time\", \"arguments\": {}}]",
    ),
    (
        "phi",
        "Afunctools[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}, {\"name\": \"time\", \"arguments\": {}}]",
    ),
    (
        "phi",
        "A<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}, {\"name\": \"time\", \"arguments\": {}}]<|/tool_call|>",
    ),
    (
        "mistral",
        "A[TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}, \"id\": \"a12345678\"}, {\"name\": \"time\", \"arguments\": {}}]",
    ),
    (
        "mistral-named",
        "A[TOOL_CALLS]weather[ARGS]{\"city\": \"Rome\", \"days\": 2}[TOOL_CALLS]time[ARGS]{}",
    ),
    (
        "mistral-named",
        "A[TOOL_CALLS]weather[CALL_ID]a1[ARGS]{\"city\": \"Rome\", \"days\": 2}[TOOL_CALLS]time[CALL_ID]a2[ARGS]{}",
    ),
    (
        "deepseek",
        "A<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Rome\", \"days\": 2}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    (
        "deepseek",
        "A<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Rome\", \"days\": 2}<｜tool▁call▁end｜><｜tool▁call▁begin｜>time<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    (
        "kimi",
        "A<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{\"city\": \"Rome\", \"days\": 2}<|tool_call_end|><|tool_call_begin|>functions.time:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
    ),
    (
        "function-tag",
        "A<function=weather>{\"city\": \"Rome\", \"days\": 2}</function>\n<function=time>{}</function>",
    ),
    ("llama-python", "[weather(city=\"Rome\", days=2), time()]"),
    (
        "llama-python",
        "<|python_start|>[weather(city='Rome', days=2), time()]<|python_end|>",
    ),
    (
        "lfm2",
        "A<|tool_call_start|>[weather(city=\"Rome\", days=2), time()]<|tool_call_end|>",
    ),
    (
        "olmo",
        "A<function_calls>\nweather(city=\"Rome\", days=2)\ntime()\n</function_calls>",
    ),
    (
        "gemma",
        "A\n```tool_code\nweather(city=\"Rome\", days=2)\ntime()\n```",
    ),
    (
        "command-r7b",
        "A<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"weather\", \"parameters\": {\"city\": \"Rome\", \"days\": 2}},\n    {\"tool_call_id\": \"1\", \"tool_name\": \"time\", \"parameters\": {}}\n]<|END_ACTION|>",
    ),
    (
        "command-r",
        "A\nAction:\n```json\n[\n    {\n        \"tool_name\": \"weather\",\n        \"parameters\": {\"city\": \"Rome\", \"days\": 2}\n    },\n    {\n        \"tool_name\": \"time\",\n        \"parameters\": {}\n    }\n]```",
    ),
    (
        "internlm",
        "A<|action_start|><|plugin|>\n{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\", \"days\": 2}}<|action_end|>\n<|action_start|><|plugin|>\n{\"name\": \"time\", \"parameters\": {}}<|action_end|>",
    ),
    (
        "apertus",
        "A<|tools_prefix|>[{\"weather\": {\"city\": \"Rome\", \"days\": 2}}, {\"time\": {}}]<|tools_suffix|>",
    ),
    (
        "functionary",
        "all\nA\n>>>weather\n{\"city\": \"Rome\", \"days\": 2}\n>>>time\n{}",
    ),
    (
        "harmony",
        "<|channel|>commentary<|message|>A<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\": \"Rome\", \"days\": 2}<|call|><|start|>assistant to=functions.time<|channel|>commentary json<|message|>{}<|call|>",
    ),
    (
        "llama-json",
        "{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\", \"days\": 2}}; {\"name\": \"time\", \"parameters\": {}}",
    ),
];

fn check_two_calls(name: &str, text: &str, read: &Read) {
    let calls = [
        ("weather", json!({ "city": "Rome", "days": 2 })),
        ("time", json!({})),
    ];
    assert_eq!(read.calls(), calls, "{name}: {text}\n{read:?}");
    let has_text = !matches!(name, "llama-python" | "llama-json");
    assert_eq!(
        read.content,
        if has_text { "A" } else { "" },
        "{name}: {text}"
    );
    assert_eq!(read.reasoning, "", "{name}: {text}");
}

#[test]
fn two_calls_are_read_in_every_notation() {
    for (name, text) in TWO_CALLS {
        check_two_calls(name, text, &read(&format(name), &[text]));
        let forced = formed(name, |parts| parts.is_forced = true);
        check_two_calls(name, text, &read(&forced, &[text]));
    }
    let untested: Vec<&str> = NOTATIONS
        .iter()
        .map(|notation| notation.name)
        .filter(|name| !TWO_CALLS.iter().any(|(tested, _)| tested == name))
        .collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn one_call_is_the_most_where_no_more_are_wanted() {
    for (name, text) in TWO_CALLS {
        let format = formed(name, |parts| parts.only_one_call = true);
        let mut parser = format.parser();
        let mut deltas = Vec::new();
        parser.push(text, &mut deltas);
        assert!(parser.is_over(), "{name}: {text}");
        parser.finish(&mut deltas);
        let read = Read::of(deltas);
        assert_eq!(read.calls().len(), 1, "{name}: {text}");
        assert_eq!(read.calls[0].0, "weather", "{name}: {text}");
    }
}

/// Calls as the notation spells them where they are forced.
fn spelled(notation: &Notation, calls: &[(&str, &str)]) -> Option<String> {
    let spelling = notation.spelling;
    let calls = calls.iter().map(|(name, arguments)| {
        let call = spelling.call.replace(Spelling::NAME, name);
        call.replace(Spelling::ARGUMENTS, arguments)
    });
    let calls: Vec<String> = calls.collect();
    let calls = match (spelling.between, calls.as_slice()) {
        (Some(between), _) => calls.join(between),
        (None, [only]) => only.clone(),
        (None, _) => return None,
    };
    Some(format!("{}{calls}{}", spelling.open, spelling.close))
}

#[test]
fn a_required_call_that_is_repeated_ends_the_answer_and_is_not_told_of() {
    const ROME: (&str, &str) = ("weather", r#"{"city": "Rome"}"#);
    const RIGA: (&str, &str) = ("weather", r#"{"city": "Riga"}"#);
    const TIME: (&str, &str) = ("time", "{}");
    let mut tested = 0;
    for notation in NOTATIONS {
        let Some(text) = spelled(notation, &[ROME, RIGA, TIME, TIME, ROME]) else {
            continue;
        };
        let name = notation.name;
        let format = formed(name, |parts| {
            parts.is_forced = true;
            parts.must_call = true;
        });
        let mut parser = format.parser();
        let mut deltas = Vec::new();
        for c in text.chars() {
            parser.push(c.encode_utf8(&mut [0; 4]), &mut deltas);
        }
        assert!(parser.is_over(), "{name}: {text}");
        parser.finish(&mut deltas);
        let told = Read::of(deltas);
        let calls = told.calls.iter().map(|(name, text)| (&**name, &**text));
        assert_eq!(calls.collect::<Vec<_>>(), [ROME, RIGA, TIME], "{name}");
        // Wherever a repeat is cut off, it is not there.
        let twice = spelled(notation, &[ROME, ROME]).unwrap();
        let once = spelled(notation, &[ROME]).unwrap();
        let once = &once[..once.len() - notation.spelling.close.len()];
        for end in (once.len()..twice.len()).filter(|end| twice.is_char_boundary(*end)) {
            let told = read(&format, &[&twice[..end]]);
            assert_eq!(told.calls.len(), 1, "{name}: {}", &twice[..end]);
            assert!(!told.content.contains("Rome"), "{name}: {told:?}");
        }
        tested += 1;
    }
    assert!(tested > 15, "{tested}");
}

#[test]
fn who_calls_unasked_may_call_the_same_again() {
    let call = r#"<tool_call>{"name": "time", "arguments": {}}</tool_call>"#;
    let format = formed("hermes", |parts| parts.is_forced = true);
    assert_eq!(read(&format, &[call, call]).calls.len(), 2);
}

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
fn a_forced_call_is_told_of_at_once() {
    let mut parser = formed("hermes", |parts| parts.is_forced = true).parser();
    let mut deltas = Vec::new();
    parser.push(
        "<tool_call>{\"name\": \"weather\", \"arguments\": {\"c",
        &mut deltas,
    );
    let call = Delta::ToolCall {
        index: 0,
        name: "weather".to_owned(),
    };
    let json = "{\"c".to_owned();
    assert_eq!(deltas, [call, Delta::ToolArguments { index: 0, json }]);
}

#[test]
fn a_required_call_that_is_cut_is_a_call_as_soon_as_its_name_is_there_and_never_text() {
    const ROME: (&str, &str) = ("weather", r#"{"city": "Rome"}"#);
    for notation in NOTATIONS {
        let format = formed(notation.name, |parts| {
            parts.is_forced = true;
            parts.must_call = true;
        });
        let two = spelled(notation, &[ROME, ("time", "{}")]);
        let text = two.or_else(|| spelled(notation, &[ROME])).expect("a call");
        let arguments = text.find("{\"city").expect("arguments") + 2;
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let cut = &text[..end];
            let read = read(&format, &[cut]);
            assert_eq!(read.content, "", "{}: {cut}", notation.name);
            if end >= arguments {
                let (name, json) = &read.calls[0];
                assert_eq!(name, ROME.0, "{}: {cut}", notation.name);
                assert!(ROME.1.starts_with(json), "{}: {cut}", notation.name);
            }
        }
        let all = 1 + usize::from(notation.spelling.between.is_some());
        assert_eq!(read(&format, &[&text]).calls.len(), all, "{text}");
    }
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

#[test]
fn time_grows_with_the_text_and_no_faster() {
    // The worst there is: every piece begins a call that turns out to be none. A reader that looked
    // at a text again would take minutes for a megabyte of it.
    for (name, piece) in [
        ("hermes", "<tool_call>{\"name\": \"<tool_call>"),
        ("hermes", "<tool_call>{\"arguments\": {\"a\": \"<tool_call>"),
        ("mistral-named", "[TOOL_CALLS]a[TOOL_CALL"),
        ("qwen-coder", "<function=weather><parameter=city><function="),
        ("llama-python", "[weather(city=["),
        ("harmony", "<|channel|>analysis<|channel|><|messag"),
    ] {
        let text = piece.repeat((1 << 20) / piece.len());
        let mut parser = format(name).parser();
        let mut deltas = Vec::new();
        parser.push(&text, &mut deltas);
        parser.finish(&mut deltas);
        assert!(!deltas.is_empty());
    }
}

fn texts() -> impl Strategy<Value = (&'static str, String)> {
    let whole = prop::sample::select(TWO_CALLS.to_vec());
    // Parts of texts in any order: what no model should write, and some will.
    let mixed = prop::collection::vec(
        (
            whole.clone(),
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
        ),
        1..4,
    );
    let mixed = mixed.prop_map(|parts| {
        let name = parts[0].0.0;
        let mut text = String::new();
        for ((_, part), from, to) in &parts {
            let bounds: Vec<usize> = part.char_indices().map(|(at, _)| at).collect();
            let (a, b) = (
                bounds[from.index(bounds.len())],
                bounds[to.index(bounds.len())],
            );
            text.push_str(&part[a.min(b)..a.max(b)]);
        }
        (name, text)
    });
    let marked =
        (whole.clone(), r"[ \n<>/a{}\[\]\(\),;:=\x22'\\]{0,12}").prop_map(|((name, text), odd)| {
            let cut = text.len() / 2;
            let cut = (cut..).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            (
                name,
                format!("<think>{odd}</think>{}{odd}{}", &text[..cut], &text[cut..]),
            )
        });
    prop_oneof![
        whole.prop_map(|(name, text)| (name, text.to_owned())),
        mixed,
        marked
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn what_is_read_does_not_depend_on_the_cuts(
        (name, text) in texts(),
        cuts in prop::collection::vec(1_usize..9, 40),
        only_one_call in any::<bool>(),
        must_call in any::<bool>(),
        is_forced in any::<bool>(),
        are_thoughts_open in any::<bool>(),
    ) {
        let format = formed(name, |parts| {
            parts.only_one_call = only_one_call;
            parts.must_call = must_call;
            parts.is_forced = is_forced;
            parts.are_thoughts_open = are_thoughts_open;
        });
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        for cut in cuts {
            let at = rest.char_indices().nth(cut).map_or(rest.len(), |(at, _)| at);
            let (piece, after) = rest.split_at(at);
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        prop_assert_eq!(read(&format, &pieces), read(&format, &[&text]));
    }
}
