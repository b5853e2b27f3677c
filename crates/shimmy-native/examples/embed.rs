//! Measures how encoders read texts: `embed MODEL.gguf [TEXTS] [LENGTH] [THREADS]`.
#![expect(clippy::print_stdout, reason = "the measurements are the output")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use shimmy_engine::{Runner, Token};
use shimmy_native::{NativeRunner, Options, RunnerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, rest @ ..] = &arguments[..] else {
        return Err("usage: embed MODEL.gguf [TEXTS] [LENGTH] [THREADS]".into());
    };
    let number = |index: usize| rest.get(index).map(|text| text.parse::<usize>());
    let texts = number(0).transpose()?.unwrap_or(1);
    let length = number(1).transpose()?.unwrap_or(512);
    let threads = number(2).transpose()?;
    let (model, _) = shimmy_native::open(
        Path::new(path),
        &Options {
            threads,
            ..Options::default()
        },
    )?;
    let options = RunnerOptions {
        threads,
        ..RunnerOptions::default()
    };
    let mut runner = NativeRunner::new(model, options)?;
    let vocabulary = runner.limits().vocabulary;
    let text = |number: usize| -> Vec<Token> {
        let token = |place: usize| ((place * 7919 + number) % vocabulary) as Token;
        (0..length).map(token).collect()
    };
    let texts: Vec<Vec<Token>> = (0..texts).map(text).collect();
    let mut best = f64::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        runner.embed(&texts)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    let tokens = (texts.len() * length) as f64;
    println!(
        "{} texts of {length} tokens: {:.2} ms, {:.0} tokens per second",
        texts.len(),
        best * 1e3,
        tokens / best
    );
    Ok(())
}
