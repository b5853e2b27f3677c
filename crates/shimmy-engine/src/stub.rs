//! The deterministic engine: a backend without a model.
//!
//! It stands behind the binary's feature `stub` and behind every contract test. Its vocabulary is
//! the 256 bytes and three special tokens, so characters outside ASCII are split over tokens as
//! they are by real models. What it answers is a pure function of what it has read.

mod reply;
mod runner;
mod tokenizer;

use std::sync::Arc;
use std::sync::mpsc;

pub use reply::Reply;
pub use runner::{Computed, StubRunner};
pub use tokenizer::{StubTokenizer, Tokenized};

use crate::config::EngineConfig;
use crate::handle::{EngineHandle, spawn};
use crate::runner::Tokenizer;
use crate::session::Session;

/// How the stub behaves.
#[derive(Debug)]
pub struct StubConfig {
    /// What it says.
    pub reply: Reply,
    /// Fails every step from this one on (0 is the first).
    pub fail_from_step: Option<usize>,
    /// Fails exactly this step.
    pub fail_at_step: Option<usize>,
    /// Panics in this step.
    pub panic_at_step: Option<usize>,
    /// Each step first waits for one message, so that a test can hold the engine at any point. A
    /// dropped sender opens the gate for good.
    pub gate: Option<mpsc::Receiver<()>>,
    /// Is told of every text that becomes tokens.
    pub tokenized: Option<mpsc::Sender<Tokenized>>,
    /// Adapters that are said to be loaded; each adds its id to the first byte of a reply.
    pub adapters: usize,
    /// Each that is loaded first waits for one message, likewise.
    pub adapter_gate: Option<mpsc::Receiver<()>>,
    /// Whether rows of a batch may have different ones.
    pub mixes_adapters: bool,
    /// Whether it answers at all, or is said to make vectors only.
    pub generates: bool,
    /// Cells of the cache.
    pub cells: usize,
    /// Cells that there really are, if fewer.
    pub real_cells: usize,
    /// Says in exactly this step that the cache is full.
    pub full_at_step: Option<usize>,
    /// Sequences at a time.
    pub sequences: usize,
    /// Whether it takes back what was saved.
    pub takes_states: bool,
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens of the longest text that it makes a vector of.
    pub longest_text: usize,
    /// Whether it does so in parts.
    pub embeds_in_parts: bool,
    /// Is told of everything that is computed.
    pub computed: Option<mpsc::Sender<Computed>>,
}

impl Default for StubConfig {
    fn default() -> Self {
        Self {
            reply: Reply::Echo,
            fail_from_step: None,
            fail_at_step: None,
            panic_at_step: None,
            gate: None,
            tokenized: None,
            adapters: 0,
            adapter_gate: None,
            mixes_adapters: true,
            generates: true,
            cells: 4096,
            real_cells: usize::MAX,
            full_at_step: None,
            sequences: 8,
            takes_states: true,
            batch: 64,
            longest_text: 64,
            embeds_in_parts: true,
            computed: None,
        }
    }
}

/// A session on a stub engine.
pub fn session(mut stub: StubConfig, engine: EngineConfig) -> Session {
    let tokenizer = StubTokenizer::telling(stub.tokenized.take());
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(tokenizer);
    let adapters = stub.adapters;
    let handle = start(stub, engine, Arc::clone(&tokenizer));
    Session::new(tokenizer, handle, adapters)
}

fn start(stub: StubConfig, engine: EngineConfig, tokenizer: Arc<dyn Tokenizer>) -> EngineHandle {
    spawn::<_, std::io::Error, _>("shimmy-stub", engine, tokenizer, move || {
        Ok(StubRunner::new(stub))
    })
    .unwrap_or_else(|error| panic!("no thread for the stub engine: {error}"))
}
