//! `shimmy generate`: one prompt, one answer.

use std::io::{IsTerminal, Read};
use std::path::Path;

use serde_json::json;
use shimmy_chat::ChatPlan;
use shimmy_engine::{Constraint, Finish, Prompt};
use shimmy_server::LoadedModel;

use super::answer::{self, Answer, Piece, Wishes};
use super::model::load;
use super::print_json;
use super::screen::Screen;
use crate::cli::GenerateArgs;
use crate::config;
use crate::failure::Failure;

pub(super) fn run(args: GenerateArgs) -> Result<(), Failure> {
    // A dash in the name's place is no model: it says where the prompt is.
    let is_dash = args.positional_name.as_deref() == Some("-");
    let prompt = args.prompt.as_deref();
    let text = read_prompt(prompt.or(is_dash.then_some("-")))?;
    let shape = match (&args.schema, &args.grammar) {
        (Some(path), _) => Some(read_schema(path)?),
        (None, Some(path)) => Some(Constraint::Grammar(read("grammar", path)?)),
        (None, None) => None,
    };
    let positional = args.positional_name.as_deref().filter(|_| !is_dash);
    let name = args.name.as_deref().or(positional);
    let model = load(name, args.models, &args.engine)?;

    let wishes = Wishes {
        sampling: config::sampling(&args.sampling, &model.default_sampling),
        max_tokens: args.max_tokens,
        stop: args.stop,
        shape,
        thinking: answer::thinking(args.thinking.think.as_deref()),
    };
    let system = args.system.as_deref();
    let plan = match args.raw {
        true => ChatPlan::of_prompt(Prompt::marked(text), wishes.shape.clone()),
        false => answer::plan_lone(&model, system, &text, &wishes)?,
    };
    let mut screen = Screen::new();
    if let Some(warning) = answer::unheard(&model, &plan.unheard) {
        screen.warn(&warning);
    }
    let answer = Answer::start(&model, plan, wishes)?;
    if args.json {
        print_whole(&model, answer)
    } else {
        print_stream(answer, &mut screen)
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
    read_input()
}

/// All of standard input.
pub(super) fn read_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(format!("cannot read the prompt: {error}")))?;
    Ok(text)
}

fn read(what: &str, path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!(
            "cannot read the {what} {}: {error}",
            path.display()
        ))
        .hint(format!("--{what} takes the name of a file"))
    })
}

fn read_schema(path: &Path) -> Result<Constraint, Failure> {
    let text = read("schema", path)?;
    let schema = serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!(
            "the schema {} is not JSON: {error}",
            path.display()
        ))
        .hint("it is a JSON Schema, such as {\"type\": \"object\"}")
    })?;
    Ok(Constraint::JsonSchema(schema))
}

/// Shows an answer as it comes, thoughts apart from it.
pub(super) fn print_stream(mut answer: Answer, screen: &mut Screen) -> Result<(), Failure> {
    loop {
        match answer.next_blocking()? {
            Piece::Thought(text) => screen.thought(&text),
            Piece::Text(text) => screen.text(&text)?,
            Piece::End(_) => break screen.end(),
        }
    }
}

fn print_whole(model: &LoadedModel, mut answer: Answer) -> Result<(), Failure> {
    let (mut whole, mut thoughts) = (String::new(), String::new());
    let finish: Finish = loop {
        match answer.next_blocking()? {
            Piece::Text(text) => whole.push_str(&text),
            Piece::Thought(text) => thoughts.push_str(&text),
            Piece::End(finish) => break finish,
        }
    };
    let timings = finish.timings;
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1000.0;
    print_json(&json!({
        "model": model.name,
        "text": whole,
        "reasoning": (!thoughts.is_empty()).then_some(thoughts),
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
