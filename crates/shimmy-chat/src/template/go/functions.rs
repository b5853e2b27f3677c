//! What Go does by itself and Jinja does not, for templates that were written in Go.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, State, Value, context};

use super::super::json;

/// Adds these functions.
pub(in super::super) fn add_to(environment: &mut Environment<'_>) {
    environment.add_function("go_text", text);
    environment.add_function("go_json", json);
    environment.add_function("go_range", range);
    environment.add_function("go_system", system);
    environment.add_function("go_turns", turns);
}

/// A value as `{{ . }}` writes it. Ollama's own types write themselves as JSON.
fn text(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(Value::from("")),
        // Jinja's are Python's.
        ValueKind::Bool => Ok(Value::from(value.is_true().to_string())),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => json(state, value),
        _ => Ok(value.clone()),
    }
}

fn json(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    json::compact(state, value).map(Value::from)
}

/// The pairs that `range` goes through: of a list indices and items, of an object keys and values.
fn range(state: &State<'_, '_>, value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => return Ok(Vec::new()),
        // An empty text stands for a list that there is none of.
        ValueKind::String if value.len() == Some(0) => return Ok(Vec::new()),
        _ => {}
    }
    let is_map = value.kind() == ValueKind::Map;
    let mut pairs = Vec::new();
    for (index, item) in value.try_iter()?.enumerate() {
        state.consume_fuel(1)?;
        pairs.push(match is_map {
            true => (item.clone(), value.get_item(&item)?),
            false => (Value::from(index), item),
        });
    }
    Ok(pairs)
}

/// The texts of all system messages.
fn system(state: &State<'_, '_>, messages: &Value) -> Result<Value, Error> {
    let mut system = String::new();
    for (role, content) in spoken(state, messages)? {
        if role == "system" {
            add(&mut system, &content);
        }
    }
    Ok(Value::from(system))
}

/// A conversation in turns of a system's text, a prompt and an answer; the last one is the one to
/// be answered.
fn turns(state: &State<'_, '_>, messages: &Value) -> Result<Vec<Value>, Error> {
    let mut turns = Vec::new();
    let (mut system, mut prompt, mut response) = (String::new(), String::new(), String::new());
    for (role, content) in spoken(state, messages)? {
        let is_over = match role.as_str() {
            "system" => !prompt.is_empty() || !response.is_empty(),
            "assistant" => false,
            _ => !response.is_empty(),
        };
        if is_over {
            turns.push(context! { system, prompt, response });
            (system, prompt, response) = Default::default();
        }
        match role.as_str() {
            "system" => add(&mut system, &content),
            "assistant" => add(&mut response, &content),
            // What tools say is said to the model, too.
            _ => add(&mut prompt, &content),
        }
    }
    turns.push(context! { system, prompt, response });
    Ok(turns)
}

/// Who says what.
fn spoken(state: &State<'_, '_>, messages: &Value) -> Result<Vec<(String, String)>, Error> {
    let mut spoken = Vec::new();
    for message in messages.try_iter()? {
        let text = |key: &str| {
            let value = message.get_attr(key)?;
            Ok::<_, Error>(value.as_str().unwrap_or_default().to_owned())
        };
        let (role, content) = (text("role")?, text("content")?);
        state.consume_fuel((content.len() as u64).div_ceil(64) + 1)?;
        spoken.push((role, content));
    }
    Ok(spoken)
}

fn add(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(more);
}
