//! The crate's promises, seen from outside. One binary, one module per promise.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic as the tests themselves do"
)]

mod builtin;
mod limits;
mod literal;
mod reference;
mod roles;

use serde_json::{Map, Value};
use shimmy_chat::{ChatTemplate, Message, RenderRequest, TemplateError, TemplateVocabulary};
use shimmy_engine::Prompt;

/// 2 November 2026, 09:05:07, as in `reference/generate.py`.
fn clock() -> jiff::Zoned {
    jiff::civil::datetime(2026, 11, 2, 9, 5, 7, 0)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .unwrap()
}

fn vocabulary(specials: &[&str]) -> TemplateVocabulary {
    TemplateVocabulary {
        bos: Some("<s>".to_owned()),
        eos: Some("</s>".to_owned()),
        specials: specials.iter().map(|&text| text.to_owned()).collect(),
    }
}

fn template(source: &str, specials: &[&str]) -> ChatTemplate {
    ChatTemplate::with_clock(Some(source), vocabulary(specials), clock).unwrap()
}

fn chat(messages: &[(&str, &str)]) -> Vec<Message> {
    messages
        .iter()
        .map(|&(role, content)| Message::new(role, content))
        .collect()
}

/// With a generation prompt and nothing special.
fn render(template: &ChatTemplate, messages: &[Message]) -> Result<Prompt, TemplateError> {
    render_with(template, messages, &Map::new())
}

fn render_with(
    template: &ChatTemplate,
    messages: &[Message],
    kwargs: &Map<String, Value>,
) -> Result<Prompt, TemplateError> {
    template.render(&RenderRequest {
        messages,
        add_generation_prompt: true,
        tools: None,
        kwargs,
    })
}

fn text(template: &ChatTemplate, messages: &[(&str, &str)]) -> String {
    render(template, &chat(messages)).unwrap().text()
}
