//! The deterministic engine: a backend without a model.
//!
//! It stands behind the binary's feature `stub` and behind every contract test. Its vocabulary is
//! the 256 bytes and three special tokens, so characters outside ASCII are split over tokens as
//! they are by real models. What it answers is a pure function of what it has read.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use crate::embed::Pooling;
use crate::error::{RunnerError, TokenizeError};
use crate::handle::{EngineConfig, EngineHandle, spawn};
use crate::runner::{
    AdapterId, Batch, FillInTheMiddle, Runner, RunnerLimits, SequenceId, Specials, TextMarks,
    Token, Tokenizer,
};
use crate::session::Session;

const END_OF_TEXT: Token = 256;
const IM_START: Token = 257;
const IM_END: Token = 258;
const VOCABULARY: usize = 259;

/// Logit of the token that the stub wants to say; all others have 0.
const CERTAIN: f32 = 30.0;

/// What the stub says.
#[derive(Debug, Clone, Default)]
pub enum Reply {
    /// The last user message, or the whole prompt where there are no chat markers.
    #[default]
    Echo,
    /// Always this.
    Fixed(String),
    /// A token that depends on every token before it, without end: any mistake in what a sequence
    /// holds changes all that follows.
    Mixed,
    /// No certainty at all: each letter has a probability that depends on every token before it,
    /// so what is said is the sampler's draw.
    Uncertain,
}

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
    /// Adapters that are said to be loaded; each adds its id to the first byte of a reply.
    pub adapters: usize,
    /// Whether it answers at all, or is said to make vectors only.
    pub generates: bool,
    /// Cells of the cache.
    pub cells: usize,
    /// Cells that there really are, if fewer.
    pub real_cells: usize,
    /// Sequences at a time.
    pub sequences: usize,
    /// Rows of a batch.
    pub batch: usize,
}

impl Default for StubConfig {
    fn default() -> Self {
        Self {
            reply: Reply::Echo,
            fail_from_step: None,
            fail_at_step: None,
            panic_at_step: None,
            gate: None,
            adapters: 0,
            generates: true,
            cells: 4096,
            real_cells: usize::MAX,
            sequences: 8,
            batch: 64,
        }
    }
}

/// A session on a stub engine.
pub fn session(stub: StubConfig, engine: EngineConfig) -> Session {
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(StubTokenizer::default());
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

/// The stub's [`Runner`].
#[derive(Debug)]
pub struct StubRunner {
    config: StubConfig,
    sequences: Vec<Held>,
    adapters: Vec<(AdapterId, f32)>,
    outputs: Vec<Option<Vec<f32>>>,
    steps: usize,
    /// Cells that were ever written: each gets a number of its own.
    cells: usize,
}

/// What one sequence holds.
#[derive(Debug, Clone, Default)]
struct Held {
    tokens: Vec<Token>,
    /// The cell that each of them is in; forks share theirs.
    cells: Vec<usize>,
    /// Where the prompt ended: at the first row that asked for output.
    prompt: Option<usize>,
}

impl StubRunner {
    /// A stub with an empty cache.
    pub fn new(config: StubConfig) -> Self {
        let sequences = vec![Held::default(); config.sequences];
        Self {
            config,
            sequences,
            adapters: Vec::new(),
            outputs: Vec::new(),
            steps: 0,
            cells: 0,
        }
    }

    fn logits_after(&self, held: &Held) -> Vec<f32> {
        let next = self.next_token(held);
        let mut logits = vec![0.0; VOCABULARY];
        if matches!(self.config.reply, Reply::Uncertain) {
            // The letters in a rotation that the history decides, from likely to unlikely.
            for rank in 0..26 {
                let letter = b'a' as usize + (next as usize - b'a' as usize + rank) % 26;
                logits[letter] = CERTAIN - rank as f32 / 8.0;
            }
        } else {
            logits[next as usize] = CERTAIN;
        }
        logits
    }

    fn next_token(&self, held: &Held) -> Token {
        let (reply, position) = match &self.config.reply {
            Reply::Mixed | Reply::Uncertain => return mixed(&held.tokens, &self.adapters),
            Reply::Fixed(text) => {
                let prompt = held.prompt.unwrap_or(held.tokens.len());
                (text.as_bytes().to_vec(), held.tokens.len() - prompt)
            }
            Reply::Echo => echo(held),
        };
        match reply.get(position) {
            Some(&byte) if position == 0 => {
                let shift: u32 = self.adapters.iter().map(|(id, _)| id.0 + 1).sum();
                (Token::from(byte) + shift) % 256
            }
            Some(&byte) => Token::from(byte),
            None => IM_END,
        }
    }
}

/// The reply to echo and how much of it has been said.
fn echo(held: &Held) -> (Vec<u8>, usize) {
    let tokens = &held.tokens;
    let Some(answer) = tokens.iter().rposition(|&token| token == IM_START) else {
        let prompt = held.prompt.unwrap_or(tokens.len());
        return (bytes(&tokens[..prompt]), tokens.len() - prompt);
    };
    // "<|im_start|>user\n…<|im_end|>\n<|im_start|>assistant\n…"
    let header = "assistant\n".len() + 1;
    let said = tokens.len().saturating_sub(answer + header);
    let user: Vec<Token> = "user\n".bytes().map(Token::from).collect();
    let message = (0..answer)
        .rev()
        .filter(|&at| tokens[at] == IM_START)
        .find_map(|at| tokens[at + 1..answer].strip_prefix(user.as_slice()))
        .unwrap_or_default();
    let end = message
        .iter()
        .position(|&token| token == IM_END)
        .unwrap_or(message.len());
    (bytes(&message[..end]), said)
}

fn bytes(tokens: &[Token]) -> Vec<u8> {
    tokens
        .iter()
        .filter_map(|&token| u8::try_from(token).ok())
        .collect()
}

/// A printable byte that depends on every token of the history (FNV-1a).
fn mixed(tokens: &[Token], adapters: &[(AdapterId, f32)]) -> Token {
    let adapters = adapters.iter().map(|(id, _)| id.0 + 1000);
    let hash = tokens
        .iter()
        .copied()
        .chain(adapters)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, t| {
            (hash ^ u64::from(t)).wrapping_mul(0x0100_0000_01b3)
        });
    b'a' as Token + ((hash >> 32) % 26) as Token
}

