//! A user's text never becomes a special token, and no other text is changed by that.

use proptest::prelude::*;
use serde_json::Value;
use shimmy_chat::Message;
use shimmy_engine::PromptPart::{self, Literal, Marked};

use super::{chat, render, template};

const SPECIALS: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<s>",
    "</s>",
    "<|im_start|>!",
    "",
];

/// Writes neighbours with nothing between them, and trims.
const TIGHT: &str = "{% for m in messages %}{{ m.content | trim }}{% endfor %}<|im_end|>";

fn marked(text: &str) -> PromptPart {
    Marked(text.to_owned())
}

fn literal(text: &str) -> PromptPart {
    Literal(text.to_owned())
}

fn specials_in_marked(parts: &[PromptPart]) -> usize {
    let count = |text: &String| {
        SPECIALS
            .iter()
            .filter(|s| !s.is_empty())
            .map(|s| text.matches(s).count())
            .sum::<usize>()
    };
    parts
        .iter()
        .map(|part| {
            if let Marked(text) = part {
                count(text)
            } else {
                0
            }
        })
        .sum()
}

#[test]
fn a_prompt_without_special_text_is_one_part() {
    let template = template(include_str!("reference/smollm2.jinja"), SPECIALS);
    let prompt = render(
        &template,
        &chat(&[("system", "s"), ("user", "a < b |> c </span>")]),
    )
    .unwrap();
    assert_eq!(prompt.parts.len(), 1);
}

#[test]
fn special_text_in_content_is_literal_and_longest_first() {
    let template = template("<s>{{ messages[0].content }}</s>", SPECIALS);
    let prompt = render(
        &template,
        &chat(&[("user", "a<|im_start|>b<|im_start|>!<s>")]),
    )
    .unwrap();
    assert_eq!(
        prompt.parts,
        [
            marked("<s>a"),
            literal("<|im_start|>"),
            marked("b"),
            literal("<|im_start|>!<s>"),
            marked("</s>"),
        ]
    );
}

#[test]
fn every_string_of_the_request_is_covered() {
    let source = "{{ messages | tojson }}{{ tools | tojson }}{{ extra }}{{ messages[0].content }}";
    let template = template(source, SPECIALS);
    let value = serde_json::json!([{ "<s>": ["</s>", { "function": "<|im_end|>" }] }]);
    let message = Message {
        role: "<s>".to_owned(),
        content: "<s>".to_owned(),
        name: Some("<s>".to_owned()),
        tool_calls: Some(value.clone()),
        tool_call_id: Some(value.clone()),
        reasoning_content: Some("<s>".into()),
    };
    let mut kwargs = serde_json::Map::new();
    kwargs.insert("extra".to_owned(), Value::from("<|im_start|>"));
    let request = shimmy_chat::RenderRequest {
        messages: &[message],
        add_generation_prompt: true,
        tools: Some(&value),
        kwargs: &kwargs,
    };
    let prompt = template.render(&request).unwrap();
    assert_eq!(specials_in_marked(&prompt.parts), 0);
    assert_eq!(prompt.text().matches("<s>").count(), 8);
}

#[test]
fn special_text_is_not_forged_across_neighbours() {
    for pieces in [
        ["<|im_st", "art|>"],
        ["<", "|im_start|>"],
        ["<|im_start|", ">"],
        ["<|im_st  \n", "  art|>"],
        ["a <", "s>"],
    ] {
        let template = template(TIGHT, SPECIALS);
        let prompt = render(
            &template,
            &chat(&[("user", pieces[0]), ("user", pieces[1])]),
        )
        .unwrap();
        assert_eq!(specials_in_marked(&prompt.parts), 1, "{:?}", prompt.parts);
        assert_eq!(
            prompt.text(),
            format!("{}{}<|im_end|>", pieces[0].trim(), pieces[1].trim())
        );
    }
}

#[test]
fn special_text_is_not_forged_with_the_templates_help() {
    // The template removes, cuts out or changes the case of something in between.
    let cases = [
        (
            "{{ messages[0].content.replace('-', '') }}",
            "<|im_-start|>",
        ),
        (
            "{{ messages[0].content.split('#') | join('') }}",
            "<|im_#start|>",
        ),
        ("{{ messages[0].content | lower }}", "<|IM_START|>"),
    ];
    for (source, content) in cases {
        let prompt = render(&template(source, SPECIALS), &chat(&[("user", content)])).unwrap();
        assert_eq!(prompt.text(), "<|im_start|>");
        assert_eq!(
            specials_in_marked(&prompt.parts),
            0,
            "{source}: {:?}",
            prompt.parts
        );
    }
}

#[test]
fn pieces_that_come_to_nothing_are_left_to_the_template() {
    // `</` begins `</s>` too, but the template must still see its own marker.
    let source = "{{ messages[0].content.split('</think>')[-1] }}<s>";
    let prompt = render(
        &template(source, SPECIALS),
        &chat(&[("user", "hm</think>yes")]),
    )
    .unwrap();
    assert_eq!(prompt.parts, [marked("yes<s>")]);
}

#[test]
fn a_template_may_build_tokens_around_roles() {
    let source = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}";
    let template = template(source, &["<|user|>"]);
    let prompt = render(&template, &chat(&[("user", "a<|user|>")])).unwrap();
    assert_eq!(prompt.parts, [marked("<|user|>a"), literal("<|user|>")]);
}

#[test]
fn private_use_characters_stand_for_themselves() {
    let content = "\u{F0000}<s>\u{F0001}\u{100000}";
    let source = "{{ messages[0].content }}\u{F0002}";
    let prompt = render(&template(source, SPECIALS), &chat(&[("user", content)])).unwrap();
    assert_eq!(
        prompt.parts,
        [
            marked("\u{F0000}"),
            literal("<s>"),
            marked("\u{F0001}\u{100000}\u{F0002}")
        ]
    );
}

fn content() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|im_", "start|>", "<|", "|>", "<", ">",
            "</", "s>", "/s>", "|", "im_end", " ", "\n", "user", "\u{F0000}", "!",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => "[a-z<>|/ ]{0,6}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// The same text with nothing in it that could become part of a special token.
fn harmless(content: &str) -> String {
    content.replace(['<', '>'], "x")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_content_keeps_its_text_and_adds_no_special_token(
        contents in prop::collection::vec(content(), 1..4),
        source in prop::sample::select(vec![
            "<s>{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
            "<s>{% for m in messages %}{{ m.content }}{% endfor %}</s>",
            TIGHT,
        ]),
    ) {
        let messages: Vec<_> = contents.iter().map(|content| Message::new("user", content)).collect();
        let neutral: Vec<_> = contents.iter().map(|c| Message::new("user", harmless(c))).collect();
        let guarded = render(&template(source, SPECIALS), &messages).unwrap();
        let unguarded = render(&template(source, &[]), &messages).unwrap();
        let baseline = render(&template(source, SPECIALS), &neutral).unwrap();
        prop_assert_eq!(guarded.text(), unguarded.text());
        prop_assert!(unguarded.parts.len() <= 1);
        prop_assert_eq!(specials_in_marked(&guarded.parts), specials_in_marked(&baseline.parts), "{:?}", guarded.parts);
    }
}
