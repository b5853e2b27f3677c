//! `shimmy probe`: loads a model, computes a token, says whether it works.

use serde_json::json;
use shimmy_chat::Origin;
use shimmy_engine::{Event, GenerateRequest, Prompt, SamplingParams};
use shimmy_server::LoadedModel;

use super::model::{load, start};
use super::{bytes, parameters, print, print_json};
use crate::backend::context_warning;
use crate::cli::ProbeArgs;
use crate::failure::{Failure, USAGE};

pub(super) fn run(args: ProbeArgs) -> Result<(), Failure> {
    let model = load(args.name.as_deref(), args.models, &args.engine)
        .map_err(|failure| failure.with_code(USAGE))?;
    let first_token = first_token(&model).map_err(|failure| failure.with_code(USAGE))?;
    let context = model.session.engine().context();
    let cache_type = args.engine.kv_cache_type.name();
    let info = &model.info;
    let warning = context_warning(context as u64, info.context_length.map(u64::from));
    let load_ms = model.load_time.as_secs_f64() * 1000.0;
    if args.json {
        print_json(&json!({
            "ok": true,
            "model": info,
            "engine": model.engine,
            "placement": model.placement,
            "context": context,
            "warning": warning,
            "kv_cache_type": cache_type,
            "chat_template": format!("{:?}", model.template.origin()),
            "load_ms": load_ms,
            "first_token_ms": first_token,
        }))
    } else {
        let count = info
            .parameter_count
            .map_or_else(|| "?".to_owned(), parameters);
        let quantization = info.quantization.as_deref().unwrap_or("?");
        print(&format!(
            "{}: works\n  {} {count} {quantization}, {}\n  computed by {} on {}\n  \
             context {context} tokens in {cache_type}, {}\n  \
             loaded in {load_ms:.0} ms, first token {first_token:.0} ms later\n",
            model.name,
            info.model_type,
            bytes(info.size_bytes),
            model.engine,
            model.placement,
            template(model.template.origin()),
        ))?;
        warning.map_or(Ok(()), |warning| print(&format!("  warning: {warning}\n")))
    }
}

/// Where a template is from, in words.
fn template(origin: Origin) -> String {
    match origin {
        Origin::Model => "its own chat template".to_owned(),
        Origin::BuiltIn(family) => format!("no chat template of its own: {family} is used"),
    }
}

/// Milliseconds to the first token of an answer.
fn first_token(model: &LoadedModel) -> Result<f64, Failure> {
    let request = GenerateRequest {
        prompt: Prompt::marked("Hello"),
        max_tokens: Some(1),
        sampling: SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        },
        ..GenerateRequest::default()
    };
    let mut generation = start(model, request)?;
    loop {
        match generation.next_blocking() {
            Some(Event::Text { .. }) => {}
            Some(Event::Finished(finish)) => {
                return Ok(finish.timings.prefill.as_secs_f64() * 1000.0);
            }
            Some(Event::Failed(error)) => return Err(error.into()),
            None => return Err(Failure::new("the engine ended without a last word")),
        }
    }
}
