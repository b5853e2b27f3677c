//! Our rendering is Hugging Face's, byte for byte. `reference/generate.py` wrote the expectations
//! with Python's Jinja2; `smollm2.jinja` is the template in SmolLM2-135M-Instruct's GGUF file.

use serde_json::{Map, Value};
use shimmy_chat::{Message, RenderRequest};

use super::{template, text};

fn source(name: &str) -> &'static str {
    match name {
        "smollm2" => include_str!("reference/smollm2.jinja"),
        "alternating" => include_str!("reference/alternating.jinja"),
        "tools" => include_str!("reference/tools.jinja"),
        _ => panic!("no template {name}"),
    }
}

fn message(value: &Value) -> Message {
    Message {
        name: value["name"].as_str().map(str::to_owned),
        tool_calls: value.get("tool_calls").cloned(),
        tool_call_id: value.get("tool_call_id").cloned(),
        ..Message::new(
            value["role"].as_str().unwrap(),
            value["content"].as_str().unwrap(),
        )
    }
}

#[test]
fn renders_what_jinja2_renders() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("reference/cases.json")).unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let messages: Vec<Message> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(message)
            .collect();
        let request = RenderRequest {
            messages: &messages,
            add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
            tools: Some(&case["tools"]).filter(|tools| !tools.is_null()),
            kwargs: case["kwargs"].as_object().unwrap(),
        };
        // The special tokens are SmolLM2's; no case holds one, so they must change nothing.
        let template = template(
            source(case["template"].as_str().unwrap()),
            &["<|im_start|>", "<|im_end|>"],
        );
        let prompt = template.render(&request).unwrap();
        assert_eq!(
            prompt.text(),
            case["expected"].as_str().unwrap(),
            "{} / {}",
            case["template"],
            case["chat"]
        );
    }
}

#[test]
fn generation_blocks_and_foreign_line_endings_change_nothing() {
    let plain = "{% for m in messages %}\n{{ m.content }}\n{% if true %}\nx\n{% endif %}\n{% endfor %}\nend\n";
    let marked = "{% for m in messages %}\r\n{{ m.content }}\r\n{% generation %}\r\nx\r\n{%  endgeneration  %}\r\n{% endfor %}\r\nend\r\n";
    assert_eq!(text(&template(plain, &[]), &[("user", "a")]), "a\nx\nend");
    assert_eq!(text(&template(marked, &[]), &[("user", "a")]), "a\nx\nend");
    let trimmed = "a \n{%- generation -%}\n {{ messages[0].content }} {%- endgeneration %} b";
    assert_eq!(text(&template(trimmed, &[]), &[("user", "u")]), "au b");
}

#[test]
fn absent_fields_are_absent_and_nulls_too() {
    let source = "{% for m in messages %}{{ m.content }}{{ m.keys() | list }}{% endfor %}";
    let mut message = Message::new("user", "u");
    message.tool_calls = Some(Value::Null);
    message.name = Some("n".to_owned());
    let prompt = super::render(&template(source, &[]), &[message]).unwrap();
    assert_eq!(prompt.text(), "u['role', 'content', 'name']");
}

#[test]
fn undefined_prints_as_nothing_but_has_no_attributes() {
    let messages = super::chat(&[("user", "u")]);
    assert_eq!(
        text(
            &template("{{ messages[0].content }}{{ nothing }}", &[]),
            &[("user", "u")]
        ),
        "u"
    );
    for source in [
        "{{ nothing.at.all }}",
        "{{ 'a' + nothing }}",
        "{{ nothing() }}",
    ] {
        let error = super::render(&template(source, &[]), &messages).unwrap_err();
        assert!(
            matches!(error, shimmy_chat::TemplateError::Render { .. }),
            "{source}: {error}"
        );
    }
}

#[test]
fn call_arguments_reach_each_template_in_the_form_it_takes() {
    let mut call = Message::new("assistant", "");
    call.tool_calls = Some(serde_json::json!([
        { "function": { "name": "f", "arguments": "{\"b\": 1, \"a\": [true]}" } }
    ]));
    let messages = [Message::new("user", "u"), call];
    let wants_object = "{{ messages[0].content }}{{ messages[1].tool_calls[0].function | tojson }}";
    let wants_text = "{{ messages[0].content + messages[1].tool_calls[0].function.arguments }}";
    for (source, expected) in [
        (
            wants_object,
            "u{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": [true]}}",
        ),
        (wants_text, "u{\"b\": 1, \"a\": [true]}"),
    ] {
        let prompt = super::render(&template(source, &[]), &messages).unwrap();
        assert_eq!(prompt.text(), expected);
    }
}

#[test]
fn a_template_that_reads_only_parts_gets_parts() {
    let source = "{% for m in messages %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}";
    assert_eq!(
        text(&template(source, &[]), &[("user", "not lost")]),
        "not lost"
    );
}

#[test]
fn further_arguments_reach_the_template() {
    let mut kwargs = Map::new();
    kwargs.insert("mood".to_owned(), Value::from("calm"));
    let template = template("{{ messages[0].content }} {{ mood }}", &[]);
    let prompt = super::render_with(&template, &super::chat(&[("user", "u")]), &kwargs).unwrap();
    assert_eq!(prompt.text(), "u calm");
}
