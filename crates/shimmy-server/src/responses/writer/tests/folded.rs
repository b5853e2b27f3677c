//! A client that makes items of events, and panics where a strict one would stumble.

use serde_json::{Value, json};

/// The items that a client makes of these events, and panics where it would stumble.
pub(super) fn folded(events: &[Value]) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
        let Some(index) = event.get("output_index") else {
            assert!(event["response"]["id"].is_string(), "{event}");
            continue;
        };
        let index = index.as_u64().unwrap() as usize;
        if event["type"] == "response.output_item.added" {
            assert_eq!(
                (index, &event["item"]["status"]),
                (items.len(), &json!("in_progress"))
            );
            items.push(event["item"].clone());
            continue;
        }
        assert_eq!(
            index + 1,
            items.len(),
            "an item that has ended is left alone: {event}"
        );
        let item = &mut items[index];
        if event["type"] == "response.output_item.done" {
            for name in ["id", "call_id", "name", "type"] {
                assert_eq!(item[name], event["item"][name]);
            }
            for field in ["arguments", "input"] {
                assert_eq!(
                    item[field], event["item"][field],
                    "the deltas are the whole"
                );
            }
            for (name, index) in [("content", 0), ("summary", 0)] {
                assert_eq!(
                    item[name][index]["text"],
                    event["item"][name][index]["text"]
                );
            }
            *item = event["item"].clone();
            continue;
        }
        assert_eq!(event["item_id"], item["id"], "{event}");
        let kind = event["type"].as_str().unwrap();
        let parts = if kind.contains("summary") {
            assert_eq!(event["summary_index"], 0);
            "summary"
        } else {
            "content"
        };
        if kind.ends_with("part.added") {
            item[parts] = json!([event["part"]]);
        } else if kind.ends_with(".delta") {
            let place = match kind {
                "response.function_call_arguments.delta" => &mut item["arguments"],
                "response.custom_tool_call_input.delta" => &mut item["input"],
                _ => &mut item[parts][0]["text"],
            };
            let whole = place.as_str().unwrap().to_owned() + event["delta"].as_str().unwrap();
            *place = json!(whole);
        }
        if kind.contains("output_text") {
            assert_eq!(
                (&event["content_index"], &event["logprobs"]),
                (&json!(0), &json!([]))
            );
        }
    }
    items
}

/// What differs from call to call is hidden; each kind has ids of its own.
pub(super) fn without_ids(items: &[Value]) -> Vec<Value> {
    let mut items = items.to_vec();
    for item in &mut items {
        let prefix = match item["type"].as_str().unwrap() {
            "message" => "msg_",
            "reasoning" => "rs_",
            "function_call" => "fc_",
            _ => "ctc_",
        };
        assert!(item["id"].as_str().unwrap().starts_with(prefix), "{item}");
        item.as_object_mut().unwrap().remove("id");
        let call_id = item.as_object_mut().unwrap().remove("call_id");
        assert!(call_id.is_none_or(|id| id.as_str().unwrap().starts_with("call_")));
    }
    items
}