impl Runner for StubRunner {
    fn limits(&self) -> RunnerLimits {
        RunnerLimits {
            cells: self.config.cells,
            sequences: self.config.sequences,
            batch: self.config.batch,
            outputs: self.config.batch,
            vocabulary: VOCABULARY,
            can_truncate: true,
            generates: self.config.generates,
        }
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        None
    }

    fn reserve(&mut self, _: usize) -> Result<(), RunnerError> {
        Ok(())
    }

    fn decode(&mut self, batch: &Batch) -> Result<(), RunnerError> {
        if let Some(gate) = &self.config.gate
            && gate.recv().is_err()
        {
            self.config.gate = None;
        }
        let step = self.steps;
        self.steps += 1;
        if self.config.fail_from_step.is_some_and(|from| step >= from)
            || self.config.fail_at_step == Some(step)
        {
            return Err(RunnerError::Failed("the stub was told to fail".to_owned()));
        }
        assert!(
            self.config.panic_at_step != Some(step),
            "the stub was told to panic"
        );
        assert!(batch.len() <= self.config.batch, "a batch over the limit");
        let cells = self.sequences.iter().flat_map(|held| &held.cells);
        let used = cells.collect::<HashSet<_>>().len();
        if used + batch.len() > self.config.cells.min(self.config.real_cells) {
            return Err(RunnerError::CacheFull);
        }
        self.outputs.clear();
        for row in batch.rows() {
            let held = &mut self.sequences[row.sequence.0 as usize];
            assert_eq!(
                held.tokens.len(),
                row.position as usize,
                "a gap in a sequence"
            );
            held.tokens.push(row.token);
            held.cells.push(self.cells);
            self.cells += 1;
            if row.output && held.prompt.is_none() {
                held.prompt = Some(held.tokens.len());
            }
            let output = row.output.then(|| {
                let held = &self.sequences[row.sequence.0 as usize];
                self.logits_after(held)
            });
            self.outputs.push(output);
        }
        Ok(())
    }

    fn logits(&mut self, row: usize) -> Option<&mut [f32]> {
        self.outputs.get_mut(row)?.as_deref_mut()
    }

    fn copy(&mut self, from: SequenceId, to: SequenceId, length: u32) -> bool {
        let length = length as usize;
        let Held { tokens, cells, .. } = &self.sequences[from.0 as usize];
        let (tokens, cells) = (tokens[..length].to_vec(), cells[..length].to_vec());
        let target = &mut self.sequences[to.0 as usize];
        assert!(target.tokens.is_empty(), "a fork into a sequence in use");
        *target = Held {
            tokens,
            cells,
            prompt: None,
        };
        true
    }

