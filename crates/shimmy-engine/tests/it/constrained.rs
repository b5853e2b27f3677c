//! Answers of a prescribed shape: they have it, and nobody can tell how their tokens came.

use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Value, json};
use shimmy_engine::stub::{Reply, StubConfig, session};
use shimmy_engine::{
    Constraint, EngineConfig, Finish, FinishReason, GenerateRequest, SamplingParams, Session,
};

use crate::{ask, gated, saying, whole};

/// Draws of a model that has no idea: every token that may come does come.
fn drawn(seed: u64) -> SamplingParams {
    SamplingParams {
        temperature: 60.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        seed: Some(seed),
        ..SamplingParams::default()
    }
}

fn constrained(prompt: &str, constraint: Constraint, seed: u64) -> GenerateRequest {
    GenerateRequest {
        constraint: Some(constraint),
        sampling: drawn(seed),
        ..ask(prompt)
    }
}

fn lark(text: &str) -> Constraint {
    Constraint::Grammar(text.to_owned())
}

/// Whether a value has the shape of one of [`schema`]'s schemas.
fn fits(schema: &Value, value: &Value) -> bool {
    if let Some(values) = schema["enum"].as_array() {
        return values.contains(value);
    }
    match (schema["type"].as_str(), value) {
        (Some("boolean"), Value::Bool(_)) => true,
        (Some("integer"), Value::Number(n)) => {
            // JSON's "-0" is read as a float.
            let n = n.as_f64().expect("a number");
            let bound = |name: &str| schema[name].as_f64().expect("given");
            n.fract() == 0.0 && (bound("minimum")..=bound("maximum")).contains(&n)
        }
        (Some("string"), Value::String(text)) => {
            text.chars().count() as u64 <= schema["maxLength"].as_u64().expect("given")
        }
        (Some("array"), Value::Array(list)) => {
            let all = list.iter().all(|value| fits(&schema["items"], value));
            all && list.len() as u64 <= schema["maxItems"].as_u64().expect("given")
        }
        (Some("object"), Value::Object(object)) => {
            let properties = schema["properties"].as_object().expect("given");
            object.len() == properties.len()
                && object.iter().all(|(key, value)| {
                    let schema = properties.get(key);
                    schema.is_some_and(|schema| fits(schema, value))
                })
        }
        _ => false,
    }
}

/// Schemas whose answers end soon.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({ "type": "boolean" })),
        (-40_i64..40, 0_i64..300).prop_map(
            |(low, more)| json!({ "type": "integer", "minimum": low, "maximum": low + more })
        ),
        (0_u32..6).prop_map(|most| json!({ "type": "string", "maxLength": most })),
        prop::collection::vec("[a-z\"é]{0,8}", 1..4).prop_map(|values| json!({ "enum": values })),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0_u32..4).prop_map(
                |(items, most)| json!({ "type": "array", "items": items, "maxItems": most })
            ),
            prop::collection::btree_map("[a-z_]{1,9}", inner, 0..4).prop_map(|properties| {
                let required: Vec<&String> = properties.keys().collect();
                json!({
                    "type": "object", "required": required, "properties": properties,
                    "additionalProperties": false,
                })
            }),
        ]
    })
}

/// What a request gets when nobody else asks.
fn alone(request: &GenerateRequest) -> (String, Finish) {
    let session = saying(Reply::Uncertain);
    whole(session.generate(request.clone()).expect("taken"))
}

