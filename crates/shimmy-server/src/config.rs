//! The server's limits and secrets, each with its default.
//!
//! Values arrive validated: flags, environment and files are the binary's business.

use std::fmt;
use std::time::Duration;

use subtle::{Choice, ConstantTimeEq};

use crate::caller::Caller;

/// Longest token that is compared; a longer one is wrong.
const SECRET_BYTES: usize = 256;

/// Shortest and longest silence before a sign of life: one of zero would leave no time for
/// anything else, and one without end has no end on the clock.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(86_400));

/// Everything the server may be told.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The tokens of which every request but `/health*` must carry one. Default: none, which only
    /// a loopback address allows.
    pub api_keys: Vec<Secret>,
    /// Whose computed prefixes a request may start from. Default: those of its own key.
    pub cache_scope: CacheScope,
    /// Names in `Host` that are served beside the loopback ones, with any port. On an address
    /// that is not loopback an empty list allows every name. Default: empty.
    pub allowed_hosts: Vec<String>,
    /// Origins that web pages may call from, such as `http://localhost:3000`; `*` allows all,
    /// `null` the opaque one. Default: empty, only the server's own.
    pub cors_origins: Vec<String>,
    /// Bytes of a request's body, and of a WebSocket message. Default: 32 MiB.
    pub max_body: usize,
    /// Bytes of all bodies that are read or looked at, together; a request that does not fit is refused
    /// with 503. Default: 512 MiB.
    pub max_bodies: usize,
    /// How deep arrays and objects of a body may nest. Default: 100. (`serde_json` itself stops
    /// at 127, but only in the parts that are read.)
    pub max_json_depth: usize,
    /// Keys of all objects of a body together. Default: 50,000, ten times what an agent with a
    /// hundred tools and a long conversation sends.
    pub max_json_keys: usize,
    /// Tokens of an answer when the request sets no limit; none leaves it to the context. Some
    /// clients never send one, and a small model may never stop by itself. Default: none.
    pub default_max_tokens: Option<u32>,
    /// Time for an answer, its wait included; it then ends as it stands. Default: none.
    pub deadline: Option<Duration>,
    /// Answers that one request may ask for with `n`. Default: 8.
    pub max_choices: usize,
    /// Prompts of one completion request; as many as `max_choices` of their answers are computed
    /// at a time. Default: 256.
    pub max_prompts: usize,
    /// Texts of one request for embeddings or a ranking. Default: 2048.
    pub max_texts: usize,
    /// Connections at a time; more wait in the system's backlog. Default: 2048.
    pub max_connections: usize,
    /// WebSockets at a time; more are refused with 503. Default: 1024.
    pub max_websockets: usize,
    /// Time for the header of a connection's first request. Default: 10 s.
    pub header_read_timeout: Duration,
    /// Time from the end of an answer to the end of the next request's header on the same
    /// connection, idleness included. Default: 75 s.
    pub idle_timeout: Duration,
    /// Header fields of a request. Default: 100.
    pub max_headers: usize,
    /// Bytes of a connection's read buffer. A header may be larger than that by what comes with its
    /// last piece, at most twice as large. Default: 64 KiB.
    pub connection_buffer: usize,
    /// Time for a request's body. Default: 60 s.
    pub body_read_timeout: Duration,
    /// How long a client may take nothing of what is written to it. Default: 60 s.
    pub write_timeout: Duration,
    /// Silence on a stream after which a sign of life is sent. Default: 15 s.
    pub keep_alive: Duration,
    /// Silence on a WebSocket, its pongs included, after which it is closed. Default: 60 s.
    pub websocket_idle_timeout: Duration,
    /// Age at which a WebSocket of the Responses dialect takes no further request; what runs on it
    /// goes on. Its clients know to connect anew. Default: 60 min.
    pub websocket_max_age: Duration,
    /// Answers of the Responses dialect that are kept to go on from, and their bytes together,
    /// shared histories counted each time. The longest unused go first. Defaults: 1024, 64 MiB.
    pub max_kept_responses: usize,
    /// See [`max_kept_responses`](Self::max_kept_responses).
    pub max_kept_bytes: usize,
    /// Time that running answers get when the server shuts down. Default: 30 s.
    pub drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            api_keys: Vec::new(),
            cache_scope: CacheScope::default(),
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            max_body: 32 << 20,
            max_bodies: 512 << 20,
            max_json_depth: 100,
            max_json_keys: 50_000,
            default_max_tokens: None,
            deadline: None,
            max_choices: 8,
            max_prompts: 256,
            max_texts: 2048,
            max_connections: 2048,
            max_websockets: 1024,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_headers: 100,
            connection_buffer: 64 << 10,
            body_read_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(15),
            websocket_idle_timeout: Duration::from_secs(60),
            websocket_max_age: Duration::from_secs(3600),
            max_kept_responses: 1024,
            max_kept_bytes: 64 << 20,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl ServerConfig {
    /// [`keep_alive`](Self::keep_alive), within what a timer can keep.
    pub(crate) fn keep_alive(&self) -> Duration {
        self.keep_alive.clamp(KEEP_ALIVE.0, KEEP_ALIVE.1)
    }
}

