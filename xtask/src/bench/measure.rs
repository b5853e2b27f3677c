//! One round of measurements: what a person waits for and pays for, seen from outside the process.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::http;
use super::server::Server;
use crate::process::pause;

/// Answers measured within one round; the round's figure is their median.
const REPEATS: u32 = 3;
const DECODE_TOKENS: u32 = 128;
const IDLE: Duration = Duration::from_secs(3);
/// What an answer leaves to be tidied up is not idling yet.
const SETTLE: Duration = Duration::from_millis(500);

/// What one server process showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) health: Duration,
    pub(super) first_token: Duration,
    /// Tokens per second, one stream.
    pub(super) decode: f64,
    /// Tokens per second, a prompt of about 512 tokens that shares nothing with those before.
    pub(super) prefill: f64,
    pub(super) anonymous_bytes: u64,
    pub(super) idle_cpu: Duration,
}

/// Measures a server from its start, and stops it.
pub(super) fn server_round(mut server: Server) -> Result<Round> {
    let health = server.wait_until_healthy()?;
    let first = stream(server.address, &chat("Say hello.", 8))?;
    let first_token = first.first_token - server.started;
    let anonymous_bytes = server.anonymous_memory()?;
    let mut decode = Vec::new();
    let mut prefill = Vec::new();
    for repeat in 0..REPEATS {
        let story = format!("Tell story number {repeat} about a lighthouse keeper.");
        decode.push(stream(server.address, &chat(&story, DECODE_TOKENS))?.decode_speed()?);
        prefill.push(stream(server.address, &chat(&long_prompt(repeat), 1))?.prefill_speed()?);
    }
    pause(SETTLE);
    let before = server.cpu_time()?;
    pause(IDLE);
    let idle_cpu = server.cpu_time()?.saturating_sub(before);
    Ok(Round {
        health,
        first_token,
        decode: median(&mut decode),
        prefill: median(&mut prefill),
        anonymous_bytes,
        idle_cpu,
    })
}

/// From the start of a command to the first byte of its standard output.
pub(super) fn first_output(command: &mut Command) -> Result<Duration> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    let mut output = child.stdout.take().context("no standard output")?;
    let count = output.read(&mut [0_u8; 1])?;
    let took = started.elapsed();
    std::io::copy(&mut output, &mut std::io::sink())?;
    let status = child.wait()?;
    ensure!(
        status.success() && count == 1,
        "{:?} ended with {status}",
        command.get_program()
    );
    Ok(took)
}

/// The engine alone, by llama-bench: tokens per second of decode (tg128) and prefill (pp512).
pub(super) fn engine_speeds(bench: &Path, model: &Path, threads: usize) -> Result<(f64, f64)> {
    let mut command = Command::new(bench);
    command
        .arg("-m")
        .arg(model)
        .args(["-t", &threads.to_string()]);
    command.args([
        "-p",
        "512",
        "-n",
        "128",
        "-r",
        &REPEATS.to_string(),
        "-o",
        "json",
    ]);
    let output = command
        .stderr(Stdio::null())
        .output()
        .context("llama-bench cannot be started")?;
    ensure!(
        output.status.success(),
        "llama-bench ended with {}",
        output.status
    );
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).context("llama-bench's JSON")?;
    let speed = |key: &str| {
        let row = rows
            .iter()
            .find(|row| row[key].as_u64().is_some_and(|tokens| tokens > 0));
        row.and_then(|row| row["avg_ts"].as_f64())
            .with_context(|| format!("no row with {key}"))
    };
    Ok((speed("n_gen")?, speed("n_prompt")?))
}

fn chat(prompt: &str, max_tokens: u32) -> Value {
    json!({
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": true,
        "stream": true,
        "stream_options": {"include_usage": true},
    })
}

/// About 512 tokens; the first words differ from repeat to repeat, so that no cache can help.
fn long_prompt(repeat: u32) -> String {
    let place = ["harbour", "mountain", "library", "orchard"][repeat as usize % 4];
    let sentence = format!("In the {place} of chapter {repeat} the morning was cold and quiet. ");
    sentence.repeat(33)
}

/// The moments and counts of one streamed answer.
#[derive(Debug)]
struct Stream {
    sent: Instant,
    first_token: Instant,
    last_token: Instant,
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
}

impl Stream {
    fn decode_speed(&self) -> Result<f64> {
        ensure!(
            self.completion_tokens > 1,
            "an answer of {} tokens",
            self.completion_tokens
        );
        let time = self.last_token - self.first_token;
        Ok((self.completion_tokens - 1) as f64 / time.as_secs_f64())
    }

    fn prefill_speed(&self) -> Result<f64> {
        let computed = self.prompt_tokens.saturating_sub(self.cached_tokens);
        ensure!(computed > 0, "no prompt was computed");
        Ok(computed as f64 / (self.first_token - self.sent).as_secs_f64())
    }
}

fn stream(address: SocketAddr, body: &Value) -> Result<Stream> {
    let sent = Instant::now();
    let answer = http::request(address, "/v1/chat/completions", Some(&body.to_string()))?;
    if answer.status != 200 {
        let status = answer.status;
        bail!("the server answered {status}: {}", answer.text()?);
    }
    let mut moments: Option<(Instant, Instant)> = None;
    let mut usage = Value::Null;
    for event in answer.events() {
        let event = event?;
        if event == "[DONE]" {
            break;
        }
        let chunk: Value = serde_json::from_str(&event).with_context(|| event.clone())?;
        ensure!(chunk["error"].is_null(), "the stream failed: {event}");
        if chunk["choices"][0]["delta"]["content"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
        {
            let now = Instant::now();
            moments = Some((moments.map_or(now, |(first, _)| first), now));
        }
        if chunk["usage"].is_object() {
            usage = chunk["usage"].clone();
        }
    }
    let (first_token, last_token) = moments.context("the answer has no text")?;
    let count = |value: &Value| value.as_u64();
    Ok(Stream {
        sent,
        first_token,
        last_token,
        prompt_tokens: count(&usage["prompt_tokens"]).context("no prompt_tokens")?,
        cached_tokens: count(&usage["prompt_tokens_details"]["cached_tokens"]).unwrap_or(0),
        completion_tokens: count(&usage["completion_tokens"]).context("no completion_tokens")?,
    })
}

/// The middle value; of an even number, the mean of the two middle ones.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&mut [4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn speeds_leave_out_what_was_not_computed() {
        let sent = Instant::now();
        let stream = Stream {
            sent,
            first_token: sent + Duration::from_secs(2),
            last_token: sent + Duration::from_secs(3),
            prompt_tokens: 512,
            cached_tokens: 112,
            completion_tokens: 101,
        };
        assert!((stream.prefill_speed().expect("a speed") - 200.0).abs() < 1e-9);
        assert!((stream.decode_speed().expect("a speed") - 100.0).abs() < 1e-9);
    }
}
