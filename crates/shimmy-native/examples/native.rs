//! Measures the native engine: `native MODEL.gguf [PROMPT] [TOKENS] [THREADS] [DEPTH] [ROWS…]`, or
//! lets it speak: `native MODEL.gguf --say TEXT`. With `--adapters FILE…` at the end, the sequences
//! have these LoRA adapters in turn, with `--q8_0` anywhere a cache of bytes.
//!
//! To compare with `llama-bench -p 512 -n 128 -t 2`: `native MODEL.gguf 512 128 2`. `DEPTH` tokens
//! are in the cache before tokens are decoded, in 1, 4 and 8 sequences if `ROWS` does not say.
#![expect(clippy::print_stdout, reason = "the measurements are the output")]

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shimmy_engine::{
    AdapterId, AdapterScale, Batch, Row, Runner, SequenceId, Specials, Token, Tokenizer,
};
use shimmy_native::{CacheType, NativeRunner, NativeTokenizer, Options, RunnerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let in_bytes = arguments.iter().position(|word| word == "--q8_0");
    let cache_type = match in_bytes.map(|at| arguments.remove(at)) {
        Some(_) => CacheType::Q8_0,
        None => CacheType::F16,
    };
    let adapters = arguments.iter().position(|word| word == "--adapters");
    let adapters = adapters.map_or(Vec::new(), |at| arguments.split_off(at));
    let adapters = adapters.iter().skip(1).map(PathBuf::from).collect();
    let [path, rest @ ..] = &arguments[..] else {
        return Err("usage: native MODEL.gguf [PROMPT] [TOKENS] [THREADS] [DEPTH] [ROWS…]".into());
    };
    if let [flag, text] = rest
        && flag == "--say"
    {
        return say(Path::new(path), text);
    }
    let number = |index: usize, default: u32| match rest.get(index) {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    let (prompt, tokens) = (number(0, 512)?, number(1, 128)?);
    let threads = rest.get(2).map(|text| text.parse()).transpose()?;
    let depth = number(3, 0)?;
    let rows: Result<Vec<u32>, _> = rest.iter().skip(4).map(|text| text.parse()).collect();
    let rows = Some(rows?)
        .filter(|rows| !rows.is_empty())
        .unwrap_or(vec![1, 4, 8]);

    let start = Instant::now();
    let (model, tokenizer) = shimmy_native::open(
        Path::new(path),
        &Options {
            threads,
            ..Options::default()
        },
    )?;
    report("load", start.elapsed(), None);
    println!(
        "{:>12}: {:9.1} MB anonymous",
        "memory",
        anonymous_megabytes()
    );
    drop(tokenizer);
    let options = RunnerOptions {
        sequences: 65,
        threads,
        cache_type,
        adapters,
        ..RunnerOptions::default()
    };
    let mut runner = NativeRunner::new(model, options)?;
    let start = Instant::now();
    decode(&mut runner, &[64], 0, 1)?;
    report("first token", start.elapsed(), None);
    for _ in 0..2 {
        runner.truncate(SequenceId(64), 0);
        let start = Instant::now();
        prefill(&mut runner, 64, prompt)?;
        report("prompt", start.elapsed(), Some(prompt));
    }
    for rows in rows {
        let sequences: Vec<u32> = (0..rows).collect();
        if depth > 0 {
            prefill(&mut runner, 0, depth)?;
            for &sequence in &sequences[1..] {
                runner.copy(SequenceId(0), SequenceId(sequence), depth);
            }
        }
        let start = Instant::now();
        for position in depth..depth + tokens {
            decode(&mut runner, &sequences, position, 1)?;
        }
        report(
            &format!("{rows} rows"),
            start.elapsed(),
            Some(tokens * rows),
        );
        for &sequence in &sequences {
            runner.truncate(SequenceId(sequence), 0);
        }
    }
    println!(
        "{:>12}: {:9.1} GB/s",
        "pure read",
        read_bandwidth(threads.unwrap_or(2))
    );
    Ok(())
}

fn prefill(runner: &mut NativeRunner, sequence: u32, count: u32) -> Result<(), Box<dyn Error>> {
    let step = runner.limits().batch as u32;
    for first in (0..count).step_by(step as usize) {
        decode(runner, &[sequence], first, step.min(count - first))?;
    }
    Ok(())
}

/// Computes `count` rows of each sequence from position `first` on, the last with output.
fn decode(
    runner: &mut NativeRunner,
    sequences: &[u32],
    first: u32,
    count: u32,
) -> Result<(), Box<dyn Error>> {
    let mut batch = Batch::default();
    for &sequence in sequences {
        let adapter = sequence.checked_rem(runner.adapters());
        let chosen = adapter.map(|id| AdapterScale {
            id: AdapterId(id),
            scale: 1.0,
        });
        batch.choose_adapters(chosen.as_slice());
        for position in first..first + count {
            batch.push(Row {
                // Any token does; varied ones keep the caches honest.
                token: (position * 7919 + sequence) % runner.limits().vocabulary as u32,
                position,
                sequence: SequenceId(sequence),
                output: position + 1 == first + count,
            });
        }
    }
    runner.decode(&batch)?;
    Ok(())
}

fn say(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let (model, tokenizer): (_, NativeTokenizer) = shimmy_native::open(path, &Options::default())?;
    let mut runner = NativeRunner::new(model, RunnerOptions::default())?;
    let mut tokens: Vec<Token> = tokenizer.beginning_of_sequence().into_iter().collect();
    tokens.extend(tokenizer.tokenize(text, Specials::Parse)?);
    let mut position = 0;
    for _ in 0..64 {
        let mut batch = Batch::default();
        for (index, &token) in tokens.iter().enumerate() {
            batch.push(Row {
                token,
                position,
                sequence: SequenceId(0),
                output: index + 1 == tokens.len(),
            });
            position += 1;
        }
        runner.decode(&batch)?;
        let logits = runner.logits(batch.len() - 1).ok_or("no logits")?;
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        let best = best.unwrap_or(0) as Token;
        if tokenizer.is_end_of_generation(best) {
            break;
        }
        let mut piece = Vec::new();
        tokenizer.append_piece(best, Specials::Literal, &mut piece);
        print!("{}", String::from_utf8_lossy(&piece));
        std::io::stdout().flush()?;
        tokens = vec![best];
    }
    println!();
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

fn anonymous_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

/// What the memory gives to so many threads that only read.
fn read_bandwidth(threads: usize) -> f64 {
    const WORDS: usize = 16 << 20;
    let blocks: Vec<Vec<u64>> = (0..threads)
        .map(|thread| vec![thread as u64; WORDS])
        .collect();
    let start = Instant::now();
    const ROUNDS: usize = 4;
    std::thread::scope(|scope| {
        for block in &blocks {
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let sum = block
                        .iter()
                        .fold(0_u64, |sum, word| sum.wrapping_add(*word));
                    std::hint::black_box(sum);
                }
            });
        }
    });
    (threads * WORDS * 8 * ROUNDS) as f64 / start.elapsed().as_secs_f64() / 1e9
}
