//! How long a conversation of 100 messages with 20 tools takes: template, plan and the reading of
//! an answer. `cargo run --release -p shimmy-chat --example conversation`.

#![expect(clippy::print_stdout, reason = "the measurements are the output")]

use std::time::{Duration, Instant};

use serde_json::{Map, json};
use shimmy_chat::{
    ChatRequest, ChatTemplate, Message, TemplateError, TemplateVocabulary, Thinking, Tool,
    ToolChoice,
};
use shimmy_engine::stub::StubTokenizer;

const ROUNDS: u32 = 50;

fn main() -> Result<(), TemplateError> {
    let vocabulary = TemplateVocabulary {
        specials: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
            .map(str::to_owned)
            .to_vec(),
        ..TemplateVocabulary::default()
    };
    let source = include_str!("../tests/it/reference/tools.jinja");
    let template = ChatTemplate::new(Some(source), vocabulary)?;
    let (messages, tools) = (messages(), tools());
    let answer = answer();
    for (what, choice) in [
        ("auto", ToolChoice::Auto),
        ("required", ToolChoice::Required),
    ] {
        let request = ChatRequest {
            messages: &messages,
            tools: &tools,
            tool_choice: &choice,
            parallel_calls: true,
            thinking: &Thinking::default(),
            shape: None,
            add_generation_prompt: true,
            kwargs: &Map::new(),
        };
        let (mut planning, mut reading) = (Duration::ZERO, Duration::ZERO);
        let mut bytes = 0;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let plan = template.plan(&request, &StubTokenizer::default())?;
            planning += start.elapsed();
            bytes = plan.prompt.text().len();
            let start = Instant::now();
            let mut parser = plan.format.parser();
            let mut deltas = Vec::new();
            answer
                .iter()
                .for_each(|piece| parser.push(piece, &mut deltas));
            parser.finish(&mut deltas);
            reading += start.elapsed();
        }
        let mean = |total: Duration| (total / ROUNDS).as_secs_f64() * 1000.0;
        println!(
            "{what}: {} messages, {} tools, prompt of {bytes} bytes: plan {:.2} ms, answer of {} \
             bytes {:.2} ms",
            messages.len(),
            tools.len(),
            mean(planning),
            answer.concat().len(),
            mean(reading),
        );
    }
    Ok(())
}

/// Questions, calls, results and answers, in turn.
fn messages() -> Vec<Message> {
    let text = "What a coding agent says is some hundred letters of prose and code, <b>or so</b>. ";
    (0..25)
        .flat_map(|turn| {
            let call = json!([{ "id": format!("call_{turn}"), "type": "function", "function": {
                "name": "tool_3", "arguments": json!({ "path": format!("src/{turn}.rs") }).to_string(),
            } }]);
            [
                Message::new("user", text.repeat(3)),
                Message { tool_calls: Some(call), ..Message::new("assistant", "") },
                Message {
                    tool_call_id: Some(json!(format!("call_{turn}"))),
                    ..Message::new("tool", text.repeat(10))
                },
                Message::new("assistant", text.repeat(2)),
            ]
        })
        .collect()
}

fn tools() -> Vec<Tool> {
    let text = "What the tool is for and when to use it, in some words. ";
    (0..20)
        .map(|index| Tool {
            name: format!("tool_{index}"),
            description: Some(text.repeat(4)),
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": { "type": "string", "description": text },
                    "line": { "type": "integer", "description": text },
                    "edits": { "type": "array", "items": { "type": "object", "properties": {
                        "old": { "type": "string" }, "new": { "type": "string" },
                    } } },
                },
                "required": ["path"],
            }),
            strict: false,
        })
        .collect()
}

/// Some text and a long call, in pieces as tokens are.
fn answer() -> Vec<String> {
    let text = format!(
        "Let me write it.\n<tool_call>\n{{\"name\": \"tool_3\", \"arguments\": {{\"path\": {}}}}}\n</tool_call>",
        json!("fn main() {}\n".repeat(300))
    );
    let letters: Vec<char> = text.chars().collect();
    letters
        .chunks(4)
        .map(|piece| piece.iter().collect())
        .collect()
}
