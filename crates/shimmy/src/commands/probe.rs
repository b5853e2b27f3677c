//! `shimmy probe`: loads a model, computes a token, or a vector if it only makes those, and says whether
//! it works.

use std::time::Instant;

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
    let sign = sign_of_life(&model).map_err(|failure| failure.with_code(USAGE))?;
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
            "first_token_ms": sign.token_ms(),
            "vector_ms": sign.vector_ms(),
        }))
    } else {
        let count = info
            .parameter_count
            .map_or_else(|| "?".to_owned(), parameters);
        let quantization = info.quantization.as_deref().unwrap_or("?");
        print(&format!(
            "{}: works\n  {} {count} {quantization}, {}\n  computed by {} on {}\n  \
             context {context} tokens{}\n  \
             loaded in {load_ms:.0} ms, {}\n",
            model.name,
            info.model_type,
            bytes(info.size_bytes),
            model.engine,
            model.placement,
            match sign {
                Sign::Token { .. } =>
                    format!(" in {cache_type}, {}", template(model.template.origin())),
                Sign::Vector { .. } => String::new(),
            },
            match sign {
                Sign::Token { ms } => format!("first token {ms:.0} ms later"),
                Sign::Vector { ms, length: 1 } => format!("first score {ms:.0} ms later"),
                Sign::Vector { ms, length } =>
                    format!("first vector, of {length} numbers, {ms:.0} ms later"),
            },
        ))?;
        warning.map_or(Ok(()), |warning| print(&format!("  warning: {warning}\n")))
    }
}

/// What a model has computed, and in how many milliseconds.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// A token of an answer.
    Token { ms: f64 },
    /// The numbers of a text.
    Vector { ms: f64, length: usize },
}

impl Sign {
    fn token_ms(self) -> Option<f64> {
        match self {
            Self::Token { ms } => Some(ms),
            Self::Vector { .. } => None,
        }
    }

    fn vector_ms(self) -> Option<f64> {
        match self {
            Self::Token { .. } => None,
            Self::Vector { ms, .. } => Some(ms),
        }
    }
}

fn sign_of_life(model: &LoadedModel) -> Result<Sign, Failure> {
    if model.session.engine().limits().generates {
        let ms = first_token(model)?;
        return Ok(Sign::Token { ms });
    }
    let begun = Instant::now();
    let texts = model.session.prepare_texts(&[Prompt::marked("Hello")]);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let made = runtime.block_on(model.session.embed(texts.map_err(Failure::new)?, None));
    let length = made
        .map_err(Failure::new)?
        .vectors
        .first()
        .map_or(0, Vec::len);
    let ms = begun.elapsed().as_secs_f64() * 1000.0;
    Ok(Sign::Vector { ms, length })
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
