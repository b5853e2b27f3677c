//! The client: requests over one TCP connection each, streams of a chat read as they come. It runs
//! on the one thread of the whole program, so that it takes as little as it can of the processor
//! that it measures.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http::Decoder;
use super::sse;

/// A server that sends nothing for so long hangs. On a slow machine a queue of long prompts takes
/// minutes.
const SILENCE_LIMIT: Duration = Duration::from_secs(300);
const READ_BYTES: usize = 16 * 1024;

/// A server's answer that is no success.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.status, self.message)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    fn new(status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        let told = json["error"]["message"].as_str().or(json["error"].as_str());
        let message = told.unwrap_or(text.trim()).chars().take(300).collect();
        Self { status, message }
    }

    /// Whether the server lacks or declines what was asked, rather than being busy or broken.
    pub(super) fn is_lasting(&self) -> bool {
        let passing = matches!(self.status, 408 | 409 | 425 | 429);
        self.status == 501 || (400..500).contains(&self.status) && !passing
    }
}

/// A chat request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    messages: Vec<(&'static str, String)>,
    pub(super) max_tokens: u32,
    /// Go on after the model's own end, so that all answers are of one length.
    pub(super) ignore_eos: bool,
    pub(super) schema: Option<Value>,
    pub(super) model: Option<String>,
}

impl Ask {
    /// One question, answered by exactly `tokens` tokens.
    pub(super) fn user(text: impl Into<String>, tokens: u32) -> Self {
        Self {
            messages: vec![("user", text.into())],
            max_tokens: tokens,
            ignore_eos: true,
            schema: None,
            model: None,
        }
    }

    /// The same, after a system prompt.
    pub(super) fn after_system(mut self, text: impl Into<String>) -> Self {
        self.messages.insert(0, ("system", text.into()));
        self
    }

    /// The next turn of a conversation.
    pub(super) fn go_on(&mut self, answer: String, question: String) {
        self.messages.push(("assistant", answer));
        self.messages.push(("user", question));
    }

    fn body(&self) -> Value {
        let messages: Vec<Value> = self
            .messages
            .iter()
            .map(|(role, content)| json!({"role": role, "content": content}))
            .collect();
        let mut body = json!({
            "messages": messages,
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "ignore_eos": self.ignore_eos,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        if let Some(schema) = &self.schema {
            let schema = json!({"name": "answer", "strict": true, "schema": schema});
            body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
        }
        if let Some(model) = &self.model {
            body["model"] = json!(model);
        }
        body
    }
}

/// The moments and counts of one streamed answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) sent: Instant,
    /// When each piece of text came.
    pub(super) pieces: Vec<Instant>,
    pub(super) text: String,
    pub(super) finish_reason: Option<String>,
    /// Missing when the answer was left before its end.
    pub(super) usage: Option<Usage>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: u64,
    #[serde(default)]
    pub(super) completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl Usage {
    /// Tokens of the prompt that the server already had; nothing when it does not say.
    pub(super) fn cached_tokens(&self) -> Option<u64> {
        self.prompt_tokens_details?.cached_tokens
    }
}

impl Answer {
    pub(super) fn first(&self) -> Result<Instant> {
        self.pieces
            .first()
            .copied()
            .context("an answer without text")
    }

    pub(super) fn last(&self) -> Result<Instant> {
        self.pieces
            .last()
            .copied()
            .context("an answer without text")
    }

    pub(super) fn usage(&self) -> Result<Usage> {
        self.usage.context("an answer without usage")
    }

    /// From sending the request to the first text.
    pub(super) fn time_to_first(&self) -> Result<Duration> {
        Ok(self.first()? - self.sent)
    }

    /// Tokens per second after the first one.
    pub(super) fn decode_speed(&self) -> Result<f64> {
        let tokens = self.usage()?.completion_tokens;
        let time = self.last()? - self.first()?;
        ensure!(
            tokens > 1 && !time.is_zero(),
            "an answer of {tokens} tokens has no speed"
        );
        Ok((tokens - 1) as f64 / time.as_secs_f64())
    }

    /// Tokens per second of that part of the prompt that had to be computed.
    pub(super) fn prefill_speed(&self) -> Result<f64> {
        let usage = self.usage()?;
        let known = usage.cached_tokens().unwrap_or(0);
        let computed = usage.prompt_tokens.saturating_sub(known);
        ensure!(computed > 0, "no prompt was computed");
        Ok(computed as f64 / self.time_to_first()?.as_secs_f64())
    }
}

/// One chunk of a stream; what is not read here does not matter here.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Delta<'a>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning_content: Option<Cow<'a, str>>,
}

/// Talks to the server at one address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    /// The most that one read may wait.
    silence: Duration,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            silence: SILENCE_LIMIT,
        }
    }

    /// The status of a GET, whatever it is.
    pub(super) async fn status(&self, path: &str) -> Result<u16> {
        let mut connection = Connection::open(self, "GET", path, "").await?;
        connection.read_body().await?;
        connection.status()
    }

    /// A JSON answer; anything but a success is [`Refused`].
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let connection = Connection::open(self, "GET", path, "").await?;
        connection.json().await
    }

    /// The same of a POST.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let connection = Connection::open(self, "POST", path, &body.to_string()).await?;
        connection.json().await
    }

    /// Streams a chat to its end.
    pub(super) async fn chat(&self, ask: &Ask) -> Result<Answer> {
        self.chat_until(ask, |_| ControlFlow::Continue(())).await
    }

    /// Streams a chat and leaves it when `on_piece`, which gets the number of pieces so far, says
    /// so.
    pub(super) async fn chat_until(
        &self,
        ask: &Ask,
        mut on_piece: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let body = ask.body().to_string();
        let mut answer = Answer {
            sent: Instant::now(),
            pieces: Vec::new(),
            text: String::new(),
            finish_reason: None,
            usage: None,
        };
        let mut connection = Connection::open(self, "POST", "/v1/chat/completions", &body).await?;
        let mut events = Vec::new();
        let mut parser = sse::Parser::default();
        loop {
            let arrived = connection.read().await?;
            // An error's body is no stream: all of it is needed.
            if connection.status().is_ok_and(|status| status != 200) {
                connection.read_body().await?;
                return Err(connection.refusal()?.into());
            }
            parser.feed(&connection.body, &mut events)?;
            connection.body.clear();
            for event in events.drain(..) {
                if event == "[DONE]" {
                    return Ok(answer);
                }
                if answer.take(&event, arrived)? && on_piece(answer.pieces.len()).is_break() {
                    return Ok(answer);
                }
            }
            ensure!(!connection.is_over, "the stream ended without [DONE]");
        }
    }
}