fn steps(session: &Session) -> u64 {
    session.engine().status().steps
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn an_answer_parses_unless_it_was_cut_short(
        schema in schema(),
        seed in any::<u64>(),
        max_tokens in 1_u32..200,
        temperature in prop::sample::select(vec![0.0, 1.0, 20.0, 90.0]),
    ) {
        let mut request = constrained("abc", Constraint::JsonSchema(schema.clone()), seed);
        request.max_tokens = Some(max_tokens);
        request.sampling.temperature = temperature;
        let (text, finish) = alone(&request);
        match finish.reason {
            FinishReason::Stop => {
                let value: Value = serde_json::from_str(&text).expect("JSON");
                prop_assert!(fits(&schema, &value), "{schema}\n{text}");
            }
            reason => {
                prop_assert_eq!(reason, FinishReason::Length);
                prop_assert_eq!(finish.usage.completion_tokens, max_tokens);
            }
        }
    }

    #[test]
    fn company_drafts_and_want_of_room_do_not_show(
        schemas in prop::collection::vec((schema(), any::<u64>(), 1_u32..120), 1..7),
        cells in 150_usize..400,
        batch in 4_usize..24,
        drafts in any::<bool>(),
    ) {
        let stub = StubConfig { reply: Reply::Uncertain, cells, batch, ..StubConfig::default() };
        let engine = EngineConfig { drafts, ..EngineConfig::default() };
        let session = session(stub, engine);
        let requests = schemas.into_iter().map(|(schema, seed, max_tokens)| GenerateRequest {
            max_tokens: Some(max_tokens),
            ..constrained("the same beginning of all", Constraint::JsonSchema(schema), seed)
        });
        let running: Vec<_> = requests
            .map(|request| (session.generate(request.clone()).expect("taken"), request))
            .collect();
        for (generation, request) in running {
            let (text, finish) = whole(generation);
            let (expected, alone) = alone(&request);
            prop_assert_eq!(text, expected);
            prop_assert_eq!(finish.reason, alone.reason);
            prop_assert_eq!(finish.usage.completion_tokens, alone.usage.completion_tokens);
        }
    }

    #[test]
    fn forced_tokens_say_what_sampled_ones_would_have(schema in schema(), seed in any::<u64>()) {
        let forced = GenerateRequest {
            max_tokens: Some(150),
            ..constrained("abc", Constraint::JsonSchema(schema), seed)
        };
        // Probabilities can be told of sampled tokens only.
        let sampled = GenerateRequest { logprobs: Some(0), ..forced.clone() };
        let (text, finish) = alone(&forced);
        let (expected, alone) = alone(&sampled);
        prop_assert_eq!(text, expected);
        prop_assert_eq!(finish.usage, alone.usage);
        prop_assert_eq!(finish.reason, alone.reason);
    }
}

#[test]
fn forced_tokens_take_no_steps_of_their_own() {
    let session = saying(Reply::Uncertain);
    let grammar = lark("start: \"the answer is \" (\"yes\" | \"no\") \", as ever and always.\"");
    let (text, finish) = whole(
        session
            .generate(constrained("?", grammar, 1))
            .expect("taken"),
    );
    assert!(text.ends_with(", as ever and always."), "{text}");
    assert_eq!(finish.reason, FinishReason::Stop);
    assert_eq!(finish.usage.completion_tokens as usize, text.len());
    // The first token comes with the prompt, the choice after the rest of what was forced before
    // it; everything behind the choice is forced.
    assert_eq!(steps(&session), 2);
    let status = session.engine().status();
    assert_eq!(status.tokens_forced as usize, "he answer is ".len());
    assert_eq!(status.tokens_prefilled, 1, "of the prompt alone");
}

#[test]
fn a_stop_text_and_the_limit_hold_among_forced_tokens() {
    let request = |change: fn(&mut GenerateRequest)| {
        let mut request = constrained("?", lark("start: \"one two three\""), 1);
        change(&mut request);
        alone(&request)
    };
    let (text, finish) = request(|request| request.stop = vec!["two".to_owned()]);
    assert_eq!((text.as_str(), finish.reason), ("one ", FinishReason::Stop));
    assert_eq!(finish.stop.as_deref(), Some("two"));
    let (text, finish) = request(|request| request.max_tokens = Some(5));
    assert_eq!(
        (text.as_str(), finish.reason),
        ("one t", FinishReason::Length)
    );
    assert_eq!(finish.usage.completion_tokens, 5);
    let (text, _) = request(|_| {});
    assert_eq!(text, "one two three");
}

#[test]
fn a_reader_that_leaves_frees_its_place_while_forced_tokens_wait() {
    let stub = StubConfig {
        reply: Reply::Uncertain,
        batch: 4,
        ..StubConfig::default()
    };
    let (session, steps) = gated(stub, EngineConfig::default());
    let long = lark(&format!("start: \"{}\" /[a-z]/", "x".repeat(300)));
    let generation = session.generate(constrained("?", long, 1)).expect("taken");
    steps.send(()).expect("a step");
    drop(generation);
    drop(steps);
    // The engine takes commands in order, so this one is answered after the other is gone.
    let (text, _) = whole(
        session
            .generate(constrained("?", lark("start: \"y\""), 1))
            .expect("taken"),
    );
    assert_eq!(text, "y");
    assert_eq!(session.engine().status().running, 0);
}