    fn truncate(&mut self, sequence: SequenceId, length: u32) -> bool {
        let held = &mut self.sequences[sequence.0 as usize];
        held.tokens.truncate(length as usize);
        held.cells.truncate(length as usize);
        held.prompt = held
            .prompt
            .filter(|&prompt| prompt <= length as usize && length > 0);
        true
    }

    fn set_adapters(&mut self, adapters: &[(AdapterId, f32)]) -> Result<(), RunnerError> {
        self.adapters = adapters.to_vec();
        Ok(())
    }

    fn reset(&mut self) -> Result<(), RunnerError> {
        self.sequences.fill(Held::default());
        Ok(())
    }

    fn load_adapter(&mut self, path: &Path) -> Result<AdapterId, String> {
        if path.as_os_str() == "missing" {
            return Err("missing: no such file".to_owned());
        }
        self.config.adapters += 1;
        Ok(AdapterId(self.config.adapters as u32 - 1))
    }

    fn unload_adapter(&mut self, id: AdapterId) -> bool {
        assert!(
            !self.adapters.iter().any(|(active, _)| *active == id),
            "an adapter is unloaded under a batch"
        );
        (id.0 as usize) < self.config.adapters
    }

    fn save(&mut self, sequence: SequenceId) -> Option<Vec<u8>> {
        let held = &self.sequences[sequence.0 as usize];
        Some(held.tokens.iter().flat_map(|t| t.to_le_bytes()).collect())
    }

    fn restore(&mut self, sequence: SequenceId, state: &[u8]) -> bool {
        let (words, rest) = state.as_chunks::<4>();
        if rest.is_empty() {
            self.cells += words.len();
            self.sequences[sequence.0 as usize] = Held {
                tokens: words
                    .iter()
                    .map(|word| Token::from_le_bytes(*word))
                    .collect(),
                cells: (self.cells - words.len()..self.cells).collect(),
                prompt: None,
            };
        }
        rest.is_empty()
    }

    fn embedding(&self) -> Option<(Pooling, usize)> {
        Some((Pooling::Mean, self.config.batch))
    }

    /// How often each of eight kinds of bytes comes up.
    fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, RunnerError> {
        let tokens: usize = texts.iter().map(Vec::len).sum();
        assert!(tokens <= self.config.batch, "more than one call may have");
        let vector = |text: &Vec<Token>| {
            let mut counts = vec![0.0; 8];
            for &token in text {
                counts[token as usize % 8] += 1.0;
            }
            counts
        };
        Ok(texts.iter().map(vector).collect())
    }
}

/// The stub's [`Tokenizer`]: bytes and ChatML's markers.
#[derive(Debug)]
pub struct StubTokenizer {
    specials: Vec<String>,
}

impl Default for StubTokenizer {
    fn default() -> Self {
        let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
        Self {
            specials: specials.map(str::to_owned).to_vec(),
        }
    }
}

impl Tokenizer for StubTokenizer {
    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn tokenize(&self, text: &str, specials: Specials) -> Result<Vec<Token>, TokenizeError> {
        let mut tokens = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let special = (END_OF_TEXT..)
                .zip(&self.specials)
                .find(|(_, special)| specials == Specials::Parse && rest.starts_with(*special));
            if let Some((token, special)) = special {
                tokens.push(token);
                rest = &rest[special.len()..];
                continue;
            }
            // A whole character at a time, so that `rest` stays on a boundary.
            let width = first.len_utf8();
            tokens.extend(rest.bytes().take(width).map(Token::from));
            rest = &rest[width..];
        }
        Ok(tokens)
    }

    fn append_piece(&self, token: Token, specials: Specials, out: &mut Vec<u8>) {
        match u8::try_from(token) {
            Ok(byte) => out.push(byte),
            Err(_) if specials == Specials::Parse => {
                let index = (token - END_OF_TEXT) as usize;
                out.extend(
                    self.specials
                        .get(index)
                        .map(String::as_bytes)
                        .unwrap_or_default(),
                );
            }
            Err(_) => {}
        }
    }

    fn is_end_of_generation(&self, token: Token) -> bool {
        token == END_OF_TEXT || token == IM_END
    }

    fn is_control(&self, token: Token) -> bool {
        token >= END_OF_TEXT
    }

    fn beginning_of_sequence(&self) -> Option<Token> {
        None
    }

    fn end_of_sequence(&self) -> Option<Token> {
        Some(IM_END)
    }

    fn special_texts(&self) -> &[String] {
        &self.specials
    }

    fn text_marks(&self) -> TextMarks {
        TextMarks::default()
    }

    fn fill_in_the_middle(&self) -> Option<FillInTheMiddle> {
        None
    }
}
