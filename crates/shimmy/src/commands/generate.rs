//! `shimmy generate`: one prompt, one answer.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use serde_json::json;
use shimmy_engine::{Constraint, Event, Finish, GenerateRequest, Generation, Prompt};
use shimmy_server::LoadedModel;

use super::model::{load, start};
use super::{print, print_json};
use crate::cli::GenerateArgs;
use crate::config;
use crate::failure::Failure;

pub(super) fn run(args: GenerateArgs) -> Result<(), Failure> {
    let text = read_prompt(args.prompt.as_deref())?;
    let constraint = args.schema.as_deref().map(read_schema).transpose()?;
    let name = args.name.as_deref().or(args.positional_name.as_deref());
    let model = load(name, args.models, &args.engine)?;

    let prompt = if args.raw {
        Prompt::marked(text)
    } else {
        model.lone_prompt(args.system.as_deref(), &text)?
    };
    let request = GenerateRequest {
        prompt,
        max_tokens: args.max_tokens,
        sampling: config::sampling(&args.sampling, &model.default_sampling),
        stop: args.stop,
        constraint,
        adapters: model.default_adapters.clone(),
        ..GenerateRequest::default()
    };
    let generation = start(&model, request)?;
    if args.json {
        print_whole(&model, generation)
    } else {
        print_stream(generation)
    }
}

fn read_prompt(argument: Option<&str>) -> Result<String, Failure> {
    if let Some(text) = argument.filter(|text| *text != "-") {
        return Ok(text.to_owned());
    }
    if argument.is_none() && std::io::stdin().is_terminal() {
        return Err(
            Failure::usage("there is no prompt").hint("give one with --prompt TEXT, or pipe it in")
        );
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(format!("cannot read the prompt: {error}")))?;
    Ok(text)
}

fn read_schema(path: &Path) -> Result<Constraint, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read the schema {shown}: {error}")))?;
    let schema = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("the schema {shown} is not JSON: {error}")))?;
    Ok(Constraint::JsonSchema(schema))
}

fn print_stream(mut generation: Generation) -> Result<(), Failure> {
    let mut ends_with_newline = true;
    loop {
        match generation.next_blocking() {
            Some(Event::Text { text, .. }) => {
                ends_with_newline = text.ends_with('\n');
                print(&text)?;
            }
            Some(Event::Finished(_)) => break,
            Some(Event::Failed(error)) => return Err(error.into()),
            None => break,
        }
    }
    if !ends_with_newline && std::io::stdout().is_terminal() {
        print("\n")?;
    }
    std::io::stdout().flush()?;
    Ok(())
}

fn print_whole(model: &LoadedModel, mut generation: Generation) -> Result<(), Failure> {
    let mut whole = String::new();
    let finish: Finish = loop {
        match generation.next_blocking() {
            Some(Event::Text { text, .. }) => whole.push_str(&text),
            Some(Event::Finished(finish)) => break finish,
            Some(Event::Failed(error)) => return Err(error.into()),
            None => return Err(Failure::new("the engine ended without a last word")),
        }
    };
    let timings = finish.timings;
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1000.0;
    print_json(&json!({
        "model": model.name,
        "text": whole,
        "finish_reason": finish.reason.as_str(),
        "usage": {
            "prompt_tokens": finish.usage.prompt_tokens,
            "completion_tokens": finish.usage.completion_tokens,
            "total_tokens": finish.usage.prompt_tokens + finish.usage.completion_tokens,
        },
        "timings": {
            "load_ms": ms(model.load_time),
            "prompt_ms": ms(timings.prefill),
            "predicted_ms": ms(timings.decode),
        },
    }))
}
