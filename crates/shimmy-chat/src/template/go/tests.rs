//! What templates in Go become: whole ones of the kind that models have, and each construct alone.

use serde_json::{Map, Value, json};

use super::*;
use crate::{ChatTemplate, Message, RenderRequest, TemplateVocabulary};

/// A template of the kind that most of Ollama's packages have: tools, calls, thoughts.
const QWEN: &str = r#"{{- if .Messages }}
{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

# Tools

<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}
{{- else }}
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ end }}{{ .Response }}{{ if .Response }}<|im_end|>{{ end }}"#;

fn rendered(source: &str, messages: &[Message], tools: Option<&Value>) -> String {
    let jinja = jinja_of_go(source).unwrap();
    let template = ChatTemplate::new(Some(&jinja), TemplateVocabulary::default());
    let template = template.unwrap_or_else(|error| panic!("{error}: {jinja}"));
    let request = RenderRequest {
        messages,
        add_generation_prompt: true,
        tools,
        kwargs: &Map::new(),
    };
    let prompt = template.render(&request);
    prompt
        .unwrap_or_else(|error| panic!("{error}: {jinja}"))
        .text()
}

fn said(source: &str) -> String {
    let messages = [
        Message::new("system", "Be brief."),
        Message::new("user", "one"),
        Message::new("assistant", "two"),
        Message::new("user", "three"),
    ];
    rendered(source, &messages, None)
}

#[test]
fn a_template_with_messages_writes_what_it_does_in_go() {
    assert_eq!(
        said(QWEN),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\none<|im_end|>\n\
         <|im_start|>assistant\ntwo<|im_end|>\n<|im_start|>user\nthree<|im_end|>\n\
         <|im_start|>assistant\n"
    );
}

