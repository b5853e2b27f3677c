//! What every chat stream must be, frame by frame.

use serde_json::{Value, json};

/// What a stream said.
#[derive(Debug)]
pub(crate) struct Streamed {
    pub(crate) text: String,
    pub(crate) finish_reason: String,
    /// Where it was asked for.
    pub(crate) usage: Option<Value>,
}

/// Reads one choice's stream, and panics at whatever a strict client would stumble over.
pub(crate) fn strict(stream: &str, asked_for_usage: bool) -> Streamed {
    let mut frames = frames(stream);
    assert_eq!(frames.pop(), Some("[DONE]"), "{stream}");
    let mut chunks: Vec<Value> = frames
        .iter()
        .map(|frame| serde_json::from_str(frame).unwrap())
        .collect();
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        for key in ["id", "created", "model"] {
            assert_eq!(chunk[key], chunks[0][key], "{chunk}");
        }
    }
    let usage = asked_for_usage.then(|| usage(chunks.pop().unwrap()));
    for chunk in &chunks {
        let expected = asked_for_usage.then_some(&Value::Null);
        assert_eq!(chunk.get("usage"), expected, "{chunk}");
    }
    let (text, finish_reason) = choice(&chunks);
    Streamed {
        text,
        finish_reason,
        usage,
    }
}

/// The data of the events; between them only comments.
fn frames(stream: &str) -> Vec<&str> {
    let body = stream.strip_suffix("\n\n").expect("ends with an event");
    body.split("\n\n")
        .filter(|event| !event.starts_with(':'))
        .map(|event| {
            assert!(!event.contains('\n'), "one line an event: {event:?}");
            event.strip_prefix("data: ").expect(event)
        })
        .collect()
}

fn usage(mut chunk: Value) -> Value {
    assert_eq!(chunk["choices"], json!([]), "{chunk}");
    let usage = chunk["usage"].take();
    let count = |name| usage[name].as_u64().unwrap();
    let sum = count("prompt_tokens") + count("completion_tokens");
    assert_eq!(sum, count("total_tokens"));
    usage
}

/// The text and the finish reason of the one choice.
fn choice(chunks: &[Value]) -> (String, String) {
    let mut text = String::new();
    let mut finish_reason = String::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let [choice] = chunk["choices"].as_array().unwrap().as_slice() else {
            panic!("not one choice: {chunk}");
        };
        assert_eq!(choice["index"], 0);
        let delta = &choice["delta"];
        if index == 0 {
            assert_eq!(delta, &json!({ "role": "assistant", "content": "" }));
        } else {
            assert!(delta.get("role").is_none(), "{chunk}");
        }
        if index + 1 == chunks.len() {
            assert_eq!(delta, &json!({}), "{chunk}");
            choice["finish_reason"]
                .as_str()
                .unwrap()
                .clone_into(&mut finish_reason);
        } else {
            assert_eq!(choice.get("finish_reason"), Some(&Value::Null), "{chunk}");
            text.push_str(delta["content"].as_str().unwrap());
        }
    }
    (text, finish_reason)
}
