//! What a model without sense writes when it is held to a notation: calls that fit.

use shimmy_engine::stub::{Reply, StubConfig, session};
use shimmy_engine::{EngineConfig, GenerateRequest, Prompt, SamplingParams, Session};

use super::*;
use crate::answer::{AnswerFormat, Delta, Parts};
use crate::notation::NOTATIONS;

fn tools() -> Vec<Tool> {
    let tool = |name: &str, parameters: Value| Tool {
        name: name.to_owned(),
        description: None,
        parameters,
        strict: false,
    };
    let read = json!({
        "properties": {
            "city": { "enum": ["Pa\"ris", "Lon\ndon </tool_call>"] },
            "days": { "type": "integer", "minimum": 0, "maximum": 9 },
            "deep": { "type": "array", "items": { "type": "boolean" }, "maxItems": 2 },
        },
        "required": ["city", "days"],
        "additionalProperties": false,
    });
    vec![
        tool("read", read),
        tool(
            "now",
            json!({ "type": "object", "properties": {}, "additionalProperties": false }),
        ),
    ]
}

fn wish<'a>(notation: &'static Notation, tools: &'a [Tool], choice: &'a ToolChoice) -> Wish<'a> {
    Wish {
        notation,
        tools,
        choice,
        only_one_call: false,
        shape: None,
        thoughts: Thoughts::None,
        wants_thoughts: false,
        tokens: &[],
    }
}

/// What a model of chance says, which likes letters best.
fn said(session: &Session, hold: Hold, shown: Vec<Token>, seed: u64) -> String {
    let request = GenerateRequest {
        prompt: Prompt::marked(format!("{seed}")),
        constraint: Some(hold.constraint),
        shown,
        max_tokens: Some(1500),
        sampling: SamplingParams {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: Some(seed),
            ..SamplingParams::default()
        },
        ..GenerateRequest::default()
    };
    let generation = session.generate(request).expect("a grammar that compiles");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let (text, _) = runtime
        .expect("a runtime")
        .block_on(generation.collect())
        .expect("an answer");
    text
}

fn chance() -> Session {
    let stub = StubConfig {
        reply: Reply::Uncertain,
        ..StubConfig::default()
    };
    session(stub, EngineConfig::default())
}

/// The names and arguments of the calls, and the text beside them.
fn read(notation: &'static Notation, text: &str) -> (Vec<(String, Value)>, String) {
    read_of(&tools(), notation, text)
}

fn read_of(
    tools: &[Tool],
    notation: &'static Notation,
    text: &str,
) -> (Vec<(String, Value)>, String) {
    let mut parser = AnswerFormat::new(Parts {
        notation,
        tools,
        only_one_call: false,
        must_call: false,
        is_forced: true,
        thoughts: None,
        are_thoughts_open: false,
        certain: Vec::new(),
    })
    .parser();
    let mut deltas = Vec::new();
    parser.push(text, &mut deltas);
    parser.finish(&mut deltas);
    let (mut calls, mut content) = (Vec::new(), String::new());
    for delta in deltas {
        match delta {
            Delta::ToolCall { name, .. } => calls.push((name, String::new())),
            Delta::ToolArguments { index, json } => calls[index].1.push_str(&json),
            Delta::Content(text) | Delta::Reasoning(text) => content.push_str(&text),
        }
    }
    let parsed = |(name, json): (String, String)| {
        let value = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json} in {text}"));
        (name, value)
    };
    (calls.into_iter().map(parsed).collect(), content)
}

fn assert_fits(name: &str, arguments: &Value) {
    match name {
        "now" => assert_eq!(*arguments, json!({})),
        "read" => {
            let city = arguments["city"].as_str();
            assert!(
                matches!(city, Some("Pa\"ris" | "Lon\ndon </tool_call>")),
                "{arguments}"
            );
            assert!(
                arguments["days"].as_u64().is_some_and(|days| days < 10),
                "{arguments}"
            );
        }
        _ => panic!("{name} is no tool"),
    }
}

#[test]
fn what_is_required_in_a_notation_is_read_in_it() {
    let (session, tools) = (chance(), tools());
    for notation in NOTATIONS {
        for seed in 0..2 {
            let choice = match seed {
                0 => ToolChoice::Named("read".to_owned()),
                _ => ToolChoice::Required,
            };
            let wish = Wish {
                only_one_call: seed == 0,
                ..wish(notation, &tools, &choice)
            };
            let text = said(
                &session,
                wish.hold().expect("a constraint"),
                Vec::new(),
                seed,
            );
            let (calls, content) = read(notation, &text);
            let many = 1..=if seed == 0 { 1 } else { MOST_CALLS as usize };
            assert!(many.contains(&calls.len()), "{}: {text}", notation.name);
            assert_eq!(content, "", "{}: {text}", notation.name);
            for (name, arguments) in calls {
                assert_fits(&name, &arguments);
                assert!(seed > 0 || name == "read");
            }
        }
    }
}

