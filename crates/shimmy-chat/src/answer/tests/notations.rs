//! Two calls in every notation.

use super::*;

/// Answers that say "A" (where the notation has room for text), then call `weather` for Rome and
/// 2 days, then `time`.
pub(super) const TWO_CALLS: [(&str, &str); 35] = [
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
