//! Measures what a start and a token cost: `measure MODEL.gguf [PROMPT] [TOKENS] [THREADS]`.
//!
//! To compare with `llama-bench -p 512 -n 128 -t 2`: `measure MODEL.gguf 512 128 2`.
#![expect(clippy::print_stdout, reason = "the measurements are the output")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use shimmy_engine::{Batch, Row, Runner, SequenceId};
use shimmy_llama::{ContextOptions, LlamaRunner, LoadOptions, Model, RunnerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: measure MODEL.gguf [PROMPT] [TOKENS] [THREADS]")?;
    let prompt: u32 = arguments.next().map_or(Ok(512), |text| text.parse())?;
    let tokens: u32 = arguments.next().map_or(Ok(128), |text| text.parse())?;
    let threads = arguments.next().map(|text| text.parse()).transpose()?;

    let start = Instant::now();
    let model = Model::load(Path::new(&path), &LoadOptions::default())?;
    report("model", start.elapsed(), None);

    let start = Instant::now();
    let context = ContextOptions {
        threads,
        ..ContextOptions::default()
    };
    let mut runner = LlamaRunner::new(
        model,
        RunnerOptions {
            context,
            ..RunnerOptions::default()
        },
    )?;
    report("context", start.elapsed(), None);

    let start = Instant::now();
    decode(&mut runner, 0, 1)?;
    report("first decode", start.elapsed(), None);
    runner.truncate(SequenceId(0), 0);

    let start = Instant::now();
    let step = runner.limits().batch as u32;
    for first in (0..prompt).step_by(step as usize) {
        decode(&mut runner, first, step.min(prompt - first))?;
    }
    report("prompt", start.elapsed(), Some(prompt));
    runner.truncate(SequenceId(0), 0);

    let start = Instant::now();
    for position in 0..tokens {
        decode(&mut runner, position, 1)?;
    }
    report("tokens", start.elapsed(), Some(tokens));
    Ok(())
}

/// Computes `count` rows of one sequence from position `first` on, the last with output.
fn decode(runner: &mut LlamaRunner, first: u32, count: u32) -> Result<(), Box<dyn Error>> {
    let mut batch = Batch::default();
    for position in first..first + count {
        // Any token does; varied ones keep the caches honest.
        let token = (position * 7919) % runner.limits().vocabulary as u32;
        let output = position + 1 == first + count;
        batch.push(Row {
            token,
            position,
            sequence: SequenceId(0),
            output,
        });
    }
    runner.decode(&batch)?;
    Ok(())
}

fn report(what: &str, took: Duration, count: Option<u32>) {
    let rate = count.map(|n| format!("  {:8.1} per second", f64::from(n) / took.as_secs_f64()));
    println!(
        "{what:>12}: {:9.3} ms{}",
        took.as_secs_f64() * 1e3,
        rate.unwrap_or_default()
    );
}