#[test]
fn tools_calls_and_what_they_said_are_written_as_json() {
    let tools = json!([{ "type": "function", "function": {
        "name": "look", "description": "Looks.", "parameters": { "type": "object" },
    } }]);
    let call = json!([{ "type": "function", "function": {
        "name": "look", "arguments": "{\"at\": \"{{ the }} moon\"}",
    } }]);
    let messages = [
        Message::new("user", "Look!"),
        Message {
            tool_calls: Some(call),
            ..Message::new("assistant", "")
        },
        Message::new("tool", "It is round."),
    ];
    assert_eq!(
        rendered(QWEN, &messages, Some(&tools)),
        "<|im_start|>system\n\n# Tools\n\n<tools>\n{\"type\": \"function\", \"function\": \
         {\"name\":\"look\",\"description\":\"Looks.\",\"parameters\":{\"type\":\"object\"}}}\n\
         </tools><|im_end|>\n<|im_start|>user\nLook!<|im_end|>\n<|im_start|>assistant\n\
         <tool_call>\n{\"name\": \"look\", \"arguments\": {\"at\":\"{{ the }} moon\"}}\n\
         </tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\nIt is round.\n\
         </tool_response><|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn a_template_for_one_turn_is_written_turn_by_turn() {
    let source = "{{ if .System }}[SYS]{{ .System }}[/SYS]\n{{ end }}\
                  {{ if .Prompt }}Q: {{ .Prompt }}\n{{ end }}A: {{ .Response }}</s>\n";
    assert_eq!(
        said(source),
        "[SYS]Be brief.[/SYS]\nQ: one\nA: two</s>\nQ: three\nA: "
    );
    // An answer that has begun is gone on with.
    let begun = [Message::new("user", "one"), Message::new("assistant", "tw")];
    assert_eq!(rendered(source, &begun, None), "Q: one\nA: tw");
    let in_branch = "{{ .System }} {{ .Prompt }}{{ if .Response }}: {{ .Response }}{{ end }}.";
    assert_eq!(said(in_branch).as_str(), "Be brief. one: two. three");
}

#[test]
fn variables_blocks_and_functions_mean_what_they_mean_in_go() {
    for (body, text) in [
        ("{{- $a := 1 }}{{ $b := \"x\" }}{{ $a }}{{ $b }}", "1x"),
        // Set in a loop, seen behind it.
        (
            "{{ $n := 0 }}{{ range $i, $m := .Messages }}{{ $n = $i }}{{ end }}{{ $n }}",
            "3",
        ),
        (
            "{{ range .Messages }}{{ $role := .Role }}{{ if eq $role \"user\" \"tool\" }}\
             {{ .Content }},{{ end }}{{ end }}",
            "one,three,",
        ),
        (
            "{{ range .Messages }}{{ if eq .Role \"assistant\" }}{{ break }}{{ end }}.{{ end }}",
            "..",
        ),
        (
            "{{ range .Messages }}{{ if ne .Role \"user\" }}{{ continue }}{{ end }}.{{ end }}",
            "..",
        ),
        ("{{ range .Tools }}x{{ else }}none{{ end }}", "none"),
        (
            "{{ with .System }}<{{ . }}>{{ else }}-{{ end }}",
            "<Be brief.>",
        ),
        ("{{ with $s := .System }}{{ $s | len }}{{ end }}", "9"),
        ("{{ (index .Messages 1).Content }}", "one"),
        (
            "{{ index .Messages 1 | json }}",
            "{\"role\":\"user\",\"content\":\"one\"}",
        ),
        ("{{ if and .System (not .Tools) }}yes{{ end }}", "yes"),
        (
            "{{ if or .Tools .Suffix }}yes{{ else if .System }}no{{ end }}",
            "no",
        ),
        (
            "{{ len .Messages }}{{ len .Tools }}{{ lt 1 2 }}{{ ge 1 2 }}",
            "40truefalse",
        ),
        ("{{ print \"a\" `\"b\"` 1 }}", "a\"b\"1"),
        ("{{ \"}}\" }}{{/* a }} comment */}}", "}}"),
        ("a {{- /* gone */ -}} b", "ab"),
        ("{ {{ 1 }} }{{ 2 }}{{ \"{\" }}{", "{ 1 }2{{"),
        ("  {{ 1 -}}  \n  x  {{- 2 }}\n", "  1x2\n"),
        ("{{ .IsThinkSet }}{{ .Think }}", "false"),
    ] {
        // Each reads the messages, so that it is not written turn by turn, and leaves nobody out.
        let source = format!("{{{{ if .Messages }}}}{{{{ .System }}}}|{{{{ end }}}}{body}");
        assert_eq!(said(&source), format!("Be brief.|{text}"), "{body}");
    }
}

#[test]
fn a_text_that_looks_like_jinja_stays_text() {
    let source = "{{ if .Messages }}{#}{{ end }}{{ .System }}{";
    assert_eq!(said(source), "{#}Be brief.{");
    let jinja = "{% for message in messages %}{{ message.content }}{% endfor %}";
    assert_eq!(jinja_of_go(jinja).unwrap(), jinja);
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let deep = "{{ if .System }}".repeat(1000);
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(1000), ")".repeat(1000));
    for (source, reason) in [
        ("{{ .System", "no end"),
        ("{{ if .System }}x", "`if` has no `end`"),
        ("{{ end }}", "no beginning"),
        ("{{ $x }}", "$x is not set"),
        (
            "{{ if .System }}{{ $x := 1 }}{{ end }}{{ $x }}",
            "$x is not set",
        ),
        ("{{ .System .Prompt }}", "no function"),
        ("{{ printf \"%s\" .System }}", "`printf`"),
        ("{{ template \"x\" }}", "template"),
        ("{{ .Secrets }}", "`.Secrets`"),
        ("{{ . }}", "all variables"),
        (
            "{{ range .Messages }}{{ .Password }}{{ end }}",
            "`.Password`",
        ),
        ("{{ 1 + 1 }}", "makes no sense"),
        ("{{ (1 }}", "not closed"),
        (&deep, "too deeply"),
        (&nested, "too deeply"),
    ] {
        let error = jinja_of_go(source).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn what_a_template_tells_of_tools_and_thoughts_is_still_seen() {
    let jinja = jinja_of_go(QWEN).unwrap();
    let template = ChatTemplate::new(Some(&jinja), TemplateVocabulary::default()).unwrap();
    assert!(template.manner().knows_tools);
    let thinking = "{{ if .Messages }}{{ end }}{{ if .IsThinkSet }}{{ if .Think }}/think\
                    {{ else }}<think></think>{{ end }}{{ end }}";
    let jinja = jinja_of_go(thinking).unwrap();
    let template = ChatTemplate::new(Some(&jinja), TemplateVocabulary::default()).unwrap();
    assert!(template.variables().contains("enable_thinking"));
    assert!(template.manner().thoughts.is_some());
}
