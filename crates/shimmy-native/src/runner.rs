//! The engine's [`Runner`] on this crate's arithmetic: translates batches, sequences and errors.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shimmy_engine::{
    AdapterId, AdapterLoader, AdapterScale, Batch, LoadedAdapter, Pooling, Row, Runner,
    RunnerError, RunnerLimits, SequenceId, Token,
};

use crate::adapter::{Adapter, AdapterError};
use crate::cache::Cache;
use crate::kernels::CacheType;
use crate::model::{Model, Network};
use crate::step::{Aborted, Adapted, EncoderStepper, Rows, Stepper};
use crate::threads::physical_cores;
use crate::vectors::{STEP_TEXTS, Unfinished, encoded, vectors};

/// How a runner is made.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Cells of the KV cache, shared by all sequences; what the model was made for by default.
    pub cells: Option<usize>,
    /// How the cache holds keys and values.
    pub cache_type: CacheType,
    /// Sequences that can exist at a time.
    pub sequences: usize,
    /// Rows of the largest batch.
    pub batch: usize,
    /// Threads that compute; one for each physical core by default.
    pub threads: Option<usize>,
    /// Adapters to load at the start, [`AdapterId`] 0 being the first.
    pub adapters: Vec<PathBuf>,
    /// Once true, ends what is being computed and all that would be.
    pub abort: Arc<AtomicBool>,
}

/// Tokens of the texts that are embedded together, at most: their cache grows with them.
const EMBEDDED_TOKENS: usize = 8192;

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            cells: None,
            cache_type: CacheType::default(),
            sequences: 4,
            batch: 512,
            threads: None,
            adapters: Vec::new(),
            abort: Arc::default(),
        }
    }
}

/// Computes logits, and vectors of texts, in Rust.
#[derive(Debug)]
pub struct NativeRunner {
    model: Arc<Model>,
    limits: RunnerLimits,
    /// Of an encoder it stays empty.
    cache: Cache,
    computes: Computes,
    /// By [`AdapterId`]; none where one was unloaded, so that no number gets a second meaning.
    adapters: Vec<Option<Arc<Adapter>>>,
    abort: Arc<AtomicBool>,
    /// The text that is embedded in parts.
    unfinished: Option<Unfinished>,
    rows: Rows,
    /// For each row of the last batch its place among the outputs.
    outputs: Vec<Option<usize>>,
}

/// What computes the model.
#[derive(Debug)]
enum Computes {
    Decoder(Stepper),
    Encoder(EncoderStepper),
}

