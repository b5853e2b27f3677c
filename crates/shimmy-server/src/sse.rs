//! Streams: the frames of server-sent events, and the body that turns events into frames.
//!
//! It owns the pace: frames are made only when the connection takes them, so a slow reader costs
//! the memory of its text and nothing else, and dropping the body cancels the generation. What
//! stands in the frames is a dialect's business ([`Frames`]).

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde::Serialize;
use shimmy_chat::Delta;
use shimmy_engine::TokenLogprobs;
use tokio::time::{Instant, Sleep, sleep};

use crate::answer::{Answers, Ending, Progress};
use crate::error::ApiError;

/// Bytes of one chunk at most, give or take a frame: what is ready together is sent together.
const CHUNK_BYTES: usize = 8 << 10;

/// Bytes of a chunk with one token, in the dialect that writes most around it.
const USUAL_BYTES: usize = 512;

/// The end of OpenAI's streams and of those who copied them.
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// A comment, which every reader skips.
pub(crate) const PING: &[u8] = b": ping\n\n";

/// How a dialect writes a stream: each call appends whole frames.
pub(crate) trait Frames: Send + 'static {
    /// Before anything is computed.
    fn open(&mut self, _out: &mut Vec<u8>) {}
    /// One choice has come to so many tokens, those of its next delta among them.
    fn count(&mut self, _choice: usize, _tokens: u32) {}
    /// More of one choice; `logprobs` are of the tokens since its last delta.
    fn delta(
        &mut self,
        choice: usize,
        delta: &Delta,
        logprobs: &[TokenLogprobs],
        out: &mut Vec<u8>,
    );
    /// One choice is complete.
    fn finished(&mut self, choice: usize, ending: Ending, out: &mut Vec<u8>);
    /// All choices are complete.
    fn close(&mut self, out: &mut Vec<u8>);
    /// The stream ends without an answer.
    fn failed(&mut self, error: &ApiError, out: &mut Vec<u8>);
    /// Nothing has happened for a while.
    fn idle(&mut self, out: &mut Vec<u8>);
}

/// A `text/event-stream` response of these answers.
pub(crate) fn response<F: Frames>(answers: Answers, frames: F, keep_alive: Duration) -> Response {
    unbuffered("text/event-stream", body(answers, frames, keep_alive))
}

/// A response whose parts are to arrive as they are sent.
pub(crate) fn unbuffered(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx buffers whole answers unless it is told not to.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    response
}

/// The body of a stream; the headers are the caller's.
pub(crate) fn body<F: Frames>(answers: Answers, frames: F, keep_alive: Duration) -> Body {
    let stream = Stream {
        answers: Some(answers),
        frames,
        silence: Silence::new(keep_alive),
        opened: false,
    };
    Body::from_stream(futures_util::stream::unfold(stream, |mut stream| async {
        let chunk = stream.next_chunk().await?;
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), stream))
    }))
}

struct Stream<F> {
    /// `None` once the last frame has been made.
    answers: Option<Answers>,
    frames: F,
    silence: Silence,
    opened: bool,
}

impl<F: Frames> Stream<F> {
    async fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(USUAL_BYTES);
        if !self.opened {
            self.opened = true;
            self.frames.open(&mut out);
            if !out.is_empty() {
                return Some(out);
            }
        }
        let answers = self.answers.as_mut()?;
        tokio::select! {
            biased;
            progress = answers.next() => self.write(progress, &mut out),
            () = self.silence.lasted() => self.frames.idle(&mut out),
        }
        self.silence.broken();
        while out.len() < CHUNK_BYTES {
            let Some(more) = self.answers.as_mut().and_then(Answers::try_next) else {
                break;
            };
            self.write(Some(more), &mut out);
        }
        Some(out)
    }

    fn write(&mut self, progress: Option<Progress>, out: &mut Vec<u8>) {
        match progress {
            Some(Progress::Delta {
                choice,
                delta,
                logprobs,
                tokens,
            }) => {
                self.frames.count(choice, tokens);
                self.frames.delta(choice, &delta, &logprobs, out);
            }
            Some(Progress::Finished { choice, ending }) => {
                self.frames.finished(choice, ending, out);
                if self.answers.as_ref().is_some_and(Answers::is_complete) {
                    self.frames.close(out);
                    self.answers = None;
                }
            }
            Some(Progress::Failed(error)) => {
                tracing::warn!(error = ?error.message, "a stream failed");
                self.frames.failed(&error, out);
                self.answers = None;
            }
            None => self.answers = None,
        }
    }
}