/// Whose computed prefixes a request may start from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheScope {
    /// Those of requests with the same API key: neither counts nor timings tell a caller what
    /// others have asked.
    #[default]
    Key,
    /// Everybody's: quicker where callers trust each other.
    All,
}

impl CacheScope {
    /// The engine's number for what this caller shares.
    pub(crate) fn of(self, caller: Caller) -> u64 {
        match self {
            Self::Key => caller.number(),
            Self::All => Caller::ANYONE.number(),
        }
    }
}

/// A token that is compared in constant time and never printed.
#[derive(Clone)]
pub struct Secret {
    padded: [u8; SECRET_BYTES],
    length: usize,
}

/// Why a text cannot be a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// It has no characters: every request without a token would pass.
    #[error("the API key is empty")]
    Empty,
    /// It has too many characters.
    #[error("the API key has more than {SECRET_BYTES} bytes")]
    TooLong,
    /// It holds something that no HTTP header can carry.
    #[error("the API key holds characters other than visible ASCII")]
    NotAscii,
}

impl Secret {
    /// A token of visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, InvalidSecret> {
        if text.is_empty() {
            return Err(InvalidSecret::Empty);
        }
        if text.len() > SECRET_BYTES {
            return Err(InvalidSecret::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidSecret::NotAscii);
        }
        Ok(Self {
            padded: pad(text.as_bytes()),
            length: text.len(),
        })
    }

    /// Everyone who has this token.
    pub(crate) fn caller(&self) -> Caller {
        Caller::with_key(&self.padded[..self.length])
    }

    /// Whether `candidate` is this token, in a time that depends on neither's content.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let same_length: Choice = (candidate.len() as u64).ct_eq(&(self.length as u64));
        let same_bytes = pad(candidate).ct_eq(&self.padded);
        (same_length & same_bytes).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn pad(text: &[u8]) -> [u8; SECRET_BYTES] {
    let mut padded = [0; SECRET_BYTES];
    let length = text.len().min(SECRET_BYTES);
    padded[..length].copy_from_slice(&text[..length]);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_only_itself() {
        let secret = Secret::new("sk-correct").unwrap();
        assert!(secret.matches(b"sk-correct"));
        for wrong in ["", "sk-correc", "sk-correct\0", "sk-correctX", "SK-CORRECT"] {
            assert!(!secret.matches(wrong.as_bytes()), "{wrong:?}");
        }
        assert!(!secret.matches(&vec![b's'; 1 << 20]));
        let full = Secret::new(&"x".repeat(SECRET_BYTES)).unwrap();
        assert!(!full.matches("x".repeat(SECRET_BYTES + 1).as_bytes()));
    }

    #[test]
    fn a_secret_is_never_printed_and_never_empty() {
        assert_eq!(format!("{:?}", Secret::new("hidden").unwrap()), "Secret(…)");
        assert_eq!(Secret::new("").unwrap_err(), InvalidSecret::Empty);
        assert_eq!(Secret::new("a b").unwrap_err(), InvalidSecret::NotAscii);
        assert_eq!(
            Secret::new(&"x".repeat(257)).unwrap_err(),
            InvalidSecret::TooLong
        );
    }
}
