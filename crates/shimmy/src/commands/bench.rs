//! `shimmy bench`: prefill and decode speed, measured by the engine itself.

use serde_json::json;
use shimmy_engine::{Event, Finish, GenerateRequest, Prompt, PromptPart, SamplingParams, Token};
use shimmy_server::LoadedModel;

use super::{load, print, print_json, table};
use crate::cli::BenchArgs;
use crate::failure::Failure;

/// One line of the result.
struct Measurement {
    test: String,
    /// Tokens per second, one per repetition, sorted.
    rates: Vec<f64>,
}

pub(super) fn run(args: BenchArgs) -> Result<(), Failure> {
    let model = load(args.name.as_deref(), args.models, &args.engine)?;
    let mut results = Vec::new();
    // The first step of a context sizes its buffers; it is nobody's speed.
    answers(&model, 16, 2, 1)?;
    for &tokens in &args.prompt {
        let rates = repeat(args.repeat, || prefill(&model, tokens))?;
        results.push(Measurement {
            test: format!("prefill {tokens}"),
            rates,
        });
    }
    for &streams in &args.concurrency {
        let rates = repeat(args.repeat, || decode(&model, args.decode, streams.max(1)))?;
        let test = format!("decode {} × {streams}", args.decode);
        results.push(Measurement { test, rates });
    }
    let outcome = if args.json {
        as_json(&model, &results)
    } else {
        as_table(&model, &results)
    };
    model.session.engine().shutdown();
    outcome
}

fn repeat(times: u32, measure: impl Fn() -> Result<f64, Failure>) -> Result<Vec<f64>, Failure> {
    let mut rates: Vec<f64> = (0..times).map(|_| measure()).collect::<Result<_, _>>()?;
    rates.sort_by(f64::total_cmp);
    Ok(rates)
}

/// Prompt tokens per second, up to the first token of the answer.
fn prefill(model: &LoadedModel, tokens: u32) -> Result<f64, Failure> {
    let finishes = answers(model, tokens, 1, 1)?;
    Ok(finishes
        .iter()
        .map(|f| f64::from(tokens) / f.timings.prefill.as_secs_f64())
        .sum())
}

/// Tokens per second of all streams together, from their first token to their last.
fn decode(model: &LoadedModel, tokens: u32, streams: u32) -> Result<f64, Failure> {
    let finishes = answers(model, 8, tokens, streams)?;
    // Every first token came out of a prefill; the others took the decode time.
    let decoded = f64::from(tokens - 1);
    Ok(finishes
        .iter()
        .map(|f| decoded / f.timings.decode.as_secs_f64())
        .sum())
}

/// Runs `streams` greedy answers of exactly `tokens` tokens to prompts of `prompt` tokens.
fn answers(
    model: &LoadedModel,
    prompt: u32,
    tokens: u32,
    streams: u32,
) -> Result<Vec<Finish>, Failure> {
    let running: Vec<_> = (0..streams)
        .map(|stream| {
            model.session.generate(GenerateRequest {
                prompt: Prompt {
                    parts: vec![PromptPart::Tokens(some_tokens(model, prompt, stream))],
                },
                max_tokens: Some(tokens),
                sampling: SamplingParams {
                    temperature: 0.0,
                    ..SamplingParams::default()
                },
                ignore_eos: true,
                ..GenerateRequest::default()
            })
        })
        .collect::<Result<_, _>>()?;
    let mut finishes = Vec::new();
    for mut generation in running {
        loop {
            match generation.next_blocking() {
                Some(Event::Text { .. }) => {}
                Some(Event::Finished(finish)) => break finishes.push(finish),
                Some(Event::Failed(error)) => return Err(error.into()),
                None => return Err(Failure::new("the engine ended without a last word")),
            }
        }
    }
    Ok(finishes)
}

/// Ordinary tokens, different for each stream so that nothing can be shared.
fn some_tokens(model: &LoadedModel, count: u32, stream: u32) -> Vec<Token> {
    let tokenizer = model.session.tokenizer();
    let vocabulary = tokenizer.vocabulary() as u32;
    let beginning = tokenizer.beginning_of_sequence();
    let ordinary = (0..)
        .map(|n: u32| (n.wrapping_mul(7919).wrapping_add(stream * 101)) % vocabulary)
        .filter(|&token| !tokenizer.is_control(token));
    beginning
        .into_iter()
        .chain(ordinary)
        .take(count as usize)
        .collect()
}

fn median(rates: &[f64]) -> f64 {
    rates[rates.len() / 2]
}

fn as_table(model: &LoadedModel, results: &[Measurement]) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|result| {
            let (min, max) = (result.rates[0], result.rates[result.rates.len() - 1]);
            let cells = [min, median(&result.rates), max].map(|rate| format!("{rate:.1}"));
            [result.test.clone()].into_iter().chain(cells).collect()
        })
        .collect();
    let table = table(&["TEST", "MIN", "MEDIAN", "MAX (tokens/s)"], &rows);
    let load = model.load_time.as_secs_f64() * 1000.0;
    print(&format!(
        "{}, loaded in {load:.0} ms\n\n{table}",
        model.name
    ))
}

fn as_json(model: &LoadedModel, results: &[Measurement]) -> Result<(), Failure> {
    let results: Vec<_> = results
        .iter()
        .map(|result| {
            json!({
                "test": result.test,
                "unit": "tokens/s",
                "min": result.rates[0],
                "median": median(&result.rates),
                "max": result.rates[result.rates.len() - 1],
            })
        })
        .collect();
    print_json(&json!({
        "model": model.info,
        "load_ms": model.load_time.as_secs_f64() * 1000.0,
        "results": results,
    }))
}