impl NativeRunner {
    /// Creates a runner with an empty cache, whose memory is taken when it is needed. Blocks until
    /// adapters are read.
    pub fn new(model: Arc<Model>, options: RunnerOptions) -> Result<Self, AdapterError> {
        let adapters = options
            .adapters
            .iter()
            .map(|path| Ok(Some(Arc::new(Adapter::load(&model, path)?))))
            .collect::<Result<_, AdapterError>>()?;
        let cells = options.cells.unwrap_or(model.context_length()).max(1);
        let limits = RunnerLimits {
            cells,
            sequences: options.sequences.max(1),
            batch: options.batch.max(1),
            outputs: options.batch.max(1),
            vocabulary: model.vocabulary(),
            can_truncate: true,
            mixes_adapters: true,
            generates: matches!(model.network, Network::Decoder(_)),
        };
        let threads = options.threads.unwrap_or_else(physical_cores);
        let level = model.level;
        let (shape, computes) = match &model.network {
            Network::Decoder(decoder) => {
                let context = cells.min(decoder.plan.context);
                let stepper = Stepper::new(Arc::clone(decoder), level, threads, context);
                let shape = Stepper::shape(&decoder.plan, options.cache_type);
                (shape, Computes::Decoder(stepper))
            }
            Network::Encoder(encoder) => {
                let room = (STEP_TEXTS, limits.batch.max(encoder.plan.context));
                let stepper = EncoderStepper::new(Arc::clone(encoder), level, threads, room);
                (stepper.shape(), Computes::Encoder(stepper))
            }
        };
        Ok(Self {
            limits,
            cache: Cache::new(shape, cells, limits.sequences),
            computes,
            adapters,
            abort: options.abort,
            unfinished: None,
            rows: Rows::default(),
            outputs: Vec::new(),
            model,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How many adapters were ever loaded.
    pub fn adapters(&self) -> u32 {
        // Nobody loads 2^32 adapters.
        self.adapters.len() as u32
    }

    /// Sorts a batch by adapters, so that each is read once, and by sequences, and checks it.
    fn prepare(&mut self, batch: &Batch) -> Result<(), RunnerError> {
        let rows = batch.rows();
        if rows.len() > self.limits.batch || !self.limits.generates {
            return Err(RunnerError::InvalidBatch);
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        // Stable: the rows of a sequence stay in order.
        order.sort_by_key(|&index| (batch.adapter_set(index), rows[index].sequence));
        let same_adapters = |a: usize, b: usize| batch.adapter_set(a) == batch.adapter_set(b);
        let prepared = &mut self.rows;
        prepared.clear();
        self.outputs.clear();
        self.outputs.resize(rows.len(), None);
        for (place, &index) in order.iter().enumerate() {
            let Row {
                token,
                position,
                sequence,
                output,
            } = rows[index];
            let sequence = sequence.0 as usize;
            let length = self
                .cache
                .length(sequence)
                .ok_or(RunnerError::InvalidBatch)?;
            let sequences = &mut prepared.sequences;
            match sequences.iter().rposition(|&(id, ..)| id == sequence) {
                Some(at) if at + 1 == sequences.len() && same_adapters(order[place - 1], index) => {
                    sequences[at].2 += 1;
                }
                // It has rows with other adapters.
                Some(_) => return Err(RunnerError::InvalidBatch),
                None => sequences.push((sequence, place, 1)),
            }
            let first = prepared.sequences.last().map_or(0, |&(_, first, _)| first);
            let consecutive = position as usize == length + place - first;
            if !consecutive || token as usize >= self.limits.vocabulary {
                return Err(RunnerError::InvalidBatch);
            }
            prepared.tokens.push(token);
            prepared.positions.push(position);
            if output {
                self.outputs[index] = Some(prepared.outputs.len());
                prepared.outputs.push(place);
            }
        }
        for same in order.chunk_by(|&a, &b| same_adapters(a, b)) {
            let adapters = self.chosen_adapters(batch.adapters(batch.adapter_set(same[0])))?;
            let first = self.rows.adapted.last().map_or(0, |last| last.rows.end);
            let rows = first..first + same.len();
            self.rows.adapted.push(Adapted { rows, adapters });
        }
        Ok(())
    }

    fn chosen_adapters(
        &self,
        chosen: &[AdapterScale],
    ) -> Result<Vec<(Arc<Adapter>, f32)>, RunnerError> {
        let loaded = |&AdapterScale { id, scale }: &AdapterScale| {
            let adapter = self.adapters.get(id.0 as usize).and_then(Option::as_ref);
            let Some(adapter) = adapter else {
                tracing::error!(
                    adapter = id.0,
                    "a batch asks for an adapter that is not loaded"
                );
                return Err(RunnerError::InvalidBatch);
            };
            Ok((Arc::clone(adapter), scale))
        };
        chosen.iter().map(loaded).collect()
    }
}

impl Runner for NativeRunner {
    fn limits(&self) -> RunnerLimits {
        self.limits
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        let abort = Arc::clone(&self.abort);
        Some(Box::new(move || abort.store(true, Ordering::Relaxed)))
    }

    fn reserve(&mut self, _cells: usize) -> Result<(), RunnerError> {
        // Blocks are taken one by one, at no cost to those that are in use.
        Ok(())
    }

    fn decode(&mut self, batch: &Batch) -> Result<(), RunnerError> {
        if let Err(error) = self.prepare(batch) {
            self.outputs.clear();
            return Err(error);
        }
        let wanted: Vec<_> = self
            .rows
            .sequences
            .iter()
            .map(|&(id, _, rows)| (id, rows))
            .collect();
        self.cache
            .extend(&wanted)
            .map_err(|_| RunnerError::CacheFull)?;
        let done = match &mut self.computes {
            Computes::Decoder(stepper) => stepper.run(&self.rows, &mut self.cache, &self.abort),
            // Refused when it was prepared.
            Computes::Encoder(_) => Err(Aborted),
        };
        if done.is_err() {
            self.outputs.clear();
            return Err(RunnerError::Aborted);
        }
        for (sequence, rows) in wanted {
            self.cache.advance(sequence, rows);
        }
        Ok(())
    }

    fn logits(&mut self, row: usize) -> Option<&mut [f32]> {
        let output = self.outputs.get(row).copied().flatten()?;
        match &mut self.computes {
            Computes::Decoder(stepper) => stepper.logits(output),
            Computes::Encoder(_) => None,
        }
    }

    fn copy(&mut self, from: SequenceId, to: SequenceId, length: u32) -> bool {
        self.cache
            .fork(from.0 as usize, to.0 as usize, length as usize);
        true
    }

    fn truncate(&mut self, sequence: SequenceId, length: u32) -> bool {
        self.cache.truncate(sequence.0 as usize, length as usize);
        true
    }

    fn reset(&mut self) -> Result<(), RunnerError> {
        self.cache.clear();
        self.outputs.clear();
        Ok(())
    }

    fn adapter_loader(&self) -> AdapterLoader {
        // Who keeps the loader keeps no model in memory by that.
        let model = Arc::downgrade(&self.model);
        Arc::new(move |path| {
            let model = model.upgrade().ok_or("its model is being unloaded")?;
            let adapter = Adapter::load(&model, path).map_err(|error| error.to_string())?;
            Ok(LoadedAdapter::new(adapter))
        })
    }

    fn add_adapter(&mut self, adapter: LoadedAdapter) -> Result<AdapterId, String> {
        let adapter: Option<Adapter> = adapter.into_inner();
        let adapter = adapter.ok_or("it was loaded for another engine")?;
        self.adapters.push(Some(Arc::new(adapter)));
        Ok(AdapterId(self.adapters() - 1))
    }

    fn unload_adapter(&mut self, id: AdapterId) -> bool {
        let slot = self.adapters.get_mut(id.0 as usize);
        slot.and_then(Option::take).is_some()
    }

    fn save(&mut self, sequence: SequenceId) -> Option<Vec<u8>> {
        self.cache.save(sequence.0 as usize)
    }

    fn restore(&mut self, sequence: SequenceId, state: &[u8]) -> bool {
        self.cache.restore(sequence.0 as usize, state)
    }

    fn embedding(&self) -> Option<(Pooling, usize)> {
        let most = self.model.context_length().min(EMBEDDED_TOKENS);
        Some((self.model.pooling(), most))
    }

    /// Vectors are made without adapters.
    fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, RunnerError> {
        let known = |token: &Token| (*token as usize) < self.limits.vocabulary;
        if !texts.iter().flatten().all(known) {
            return Err(RunnerError::InvalidBatch);
        }
        self.outputs.clear();
        let batch = self.limits.batch;
        let vectors = match &mut self.computes {
            Computes::Decoder(stepper) => vectors(stepper, texts, batch, &self.abort),
            Computes::Encoder(stepper) => {
                // There are embeddings of so many positions, and room for so many rows.
                let most = stepper.plan().context;
                if texts.iter().any(|text| text.len() > most) {
                    return Err(RunnerError::InvalidBatch);
                }
                encoded(stepper, texts, batch, &self.abort)
            }
        };
        vectors.map_err(|_| RunnerError::Aborted)
    }

    fn embeds_in_parts(&self) -> bool {
        self.limits.generates
    }

    fn embed_part(
        &mut self,
        text: &[Token],
        part: Range<usize>,
    ) -> Result<Option<Vec<f32>>, RunnerError> {
        let Computes::Decoder(stepper) = &mut self.computes else {
            return Err(RunnerError::InvalidBatch);
        };
        let begun = self.unfinished.take().filter(|_| part.start > 0);
        let mut unfinished = begun.unwrap_or_else(|| Unfinished::new(stepper, text.len()));
        let known = |token: &Token| (*token as usize) < self.limits.vocabulary;
        let goes_on = unfinished.done() == part.start && part.end <= text.len();
        if !goes_on || !text.iter().all(known) {
            return Err(RunnerError::InvalidBatch);
        }
        self.outputs.clear();
        unfinished
            .go_on(stepper, (text, part.end), self.limits.batch, &self.abort)
            .map_err(|_| RunnerError::Aborted)?;
        if part.end == text.len() {
            return Ok(Some(unfinished.into_vector()));
        }
        self.unfinished = Some(unfinished);
        Ok(None)
    }
}