#[test]
fn a_long_forced_text_does_not_hold_up_others_for_long() {
    let stub = StubConfig {
        reply: Reply::Uncertain,
        batch: 512,
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let long = lark(&format!("start: \"{}\"", "x".repeat(1000)));
    let (text, _) = whole(session.generate(constrained("?", long, 1)).expect("taken"));
    assert_eq!(text.len(), 1000);
    assert_eq!(steps(&session), 1000_u64.div_ceil(65));
}

#[test]
fn more_forced_tokens_than_the_cache_has_cells_are_an_error_of_their_own() {
    let stub = StubConfig {
        reply: Reply::Uncertain,
        cells: 64,
        ..StubConfig::default()
    };
    let session = session(stub, EngineConfig::default());
    let long = lark(&format!("start: \"{}\"", "x".repeat(300)));
    let (text, finish) = whole(session.generate(constrained("?", long, 1)).expect("taken"));
    assert_eq!(finish.reason, FinishReason::Length);
    assert_eq!(text.len(), 63);
    let (text, _) = whole(session.generate(ask("ab")).expect("taken"));
    assert_eq!(text.len(), 62, "the engine goes on");
}

#[test]
fn gbnf_and_regular_expressions_shape_answers() {
    let gbnf = "root ::= \"[\" item (\", \" item)* \"]\"\nitem ::= [0-9]{1,3} | root";
    for seed in 0..20 {
        let mut request = constrained("?", lark(gbnf), seed);
        request.max_tokens = Some(200);
        let (text, finish) = alone(&request);
        if finish.reason == FinishReason::Stop {
            let depth = text.chars().fold(0_i32, |depth, c| match c {
                '[' => depth + 1,
                ']' => depth - 1,
                _ => depth,
            });
            assert!(depth == 0 && text.starts_with('['), "{text}");
        }
        let regex = Constraint::Regex("[ab]{3}-(x|yz)".to_owned());
        let (text, finish) = alone(&constrained("?", regex, seed));
        assert_eq!(finish.reason, FinishReason::Stop);
        assert!(
            ["x", "yz"].contains(&&text[4..]) && text.as_bytes()[3] == b'-',
            "{text}"
        );
    }
}

/// Prints figures; `cargo test -p shimmy-engine --features stub --release -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn figures_of_constrained_and_free_answers() {
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "required": ["name", "address", "tags", "is_active"],
        "properties": {
            "name": { "type": "string", "maxLength": 20 },
            "address": {
                "type": "object", "additionalProperties": false,
                "required": ["street", "city", "postal_code"],
                "properties": {
                    "street": { "type": "string", "maxLength": 20 },
                    "city": { "enum": ["London", "Paris", "Rome"] },
                    "postal_code": { "type": "string", "pattern": "^[0-9]{5}$" },
                },
            },
            "tags": { "type": "array", "items": { "enum": ["new", "old"] }, "maxItems": 3 },
            "is_active": { "type": "boolean" },
        },
    });
    let run = |constraint: Option<Constraint>, logprobs: Option<u32>| {
        let session = saying(Reply::Uncertain);
        let (mut tokens, begun) = (0, Instant::now());
        for seed in 0..50 {
            let request = GenerateRequest {
                constraint: constraint.clone(),
                sampling: drawn(seed),
                max_tokens: Some(180),
                logprobs,
                ..ask("abc")
            };
            let (_, finish) = whole(session.generate(request).expect("taken"));
            tokens += u64::from(finish.usage.completion_tokens);
        }
        let speed = tokens as f64 / begun.elapsed().as_secs_f64();
        let status = session.engine().status();
        println!(
            "{tokens} tokens, {speed:.0}/s, {} steps, {} forced",
            status.steps, status.tokens_forced
        );
    };
    print!("free: ");
    run(None, None);
    print!("constrained: ");
    run(Some(Constraint::JsonSchema(schema.clone())), None);
    print!("constrained, no forcing (probabilities asked for): ");
    run(Some(Constraint::JsonSchema(schema)), Some(0));
}
