//! The stub's backend: a cache of numbered cells that keeps a [`Runner`]'s promises and panics where
//! the engine breaks its own. It fails where it was told to; what it says is the business of
//! [`Reply`](super::Reply).

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::StubConfig;
use super::tokenizer::VOCABULARY;
use crate::embed::Pooling;
use crate::error::RunnerError;
use crate::runner::{
    AdapterId, AdapterLoader, Batch, LoadedAdapter, Runner, RunnerLimits, SequenceId, Token,
};

/// The stub's [`Runner`].
#[derive(Debug)]
pub struct StubRunner {
    config: StubConfig,
    sequences: Vec<Held>,
    adapter_gate: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
    /// Adapters that no batch may name any more.
    unloaded: Vec<AdapterId>,
    outputs: Vec<Option<Vec<f32>>>,
    steps: usize,
    /// Cells that were ever written: each gets a number of its own.
    cells: usize,
    /// How much of a text was computed in parts, and what is known of it.
    text: (usize, Vec<f32>),
}

/// What the stub computed in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Computed {
    /// A step of so many rows.
    Step(usize),
    /// So many tokens of texts.
    Texts(usize),
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
    pub fn new(mut config: StubConfig) -> Self {
        let sequences = vec![Held::default(); config.sequences];
        Self {
            adapter_gate: Arc::new(Mutex::new(config.adapter_gate.take())),
            config,
            sequences,
            unloaded: Vec::new(),
            outputs: Vec::new(),
            steps: 0,
            cells: 0,
            text: (0, Vec::new()),
        }
    }

    /// Waits until the test lets it compute.
    fn pass_gate(&mut self) {
        if let Some(gate) = &self.config.gate
            && gate.recv().is_err()
        {
            self.config.gate = None;
        }
    }

    fn tell(&self, computed: Computed) {
        if let Some(listener) = &self.config.computed {
            // Who asked to be told may have heard enough.
            let _ = listener.send(computed);
        }
    }

    fn has_adapter(&self, id: AdapterId) -> bool {
        (id.0 as usize) < self.config.adapters && !self.unloaded.contains(&id)
    }

    fn check_adapters(&self, batch: &Batch) {
        assert!(
            self.config.mixes_adapters || batch.common_adapters().is_some(),
            "a batch of different adapters"
        );
        for row in 0..batch.len() {
            let adapters = batch.adapters(batch.adapter_set(row));
            assert!(
                adapters.iter().all(|adapter| self.has_adapter(adapter.id)),
                "an adapter that is not loaded"
            );
        }
    }
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
            mixes_adapters: self.config.mixes_adapters,
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
        self.pass_gate();
        self.tell(Computed::Step(batch.len()));
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
        self.check_adapters(batch);
        let cells = self.sequences.iter().flat_map(|held| &held.cells);
        let used = cells.collect::<HashSet<_>>().len();
        let has_room = used + batch.len() <= self.config.cells.min(self.config.real_cells);
        if !has_room || self.config.full_at_step == Some(step) {
            return Err(RunnerError::CacheFull);
        }
        self.outputs.clear();
        for (index, row) in batch.rows().iter().enumerate() {
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
                let prompt = held.prompt.unwrap_or(held.tokens.len());
                let reply = &self.config.reply;
                let adapters = batch.adapters(batch.adapter_set(index));
                reply.logits_after(&held.tokens, prompt, adapters)
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

    fn reset(&mut self) -> Result<(), RunnerError> {
        self.sequences.fill(Held::default());
        Ok(())
    }

    fn adapter_loader(&self) -> AdapterLoader {
        let gate = Arc::clone(&self.adapter_gate);
        Arc::new(move |path| {
            // Nothing can panic under the lock.
            let gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(gate) = gate.as_ref() {
                // As for steps: a dropped sender opens it for good.
                let _ = gate.recv();
            }
            match path.as_os_str() == "missing" {
                true => Err("missing: no such file".to_owned()),
                false => Ok(LoadedAdapter::new(())),
            }
        })
    }

    fn add_adapter(&mut self, _: LoadedAdapter) -> Result<AdapterId, String> {
        self.config.adapters += 1;
        Ok(AdapterId(self.config.adapters as u32 - 1))
    }

    fn unload_adapter(&mut self, id: AdapterId) -> bool {
        let is_loaded = self.has_adapter(id);
        if is_loaded {
            self.unloaded.push(id);
        }
        is_loaded
    }

    fn save(&mut self, sequence: SequenceId) -> Option<Vec<u8>> {
        let held = &self.sequences[sequence.0 as usize];
        Some(held.tokens.iter().flat_map(|t| t.to_le_bytes()).collect())
    }

    fn restore(&mut self, sequence: SequenceId, state: &[u8]) -> bool {
        let (words, rest) = state.as_chunks::<4>();
        if !self.config.takes_states {
            return false;
        }
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
        Some((Pooling::Mean, self.config.longest_text))
    }

    /// How often each of eight kinds of bytes comes up.
    fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, RunnerError> {
        self.pass_gate();
        let tokens: usize = texts.iter().map(Vec::len).sum();
        self.tell(Computed::Texts(tokens));
        assert!(
            tokens <= self.config.longest_text,
            "more than one call may have"
        );
        let vector = |text: &Vec<Token>| {
            let mut counts = vec![0.0; 8];
            count_kinds(text, &mut counts);
            counts
        };
        Ok(texts.iter().map(vector).collect())
    }

    fn embeds_in_parts(&self) -> bool {
        self.config.embeds_in_parts
    }

    fn embed_part(
        &mut self,
        text: &[Token],
        part: Range<usize>,
    ) -> Result<Option<Vec<f32>>, RunnerError> {
        assert!(self.config.embeds_in_parts, "a text in parts");
        self.pass_gate();
        self.tell(Computed::Texts(part.len()));
        if part.start == 0 {
            self.text = (0, vec![0.0; 8]);
        }
        let (done, counts) = &mut self.text;
        assert_eq!(*done, part.start, "a gap in a text");
        *done = part.end;
        count_kinds(&text[part.clone()], counts);
        Ok((part.end == text.len()).then(|| counts.clone()))
    }
}

fn count_kinds(tokens: &[Token], counts: &mut [f32]) {
    for &token in tokens {
        counts[token as usize % 8] += 1.0;
    }
}