/// The ends of what vendors let functions be called.
#[test]
fn a_call_of_any_name_that_is_allowed_is_read_in_every_notation() {
    let session = chance();
    let long = "n".repeat(130);
    for name in [
        "a",
        "A-1_b",
        "1st",
        "-x",
        "_",
        "9",
        "a.b",
        "functions.a",
        &long,
    ] {
        let tools = [Tool {
            name: name.to_owned(),
            description: None,
            parameters: json!({ "properties": {}, "additionalProperties": false }),
            strict: false,
        }];
        let choice = ToolChoice::Required;
        for notation in NOTATIONS {
            let wish = Wish {
                only_one_call: true,
                ..wish(notation, &tools, &choice)
            };
            let hold = wish.hold().expect("a constraint");
            let text = said(&session, hold, Vec::new(), 0);
            let (calls, content) = read_of(&tools, notation, &text);
            let expected = [(name.to_owned(), json!({}))];
            assert_eq!(calls, expected, "{}: {text}", notation.name);
            assert_eq!(content, "", "{}: {text}", notation.name);
        }
    }
}

#[test]
fn arguments_that_may_also_be_nothing_are_an_object() {
    let session = chance();
    let tools = [Tool {
        name: "f".to_owned(),
        description: None,
        parameters: json!({ "type": ["null", "object"], "additionalProperties": false }),
        strict: false,
    }];
    for seed in 0..4 {
        let hold = wish(&crate::notation::HERMES, &tools, &ToolChoice::Required).hold();
        let text = said(&session, hold.expect("a constraint"), Vec::new(), seed);
        assert!(text.contains("\"arguments\": {}"), "{text}");
    }
}

#[test]
fn a_strict_tool_may_be_left_alone_or_called_and_then_it_fits() {
    let (session, mut tools) = (chance(), tools());
    tools.iter_mut().for_each(|tool| tool.strict = true);
    // One of every form: in tags, as elements, behind a heading, with no mark, in sections.
    for name in ["hermes", "qwen-coder", "deepseek", "llama-json", "harmony"] {
        let notation = NOTATIONS.iter().find(|notation| notation.name == name);
        let notation = notation.expect("a notation");
        let wish = wish(notation, &tools, &ToolChoice::Auto);
        let text = said(&session, wish.hold().expect("a constraint"), Vec::new(), 0);
        for (name, arguments) in read(notation, &text).0 {
            assert_fits(&name, &arguments);
        }
    }
}

#[test]
fn arguments_that_a_tool_does_not_list_are_not_made_up() {
    let (session, mut tools) = (chance(), tools());
    let notation = &crate::notation::HERMES;
    let mut call = |extra: Option<bool>, seed| {
        let schema = tools[1].parameters.as_object_mut().expect("a schema");
        match extra {
            Some(extra) => schema.insert("additionalProperties".to_owned(), json!(extra)),
            None => schema.remove("additionalProperties"),
        };
        let choice = ToolChoice::Named("now".to_owned());
        let wish = Wish {
            only_one_call: true,
            ..wish(notation, &tools, &choice)
        };
        let hold = wish.hold().expect("a constraint");
        said(&session, hold, Vec::new(), seed)
    };
    for seed in 0..8 {
        let (calls, _) = read(notation, &call(None, seed));
        assert_eq!(calls, [("now".to_owned(), json!({}))]);
    }
    // Of one that takes others they may be, and a model of chance makes some up.
    assert!((0..8).any(|seed| call(Some(true), seed) != call(None, seed)));
}

#[test]
fn what_nobody_asked_for_is_free() {
    let tools = tools();
    for notation in NOTATIONS {
        assert!(wish(notation, &tools, &ToolChoice::Auto).hold().is_none());
        assert!(wish(notation, &[], &ToolChoice::None).hold().is_none());
    }
}

#[test]
fn a_mark_that_is_a_control_token_is_that_token() {
    let tools = tools();
    let tokens = [("<tool_call>".to_owned(), 257)];
    let wish = Wish {
        tokens: &tokens,
        only_one_call: true,
        ..wish(&crate::notation::HERMES, &tools, &ToolChoice::Required)
    };
    let text = said(&chance(), wish.hold().expect("a constraint"), vec![257], 0);
    // The stub's own name for the token.
    assert!(text.starts_with("<|im_start|>\n{"), "{text}");
    let hidden = said(&chance(), wish.hold().expect("a constraint"), Vec::new(), 0);
    assert_eq!(text.strip_prefix("<|im_start|>"), Some(hidden.as_str()));
}