impl Answer {
    /// Reads one event; whether it brought text.
    fn take(&mut self, event: &str, arrived: Instant) -> Result<bool> {
        let chunk: Chunk<'_> =
            serde_json::from_str(event).with_context(|| format!("an event: {event}"))?;
        ensure!(chunk.error.is_none(), "the stream failed: {event}");
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(false);
        };
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        let texts = [choice.delta.reasoning_content, choice.delta.content];
        let length = self.text.len();
        self.text.extend(texts.into_iter().flatten());
        let has_text = self.text.len() > length;
        if has_text {
            self.pieces.push(arrived);
        }
        Ok(has_text)
    }
}

/// A request that was sent, and its response as far as it has come.
struct Connection {
    stream: TcpStream,
    silence: Duration,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// Content that nobody has taken yet.
    body: Vec<u8>,
    is_over: bool,
}

impl Connection {
    async fn open(client: &Client, method: &str, path: &str, body: &str) -> Result<Self> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            client.address,
            body.len()
        );
        let sending = async {
            let mut stream = TcpStream::connect(client.address).await?;
            stream.set_nodelay(true)?;
            stream.write_all(request.as_bytes()).await?;
            Ok::<_, std::io::Error>(stream)
        };
        let sent = timeout(client.silence, sending).await;
        let stream = sent.context("the server does not take a request")??;
        Ok(Self {
            stream,
            silence: client.silence,
            decoder: Decoder::new(),
            buffer: vec![0; READ_BYTES],
            body: Vec::new(),
            is_over: false,
        })
    }

    /// Waits for bytes, and says when they came.
    async fn read(&mut self) -> Result<Instant> {
        let read = timeout(self.silence, self.stream.read(&mut self.buffer)).await;
        let read = read.with_context(|| format!("silence for {:?}", self.silence))?;
        let arrived = Instant::now();
        let count = read.context("the connection broke")?;
        if count == 0 {
            self.decoder.end()?;
        }
        self.decoder.feed(&self.buffer[..count], &mut self.body)?;
        self.is_over = count == 0 || self.decoder.is_complete();
        Ok(arrived)
    }

    async fn read_body(&mut self) -> Result<()> {
        while !self.is_over {
            self.read().await?;
        }
        Ok(())
    }

    fn status(&self) -> Result<u16> {
        self.decoder.status().context("an answer without a status")
    }

    fn refusal(&self) -> Result<Refused> {
        Ok(Refused::new(self.status()?, &self.body))
    }

    async fn json(mut self) -> Result<Value> {
        self.read_body().await?;
        if self.status()? != 200 {
            return Err(self.refusal()?.into());
        }
        serde_json::from_slice(&self.body).context("an answer that is not JSON")
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