/// How long nothing has happened.
///
/// Its clock is not set with every token, which would lock the runtime's each time, but when it has run
/// out: then it is looked up when the last one came.
struct Silence {
    limit: Duration,
    since: Instant,
    clock: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: Instant::now(),
            clock: Box::pin(sleep(limit)),
        }
    }

    /// Something has happened.
    fn broken(&mut self) {
        self.since = Instant::now();
    }

    /// Completes when it has lasted to its limit. Cancel-safe.
    async fn lasted(&mut self) {
        loop {
            self.clock.as_mut().await;
            let now = Instant::now();
            if now >= self.since + self.limit {
                self.since = now;
                self.clock.as_mut().reset(now + self.limit);
                return;
            }
            self.clock.as_mut().reset(self.since + self.limit);
        }
    }
}

/// A `data:` event of one line of JSON.
pub(crate) fn json_event(value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    json(value, out);
    out.extend_from_slice(b"\n\n");
}

/// An event with a name and one line of JSON.
pub(crate) fn named_event(name: &str, value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    json_event(value, out);
}

/// A value as one line of JSON.
pub(crate) fn json(value: &impl Serialize, out: &mut Vec<u8>) {
    if let Err(error) = serde_json::to_writer(&mut *out, value) {
        // Our own types with text keys into memory: a failure is a mistake in this crate.
        tracing::error!(%error, "a frame could not be written");
    }
}

/// Raw text as `data:` events, one line of the text a line of the event.
///
/// The format has no escapes, and `\r`, `\n` and `\r\n` all end its lines, so a reader gets every
/// line break as `\n`; who needs `\r` exactly wants JSON events. A `\r\n` that is split over two
/// events is still one line break: the state is whether the last text ended in `\r`.
#[derive(Debug, Default)]
pub(crate) struct RawText {
    after_carriage_return: bool,
}

impl RawText {
    /// Appends one event.
    pub(crate) fn event(&mut self, text: &str, out: &mut Vec<u8>) {
        let rest = match text.strip_prefix('\n') {
            Some(rest) if self.after_carriage_return => rest,
            _ => text,
        };
        self.after_carriage_return = if text.is_empty() {
            self.after_carriage_return
        } else {
            text.ends_with('\r')
        };
        if rest.is_empty() {
            return;
        }
        for line in rest.replace("\r\n", "\n").split(['\n', '\r']) {
            // The space is part of the format: without it a text's own first space would be lost.
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads events as the specification says: lines end with `\r\n`, `\n` or `\r`, one space
    /// after the colon goes, `data` lines are joined by `\n`.
    fn read(stream: &str) -> Vec<String> {
        let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
        let mut events = Vec::new();
        let mut data: Vec<&str> = Vec::new();
        for line in lines.split('\n') {
            match line.strip_prefix("data:") {
                Some(value) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                None if line.is_empty() && !data.is_empty() => {
                    events.push(std::mem::take(&mut data).join("\n"));
                }
                None => {}
            }
        }
        events
    }

    fn sent(texts: &[&str]) -> String {
        let mut out = Vec::new();
        let mut raw = RawText::default();
        texts.iter().for_each(|text| raw.event(text, &mut out));
        read(std::str::from_utf8(&out).unwrap()).concat()
    }

    #[test]
    fn raw_text_is_restored_by_joining() {
        for texts in [
            &["Hello", " world", "  two spaces", ":", "data: x"][..],
            &["\n", "\n\n", "a\n", "\nb", "\n\na\n\n"],
            &["é", "\u{2028}", "\u{85}", "\u{feff}"],
        ] {
            assert_eq!(sent(texts), texts.concat());
        }
    }

    #[test]
    fn every_carriage_return_arrives_as_a_line_break() {
        assert_eq!(sent(&["a\r\nb"]), "a\nb");
        assert_eq!(sent(&["a\r", "\nb"]), "a\nb");
        assert_eq!(sent(&["a\r", "\n", "\nb"]), "a\n\nb");
        assert_eq!(sent(&["a\rb\r\r", "c"]), "a\nb\n\nc");
    }
}
