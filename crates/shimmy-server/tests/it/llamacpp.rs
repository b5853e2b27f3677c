//! llama-server's own routes.

use insta::assert_snapshot;
use serde_json::{Value, json};
use shimmy_engine::EngineConfig;

use crate::support::{Setup, events, filters, with};

const PATH: &str = "/completion";

fn prompt(text: &str) -> Value {
    json!({ "prompt": text })
}

#[tokio::test]
async fn a_whole_completion() {
    let server = Setup::default().start().await;
    for path in [PATH, "/completions"] {
        let more = json!({ "n_predict": -1, "cache_prompt": true, "stop": ["</s>"] });
        let response = server.post(path, &with(prompt("once\n"), more)).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("x-shimmy-ignored"));
        let text = response.text().await.unwrap();
        filters().bind(|| assert_snapshot!("llamacpp_whole", text));
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_last_object() {
    let server = Setup::saying("Hi").start().await;
    let stream = server
        .stream(PATH, &with(prompt("x"), json!({ "stream": true })))
        .await;
    filters().bind(|| assert_snapshot!("llamacpp_stream", stream));
}

#[tokio::test]
async fn every_end_is_told_by_its_kind() {
    let server = Setup::saying("one two").start().await;
    for (more, kind, word, content) in [
        (json!({}), "eos", "", "one two"),
        (json!({ "stop": [" t"] }), "word", " t", "one"),
        (json!({ "n_predict": 2 }), "limit", "", "on"),
        (json!({ "max_tokens": 2 }), "limit", "", "on"),
    ] {
        let (_, answer) = server.post_json(PATH, &with(prompt("x"), more)).await;
        assert_eq!(answer["stop_type"], kind, "{answer}");
        assert_eq!(answer["stopping_word"], word);
        assert_eq!(answer["content"], content);
    }
}

#[tokio::test]
async fn several_prompts_are_a_list_of_answers() {
    let server = Setup::default().start().await;
    let body = json!({ "prompt": ["ab", [99, "d"]], "n_cmpl": 2 });
    let (_, answers) = server.post_json(PATH, &body).await;
    let told: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| {
            (
                answer["index"].as_u64().unwrap(),
                &answer["prompt"],
                &answer["content"],
            )
        })
        .collect();
    let (ab, cd) = (json!("ab"), json!("cd"));
    assert_eq!(
        told,
        [(0, &ab, &ab), (1, &ab, &ab), (2, &cd, &cd), (3, &cd, &cd)]
    );
}

