//! `shimmy bench`: prefill and decode speed, measured by the engine itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::json;
use shimmy_engine::{Event, Finish, GenerateRequest, Prompt, PromptPart, SamplingParams, Token};
use shimmy_server::LoadedModel;

use super::model::{load, start};
use super::{print, print_json, table};
use crate::cli::{BenchArgs, EngineArgs};
use crate::failure::Failure;

/// One line of the result.
struct Measurement {
    test: String,
    /// Tokens per second, one per repetition, sorted.
    rates: Vec<f64>,
}

pub(super) fn run(args: BenchArgs) -> Result<(), Failure> {
    // With fewer places than streams, some would wait for others, and nothing would be measured
    // but that.
    let streams = args.concurrency.iter().copied().max().unwrap_or(1);
    let engine = EngineArgs {
        parallel: args.engine.parallel.max(streams),
        ..args.engine
    };
    let model = load(args.name.as_deref(), args.models, &engine)?;
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
        let rates = repeat(args.repeat, || decode(&model, args.decode, streams))?;
        let test = format!("decode {} × {streams}", args.decode);
        results.push(Measurement { test, rates });
    }
    if args.json {
        as_json(&model, &results)
    } else {
        as_table(&model, &results)
    }
}

fn repeat(times: u32, measure: impl Fn() -> Result<f64, Failure>) -> Result<Vec<f64>, Failure> {
    let mut rates: Vec<f64> = (0..times).map(|_| measure()).collect::<Result<_, _>>()?;
    rates.sort_by(f64::total_cmp);
    Ok(rates)
}

/// Prompt tokens per second, up to the first token of the answer.
fn prefill(model: &LoadedModel, tokens: u32) -> Result<f64, Failure> {
    let answers = answers(model, tokens, 1, 1)?;
    let rates = answers
        .iter()
        .map(|answer| f64::from(tokens) / answer.finish.timings.prefill.as_secs_f64());
    Ok(rates.sum())
}

/// Tokens per second of all streams together, in the time from the first one's first token to the
/// last one's last.
fn decode(model: &LoadedModel, tokens: u32, streams: u32) -> Result<f64, Failure> {
    Ok(decode_rate(&answers(model, 8, tokens, streams)?))
}

/// One time for all, rather than the sum of each one's own rate: streams that run one after another
/// would otherwise count as if they had run together. Every first token came out of a prefill, so
/// only the others count.
fn decode_rate(answers: &[Answer]) -> f64 {
    let tokens: usize = answers
        .iter()
        .map(|answer| (answer.finish.usage.completion_tokens as usize).saturating_sub(1))
        .sum();
    let first = answers.iter().map(Answer::first_token).min();
    let last = answers.iter().map(Answer::end).max();
    let wall = first.zip(last).map_or(0.0, |(first, last)| {
        last.saturating_duration_since(first).as_secs_f64()
    });
    tokens as f64 / wall.max(f64::MIN_POSITIVE)
}

/// A complete answer, and when it was asked for.
struct Answer {
    submitted: Instant,
    finish: Finish,
}

impl Answer {
    /// By the engine's clock: this thread reads one stream after another, and would see the later
    /// ones' events late.
    fn first_token(&self) -> Instant {
        self.submitted + self.finish.timings.queue + self.finish.timings.prefill
    }

    fn end(&self) -> Instant {
        self.first_token() + self.finish.timings.decode
    }
}

/// Each answer is in a scope of its own: what the repetition before it has computed must not be found
/// again.
static SCOPES: AtomicU64 = AtomicU64::new(1);

/// Runs `streams` greedy answers of exactly `tokens` tokens to prompts of `prompt` tokens.
fn answers(
    model: &LoadedModel,
    prompt: u32,
    tokens: u32,
    streams: u32,
) -> Result<Vec<Answer>, Failure> {
    let ask = |stream| {
        let request = GenerateRequest {
            prompt: Prompt {
                parts: vec![PromptPart::Tokens(some_tokens(model, prompt, stream))],
            },
            max_tokens: Some(tokens),
            sampling: SamplingParams {
                temperature: 0.0,
                ..SamplingParams::default()
            },
            ignore_eos: true,
            cache_scope: SCOPES.fetch_add(1, Ordering::Relaxed),
            ..GenerateRequest::default()
        };
        let generation = start(model, request)?;
        Ok((Instant::now(), generation))
    };
    let running: Vec<_> = (0..streams).map(ask).collect::<Result<_, Failure>>()?;
    let mut answers = Vec::new();
    for (submitted, mut generation) in running {
        loop {
            match generation.next_blocking() {
                Some(Event::Text { .. }) => {}
                Some(Event::Finished(finish)) if finish.usage.cached_tokens > 0 => {
                    return Err(Failure::new(
                        "a prompt was found in the cache: nothing to measure",
                    ));
                }
                Some(Event::Finished(finish)) => break answers.push(Answer { submitted, finish }),
                Some(Event::Failed(error)) => return Err(error.into()),
                None => return Err(Failure::new("the engine ended without a last word")),
            }
        }
    }
    Ok(answers)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shimmy_engine::{FinishReason, Timings, Usage};

    use super::*;

    #[test]
    fn streams_one_after_another_do_not_count_as_together() {
        let submitted = Instant::now();
        let answer = |queue| Answer {
            submitted,
            finish: Finish {
                reason: FinishReason::Length,
                stop: None,
                usage: Usage {
                    completion_tokens: 11,
                    ..Usage::default()
                },
                timings: Timings {
                    queue: Duration::from_secs(queue),
                    prefill: Duration::from_secs(1),
                    decode: Duration::from_secs(1),
                },
            },
        };
        assert_eq!(decode_rate(&[answer(0)]), 10.0);
        assert_eq!(decode_rate(&[answer(0), answer(0)]), 20.0);
        // From second 1 to second 4.
        assert_eq!(decode_rate(&[answer(0), answer(2)]), 20.0 / 3.0);
    }
}
