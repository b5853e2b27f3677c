//! What an answer repeats of its request: all keys of the published schema, with the defaults of what
//! was not said.

use serde_json::{Value, json};

use super::{Fields, summary};
use crate::fields::SamplingFields;
use crate::responses::response::{Echo, EchoReasoning, EchoSampling, EchoText};

pub(super) fn echo(fields: Fields, tools: Vec<Value>, sampling: &SamplingFields) -> Echo {
    let text = fields.text.unwrap_or_default();
    let reasoning = fields.reasoning.unwrap_or_default();
    Echo {
        background: false,
        conversation: None,
        instructions: fields.instructions,
        max_output_tokens: fields.max_output_tokens,
        max_tool_calls: fields.max_tool_calls,
        metadata: fields.metadata.unwrap_or_default(),
        parallel_tool_calls: fields.parallel_tool_calls.unwrap_or(true),
        previous_response_id: fields.previous_response_id,
        prompt: None,
        prompt_cache_key: fields.prompt_cache_key,
        reasoning: EchoReasoning {
            summary: summary(&reasoning).cloned(),
            effort: reasoning.effort,
        },
        safety_identifier: fields.safety_identifier,
        service_tier: "default",
        store: fields.store.unwrap_or(true),
        sampling: EchoSampling::of(sampling),
        text: EchoText {
            format: match text.format {
                None | Some(Value::Null) => json!({ "type": "text" }),
                Some(format) => format,
            },
            verbosity: text.verbosity,
        },
        tool_choice: match fields.tool_choice {
            None | Some(Value::Null) => Value::from("auto"),
            Some(choice) => choice,
        },
        tools: tools.into_iter().map(echoed).collect(),
        top_logprobs: fields.top_logprobs.unwrap_or(0),
        truncation: "disabled",
        user: fields.user,
    }
}

/// A tool with the keys that the published schema requires of a function.
fn echoed(mut tool: Value) -> Value {
    if let Some(function) = tool.as_object_mut()
        && function.get("type").is_some_and(|kind| kind == "function")
    {
        for (name, default) in [
            ("description", Value::Null),
            ("parameters", Value::Null),
            ("strict", Value::Bool(false)),
        ] {
            function.entry(name).or_insert(default);
        }
    }
    tool
}