#[tokio::test]
async fn an_editor_warms_the_cache_up_and_gets_no_text() {
    let server = Setup::saying("text").start().await;
    let more = json!({ "n_predict": 0, "return_tokens": true, "samplers": [] });
    for stream in [false, true] {
        let body = with(
            prompt("abc"),
            with(more.clone(), json!({ "stream": stream })),
        );
        let text = server.post(PATH, &body).await.text().await.unwrap();
        let answer: Value = if stream {
            let frames = events(&text);
            assert_eq!(frames.len(), 1, "{text}");
            serde_json::from_str(&frames[0]).unwrap()
        } else {
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(answer["content"], "");
        assert_eq!(answer["tokens"], json!([]));
        assert_eq!(answer["tokens_evaluated"], 3);
        assert_eq!(answer["tokens_predicted"], 0);
        assert_eq!(answer["timings"]["predicted_n"], 0);
        assert_eq!(answer["generation_settings"]["n_predict"], 0);
    }
}

#[tokio::test]
async fn every_piece_counts_the_tokens_of_its_choice() {
    let server = Setup::default().start().await;
    let body = json!({ "prompt": ["ab", "wxyz"], "stream": true, "n_predict": 9 });
    let stream = server.stream(PATH, &body).await;
    let mut texts = [String::new(), String::new()];
    for event in events(&stream) {
        let piece: Value = serde_json::from_str(&event).unwrap();
        let index = piece["index"].as_u64().unwrap() as usize;
        texts[index].push_str(piece["content"].as_str().unwrap());
        // A token is a byte here; the last object counts the end of the answer too.
        let end = usize::from(piece["stop"] == true);
        assert_eq!(
            piece["tokens_predicted"],
            texts[index].len() + end,
            "{piece}"
        );
        assert_eq!(piece["tokens_evaluated"], [2, 4][index], "{piece}");
        assert_eq!(piece["id_slot"], -1);
    }
    assert_eq!(texts, ["ab", "wxyz"]);
}

#[tokio::test]
async fn a_complaint_about_the_choices_names_the_field_that_was_sent() {
    let server = Setup::default().start().await;
    for field in ["n", "n_cmpl"] {
        let body = with(prompt("x"), json!({ field: 9 }));
        let (status, error) = server.post_json(PATH, &body).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert!(
            status == 400 && message.starts_with(&format!("`{field}`")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn only_the_fields_that_are_wanted() {
    let server = Setup::default().start().await;
    let more = json!({ "response_fields": ["content", "timings/prompt_n", "truncated", "none"] });
    let (_, answer) = server.post_json(PATH, &with(prompt("abc"), more)).await;
    assert_eq!(
        answer,
        json!({ "content": "abc", "prompt_n": 3, "truncated": false })
    );
}

#[tokio::test]
async fn a_schema_constrains_and_a_broken_one_is_named() {
    // The stub wants to say something else: only the constraint makes this an object.
    let server = Setup::saying("{no").start().await;
    let schema = json!({ "type": "object", "properties": { "a": { "const": 1 } },
        "required": ["a"], "additionalProperties": false });
    let (_, answer) = server
        .post_json(PATH, &with(prompt("x"), json!({ "json_schema": schema })))
        .await;
    let content = answer["content"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(content).unwrap(),
        json!({ "a": 1 })
    );
    for schema in [json!({ "type": "nonsense" }), json!("json")] {
        let (status, error) = server
            .post_json(PATH, &with(prompt("x"), json!({ "json_schema": schema })))
            .await;
        let message = error["error"]["message"].as_str().unwrap();
        assert!(
            status == 400 && message.starts_with("`json_schema`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn biases_of_ids_texts_and_bans() {
    let server = Setup::saying("abc").start().await;
    for biases in [
        json!([[97, -100]]),
        json!([[97, false]]),
        json!([["a", false]]),
        json!({ "97": false }),
        json!({ "97": -100 }),
    ] {
        let more = json!({ "logit_bias": biases, "n_predict": 1 });
        let (status, answer) = server.post_json(PATH, &with(prompt("x"), more)).await;
        assert_eq!(status, 200, "{answer}");
        assert_ne!(answer["content"], "a", "{biases}");
    }
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_and_habits_are_named() {
    let server = Setup::default().start().await;
    for (field, value) in [
        ("post_sampling_probs", json!(true)),
        ("mirostat", json!(2)),
        ("grammar", json!("root ::= missing")),
        ("grammar", json!("start: ((((")),
        ("json_schema", json!({ "$ref": "#" })),
    ] {
        let body = with(prompt("x"), json!({ field: value }));
        let (status, error) = server.post_json(PATH, &body).await;
        let message = error["error"]["message"].as_str().unwrap();
        let named = message.starts_with(&format!("`{field}`"));
        assert!(status == 400 && named, "{error}");
    }
    let media = json!({ "prompt": { "prompt_string": "x", "multimodal_data": ["aGk="] } });
    let (status, error) = server.post_json(PATH, &media).await;
    assert_eq!(status, 400, "{error}");
    let habits = json!({ "id_slot": -1, "samplers": ["top_k"], "cache_prompt": false,
        "mirostat": 0, "dry_multiplier": 0.0, "n_keep": 0, "min_keep": 0 });
    let response = server.post(PATH, &with(prompt("x"), habits)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["x-shimmy-ignored"],
        "id_slot, n_keep, samplers, cache_prompt"
    );
}

#[tokio::test]
async fn a_grammar_is_gbnf_or_lark() {
    let server = Setup::saying("no").start().await;
    for grammar in [
        "root ::= \"yes\" | \"y\" root2\nroot2 ::= [e]{2}",
        "start: \"yes\" | \"yee\"",
    ] {
        let body = with(prompt("x"), json!({ "grammar": grammar }));
        let (status, answer) = server.post_json(PATH, &body).await;
        assert_eq!(status, 200, "{answer}");
        let text = answer["content"].as_str().unwrap();
        assert!(["yes", "yee"].contains(&text), "{text}");
    }
    let schema = json!({ "json_schema": { "enum": ["no!"] } });
    let (_, answer) = server.post_json(PATH, &with(prompt("x"), schema)).await;
    assert_eq!(answer["content"], "\"no!\"");
}

#[tokio::test]
async fn a_gap_needs_a_model_that_fills_gaps() {
    let server = Setup::default().start().await;
    let gap = json!({ "input_prefix": "fn f() {", "input_suffix": "}", "prompt": "",
        "input_extra": [{ "filename": "a.rs", "text": "struct A;" }], "n_predict": 8 });
    let (status, error) = server.post_json("/infill", &gap).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!(400)));
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("fill in the middle"), "{message}");
    let (status, error) = server
        .post_json("/infill", &json!({ "input_prefix": "x" }))
        .await;
    let message = error["error"]["message"].as_str().unwrap();
    assert!(status == 400 && message.contains("input_suffix"), "{error}");
}

#[tokio::test]
async fn tokens_and_texts_there_and_back() {
    let server = Setup::default().start().await;
    for (body, tokens) in [
        (json!({ "content": "ab" }), json!([97, 98])),
        (json!({ "content": "" }), json!([])),
        (json!({ "content": [] }), json!([])),
        (json!({ "content": ["ab"] }), json!([97, 98])),
        (json!({ "content": [97, "b"] }), json!([97, 98])),
        (json!({ "content": "<|im_end|>" }), json!([258])),
        // The stub's model wants no token before a text.
        (json!({ "content": "a", "add_special": true }), json!([97])),
        (
            json!({ "content": "é", "with_pieces": true }),
            json!([{ "id": 0xC3, "piece": [0xC3] }, { "id": 0xA9, "piece": [0xA9] }]),
        ),
        (
            json!({ "content": "a<|im_end|>", "with_pieces": true }),
            json!([{ "id": 97, "piece": "a" }, { "id": 258, "piece": "<|im_end|>" }]),
        ),
    ] {
        let (status, answer) = server.post_json("/tokenize", &body).await;
        assert_eq!((status, &answer["tokens"]), (200, &tokens), "{body}");
    }
    let literal = json!({ "content": "<|im_end|>", "parse_special": false });
    let (_, answer) = server.post_json("/tokenize", &literal).await;
    assert_eq!(answer["tokens"].as_array().unwrap().len(), 10);

    let long = "aé".repeat(20_000);
    let (_, tokens) = server
        .post_json("/tokenize", &json!({ "content": long }))
        .await;
    let (_, text) = server.post_json("/detokenize", &tokens).await;
    assert_eq!(text, json!({ "content": long }));
    let (_, text) = server
        .post_json("/detokenize", &json!({ "tokens": [97, 258] }))
        .await;
    assert_eq!(text["content"], "a<|im_end|>");
}

#[tokio::test]
async fn a_conversation_is_rendered_and_nothing_is_computed() {
    let server = Setup::default().start().await;
    let body = json!({ "messages": [{ "role": "user", "content": "<|im_end|>" }] });
    let (_, answer) = server.post_json("/apply-template", &body).await;
    assert_eq!(
        answer["prompt"],
        "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n"
    );
    let (status, error) = server
        .post_json("/apply-template", &json!({ "messages": [] }))
        .await;
    assert_eq!(
        (status, &error["error"]["type"]),
        (400, &json!("invalid_request_error"))
    );
}

#[tokio::test]
async fn props_name_the_model_and_no_folder() {
    let server = Setup::default().start().await;
    let text = server.get("/props").await.text().await.unwrap();
    filters().bind(|| assert_snapshot!("llamacpp_props", text));
    let (status, error) = server.get_json("/props?model=nobody").await;
    assert_eq!(
        (status, &error["error"]["type"]),
        (404, &json!("not_found_error"))
    );
}

#[tokio::test]
async fn slots_tell_how_many_requests_are_computed() {
    let (mut setup, gate) = Setup::gated();
    // The others of the stub's sequences are for prefixes of requests that have ended.
    setup.engine.parallel = Some(2);
    let server = setup.start().await;
    let (_, props) = server.get_json("/props").await;
    assert_eq!(props["total_slots"], 2);
    let busy = async || {
        let (_, slots) = server.get_json("/slots").await;
        let slots = slots.as_array().unwrap();
        assert_eq!(slots.len(), 2);
        slots
            .iter()
            .filter(|slot| slot["is_processing"] == true)
            .count()
    };
    assert_eq!(busy().await, 0);
    assert_eq!(server.get("/slots?fail_on_no_slot=1").await.status(), 200);
    let stream = json!({ "prompt": ["a", "b"], "stream": true });
    let running = server.post(PATH, &stream).await;
    gate.step_until(|| server.engine().running == 2).await;
    assert_eq!(busy().await, 2);
    let full = server.get("/slots?fail_on_no_slot=1").await;
    assert_eq!(full.status(), 503);
    let error: Value = full.json().await.unwrap();
    assert_eq!(error["error"]["type"], "unavailable_error");
    let (_, others) = server.get_json("/slots?model=other").await;
    assert_eq!(others, json!([]));
    drop(running);
    gate.step_until(|| server.engine().occupied == 0).await;
}

#[tokio::test]
async fn errors_have_a_number_a_text_and_a_kind() {
    let setup = Setup {
        engine: EngineConfig {
            context: Some(64),
            ..EngineConfig::default()
        },
        ..Setup::default()
    };
    let server = setup.start().await;
    let (status, error) = server.post_json(PATH, &prompt(&"x".repeat(100))).await;
    let error = &error["error"];
    assert_eq!((status, &error["code"]), (400, &json!(400)));
    assert_eq!(error["type"], "exceed_context_size_error");
    assert_eq!(
        (&error["n_prompt_tokens"], &error["n_ctx"]),
        (&json!(100), &json!(64))
    );
    let (status, error) = server.get_json(PATH).await;
    assert_eq!((status, &error["error"]["code"]), (405, &json!(405)));
    let body = json!({ "prompt": "x", "model": "nobody" });
    let (status, error) = server.post_json(PATH, &body).await;
    let kind = &error["error"]["type"];
    assert_eq!((status, kind), (404, &json!("not_found_error")));
    assert_eq!(server.get("/v1/health").await.status(), 200);
}

#[tokio::test]
async fn a_stream_that_fails_says_so_in_its_own_words() {
    let mut setup = Setup::saying("a long answer that is never finished");
    setup.stub.fail_from_step = Some(8);
    let server = setup.start().await;
    let stream = server
        .stream(PATH, &with(prompt("x"), json!({ "stream": true })))
        .await;
    let frames = events(&stream);
    let last: Value = serde_json::from_str(frames.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], 502, "{stream}");
    assert!(!stream.contains(r#""stop":true"#), "{stream}");
}

#[tokio::test]
async fn a_text_that_fills_many_contexts_is_no_work() {
    let server = Setup::default().start().await;
    let body = json!({ "content": "\n".repeat(10_000_000) });
    let (status, error) = server.post_json("/tokenize", &body).await;
    assert_eq!(status, 400, "{error}");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("tokens"), "{error}");
    // Somewhat more than a context is what people want to count.
    let body = json!({ "content": "x".repeat(10_000) });
    let (status, answer) = server.post_json("/tokenize", &body).await;
    assert_eq!(
        (status, answer["tokens"].as_array().unwrap().len()),
        (200, 10_000)
    );
}
