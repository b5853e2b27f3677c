//! `/v1/completions`.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Setup, events, filters, with};

const PATH: &str = "/v1/completions";

fn prompt(prompt: impl Into<Value>) -> Value {
    json!({ "model": "stub", "prompt": prompt.into() })
}

fn texts(answer: &Value) -> Vec<&str> {
    let choices = answer["choices"].as_array().unwrap();
    choices
        .iter()
        .map(|choice| choice["text"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_whole_completion_has_every_required_key() {
    let server = Setup::default().start().await;
    let response = server.post(PATH, &prompt("once")).await;
    let text = response.text().await.unwrap();
    filters().bind(|| assert_snapshot!("completion_whole", text));
}

#[tokio::test]
async fn a_completion_stream_frame_by_frame() {
    let server = Setup::saying("Hi").start().await;
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let stream = server.stream(PATH, &with(prompt("x"), more)).await;
    filters().bind(|| assert_snapshot!("completion_stream", stream));
}

#[tokio::test]
async fn a_prompt_is_read_as_it_stands() {
    // No chat template: the stub repeats what it has read.
    let server = Setup::default().start().await;
    for (prompts, expected) in [
        (json!("abc"), vec!["abc"]),
        (json!(["abc"]), vec!["abc"]),
        (json!(["abc", "de"]), vec!["abc", "de"]),
        (json!([97, 98]), vec!["ab"]),
        (json!([[97], [98, 99]]), vec!["a", "bc"]),
        (json!([97, "bc"]), vec!["abc"]),
    ] {
        let (status, answer) = server.post_json(PATH, &prompt(prompts)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(texts(&answer), expected);
    }
}

#[tokio::test]
async fn choices_of_a_prompt_stand_together_and_each_prompt_is_counted_once() {
    let server = Setup::default().start().await;
    let more = json!({ "n": 2, "best_of": 2 });
    let (_, answer) = server
        .post_json(PATH, &with(prompt(json!(["ab", "cde"])), more.clone()))
        .await;
    assert_eq!(texts(&answer), ["ab", "ab", "cde", "cde"]);
    let indexes: Vec<_> = answer["choices"].as_array().unwrap().iter().collect();
    assert!(indexes.iter().enumerate().all(|(n, c)| c["index"] == n));
    assert_eq!(answer["usage"]["prompt_tokens"], 2 + 3);
    // Each text and its end token.
    assert_eq!(answer["usage"]["completion_tokens"], 3 + 3 + 4 + 4);

    let more = with(
        more,
        json!({ "stream": true, "stream_options": { "include_usage": true } }),
    );
    let stream = server
        .stream(PATH, &with(prompt(json!(["ab", "cde"])), more))
        .await;
    let frames = events(&stream);
    let mut said = vec![String::new(); 4];
    let mut usage = Value::Null;
    for frame in frames.iter().filter(|frame| *frame != "[DONE]") {
        let chunk: Value = serde_json::from_str(frame).unwrap();
        match chunk["choices"].get(0) {
            Some(choice) => {
                let index = choice["index"].as_u64().unwrap() as usize;
                said[index].push_str(choice["text"].as_str().unwrap());
            }
            None => usage = chunk["usage"].clone(),
        }
    }
    assert_eq!(said, ["ab", "ab", "cde", "cde"]);
    assert_eq!(usage["total_tokens"], 5 + 14);
}

#[tokio::test]
async fn many_prompts_take_only_their_share_of_the_engine() {
    let (mut setup, gate) = Setup::gated();
    setup.stub.reply = shimmy_engine::stub::Reply::Echo;
    setup.server.max_choices = 2;
    let server = setup.start().await;
    let prompts = ["a", "bb", "ccc", "dddd", "e"];
    let body = prompt(json!(prompts));
    let asked = server.post_json(PATH, &body);
    let watched = async {
        let mut most = 0;
        let mut asked = std::pin::pin!(asked);
        loop {
            tokio::select! {
                biased;
                answer = &mut asked => return (answer, most),
                () = tokio::task::yield_now() => most = most.max(server.engine().occupied),
            }
        }
    };
    let ((status, answer), most) = gate.step_while(watched).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(texts(&answer), prompts);
    assert_eq!(most, 2);
}

#[tokio::test]
async fn echo_repeats_the_prompt_before_the_answer() {
    let server = Setup::saying("Z").start().await;
    for (prompts, expected) in [(json!("ab"), "abZ"), (json!([97, 98]), "abZ")] {
        let body = with(prompt(prompts), json!({ "echo": true }));
        let (_, answer) = server.post_json(PATH, &body).await;
        assert_eq!(texts(&answer), [expected]);
        let stream = server
            .stream(PATH, &with(body, json!({ "stream": true })))
            .await;
        let said: String = events(&stream)
            .iter()
            .filter_map(|frame| serde_json::from_str::<Value>(frame).ok())
            .map(|chunk| texts(&chunk).concat())
            .collect();
        assert_eq!(said, expected);
    }
    let body = with(prompt("ab"), json!({ "echo": true, "logprobs": 0 }));
    let (status, error) = server.post_json(PATH, &body).await;
    assert_eq!(
        (status, &error["error"]["param"]),
        (400, &json!("logprobs"))
    );
}

#[tokio::test]
async fn a_suffix_needs_a_model_that_fills_gaps() {
    let server = Setup::default().start().await;
    let suffix = json!({ "suffix": "}" });
    let (status, error) = server
        .post_json(PATH, &with(prompt("fn f() {"), suffix.clone()))
        .await;
    assert_eq!((status, &error["error"]["param"]), (400, &json!("suffix")));
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("fill in the middle"), "{message}");
    for prompts in [json!(["a", "b"]), json!([97])] {
        let (status, error) = server
            .post_json(PATH, &with(prompt(prompts), suffix.clone()))
            .await;
        assert_eq!((status, &error["error"]["param"]), (400, &json!("suffix")));
    }
    let (status, _) = server
        .post_json(PATH, &with(prompt("a"), json!({ "suffix": "" })))
        .await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn stop_texts_and_limits_end_a_completion() {
    let server = Setup::saying("one two").start().await;
    let (_, answer) = server
        .post_json(PATH, &with(prompt("x"), json!({ "stop": [" two"] })))
        .await;
    assert_eq!(texts(&answer), ["one"]);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let (_, answer) = server
        .post_json(PATH, &with(prompt("x"), json!({ "max_tokens": 2 })))
        .await;
    assert_eq!(texts(&answer), ["on"]);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn a_completion_that_fails_half_way_says_so_and_is_not_done() {
    let mut setup = Setup::saying("a long answer that is never finished");
    setup.stub.fail_from_step = Some(8);
    let server = setup.start().await;
    let stream = server
        .stream(PATH, &with(prompt("x"), json!({ "stream": true })))
        .await;
    let frames = events(&stream);
    assert!(frames.len() > 1, "some text came first: {stream}");
    let last: Value = serde_json::from_str(frames.last().unwrap()).unwrap();
    assert!(
        last["error"].to_string().contains("told to fail"),
        "{stream}"
    );
    assert!(!stream.contains("[DONE]"), "{stream}");
}
