//! The engine's [`Runner`] on llama.cpp: translates sequences, adapters and errors.

mod embed;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use shimmy_engine::{
    AdapterId, AdapterLoader, AdapterScale, Batch, LoadedAdapter, Pooling, Runner, RunnerError,
    RunnerLimits, SequenceId, Token,
};

use crate::context::{AbortFlag, Context, ContextOptions, Pool};
use crate::error::{DecodeError, LlamaError};
use crate::lora::Adapter;
use crate::model::Model;
use crate::reader::Reader;

/// How a runner is made.
#[derive(Debug, Clone, Default)]
pub struct RunnerOptions {
    /// What its context can hold and how it computes; `embeddings` should stay off.
    pub context: ContextOptions,
    /// Adapters to load at the start, [`AdapterId`] 0 being the first.
    pub adapters: Vec<PathBuf>,
    /// Aborts what is being computed: a shutdown need not wait for a long prompt.
    pub abort: AbortFlag,
}

/// Computes logits with llama.cpp. Belongs to the thread that made it.
#[derive(Debug)]
pub struct LlamaRunner {
    /// None for an encoder, and after a [`reset`](Runner::reset) that failed.
    context: Option<Context>,
    /// By [`AdapterId`]; none where one was unloaded, so that no number gets a second meaning.
    adapters: Vec<Option<Arc<Adapter>>>,
    /// The adapters that the context applies.
    active: Vec<AdapterScale>,
    model: Arc<Model>,
    /// As asked for, but with the cells that the context has now.
    options: ContextOptions,
    abort: AbortFlag,
    limits: RunnerLimits,
    /// Cells that the cache may grow to; fewer than the limit once there was no memory for them.
    most_cells: usize,
    /// Makes vectors of texts; made when first asked for.
    embedder: Option<Context>,
    /// Computes a text in parts; likewise.
    reader: Option<Reader>,
    embeds_in_parts: bool,
}

/// Tokens of the texts that are embedded together, at most: an embedder's memory for intermediate
/// results grows with them.
const EMBEDDED_TOKENS: u32 = 8192;

/// Texts that are embedded together, at most.
const EMBEDDED_TEXTS: usize = 64;

/// Cells of a new cache.
///
/// llama.cpp clears a cache when it makes it, which takes a start's longest part (0.1 s for 8192
/// cells of a 135M model) and the memory of all cells, whether they are ever used or not. So the
/// cache starts small and doubles when it is needed, up to what was asked for.
const FIRST_CELLS: u32 = 2048;

/// llama.cpp rounds the number of cells up to a multiple of this.
const CELL_STEP: u32 = 256;

impl LlamaRunner {
    /// Creates a runner with an empty cache, without a warm-up: the first batch pays for reading
    /// weights that are still on disk. Blocks until adapters are read and the cache is cleared.
    pub fn new(model: Arc<Model>, options: RunnerOptions) -> Result<Self, LlamaError> {
        let RunnerOptions {
            context: mut context_options,
            adapters: paths,
            abort,
        } = options;
        let cannot = |reason| LlamaError::CannotGenerate {
            path: model.path().to_owned(),
            reason,
        };
        if model.has_encoder() && model.has_decoder() {
            return Err(cannot(
                "its encoder would have to read the prompt, which is not supported",
            ));
        }
        if model.is_diffusion() {
            return Err(cannot("it writes by diffusion, not token by token"));
        }
        // Before the context, whose graphs are sized by the adapters that the model has by then.
        let adapters = paths
            .iter()
            .map(|path| Adapter::load(&model, path).map(Some))
            .collect::<Result<Vec<_>, _>>()?;
        // Checked as asked for, since the first context is made with fewer cells.
        context_options.resolve(&model)?;
        let most = context_options
            .cells
            .unwrap_or_else(|| model.context_length())
            .next_multiple_of(CELL_STEP);
        let mut first = FIRST_CELLS.max(context_options.batch.next_multiple_of(CELL_STEP));
        // llama.cpp chooses factors of positions by the size of the cache. What was computed with some
        // is nonsense to the others, so it begins with those that it will have in the end.
        if let Some(short) = model.short_context().filter(|&short| most > short) {
            first = first.max((short + 1).next_multiple_of(CELL_STEP));
        }
        context_options.cells = Some(most.min(first));
        let context = Context::new(Arc::clone(&model), &context_options, abort.clone())?;
        let (sequences, batch) = (context.sequences(), context.max_rows());
        // An encoder reads texts as a whole and keeps nothing of them; only the embedder is needed.
        let is_causal = context.is_causal();
        let context = Some(context).filter(Context::has_memory);
        let generates = context.is_some();
        let limits = RunnerLimits {
            cells: most as usize,
            generates,
            sequences,
            batch,
            outputs: sequences,
            vocabulary: model.vocabulary(),
            // A window's cache forgets what a cut would need again. Some cuts still work, see
            // `truncate`, but none can be relied on.
            can_truncate: model.can_cut(),
            // A context applies its adapters to all rows.
            mixes_adapters: false,
        };
        // A head that ranks sees the text as a whole.
        let embeds_in_parts = is_causal && model.pooling() != Some(Pool::Rank);
        Ok(Self {
            context,
            adapters,
            active: Vec::new(),
            model,
            options: context_options,
            abort,
            limits,
            most_cells: limits.cells,
            embedder: None,
            reader: None,
            embeds_in_parts,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    fn adapter(&self, id: AdapterId) -> Option<&Arc<Adapter>> {
        self.adapters.get(id.0 as usize)?.as_ref()
    }

    /// Makes the context apply these adapters.
    fn choose_adapters(&mut self, adapters: &[AdapterScale]) -> Result<(), RunnerError> {
        // A change makes llama.cpp reserve its graphs anew.
        if self.active == adapters {
            return Ok(());
        }
        let mut chosen = Vec::with_capacity(adapters.len());
        for &AdapterScale { id, scale } in adapters {
            let Some(adapter) = self.adapter(id) else {
                tracing::error!(
                    adapter = id.0,
                    "a batch asks for an adapter that is not loaded"
                );
                return Err(RunnerError::InvalidBatch);
            };
            chosen.push((Arc::clone(adapter), scale));
        }
        self.context
            .as_mut()
            .ok_or_else(no_context)?
            .set_adapters(&chosen)
            .map_err(|error| {
                tracing::error!(%error, "the adapters of a batch cannot be applied");
                RunnerError::InvalidBatch
            })?;
        self.active.clear();
        self.active.extend_from_slice(adapters);
        Ok(())
    }
}

impl Runner for LlamaRunner {
    fn limits(&self) -> RunnerLimits {
        self.limits
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        let abort = self.abort.clone();
        Some(Box::new(move || abort.set()))
    }

    fn reserve(&mut self, cells: usize) -> Result<(), RunnerError> {
        if cells > self.cells() {
            self.grow(cells)?;
        }
        Ok(())
    }

    fn decode(&mut self, batch: &Batch) -> Result<(), RunnerError> {
        let adapters = batch.common_adapters().ok_or(RunnerError::InvalidBatch)?;
        self.choose_adapters(adapters)?;
        loop {
            let context = self.context.as_mut().ok_or_else(no_context)?;
            let error = match context.decode(batch.rows()) {
                Ok(()) => return Ok(()),
                Err(DecodeError::CacheFull) if self.grow(0)? => continue,
                Err(error) => error,
            };
            tracing::debug!(%error, rows = batch.len(), "a batch was not computed");
            return Err(error.into());
        }
    }

    fn logits(&mut self, row: usize) -> Option<&mut [f32]> {
        self.context.as_mut()?.logits(row)
    }

    /// Of a model that cannot truncate, `from` is copied as a whole, or up to where its window
    /// still reaches; any other length leaves `to` empty.
    fn copy(&mut self, from: SequenceId, to: SequenceId, length: u32) -> bool {
        self.context
            .as_mut()
            .is_some_and(|context| context.copy(from.0, to.0, length))
    }

    fn truncate(&mut self, sequence: SequenceId, length: u32) -> bool {
        // Without a context there is no cell to free.
        self.context
            .as_mut()
            .is_none_or(|context| context.remove(sequence.0, length))
    }

    fn reset(&mut self) -> Result<(), RunnerError> {
        if !self.limits.generates {
            return Ok(());
        }
        // First the old cache is freed: there may not be memory for two.
        self.context = None;
        let context = Context::new(Arc::clone(&self.model), &self.options, self.abort.clone())
            .map_err(|error| RunnerError::Failed(error.to_string()))?;
        self.context = Some(context);
        // A new context applies none.
        self.active.clear();
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
        let adapter: Option<Arc<Adapter>> = adapter.into_inner();
        let adapter = adapter.ok_or("it was loaded for another engine")?;
        self.adapters.push(Some(adapter));
        // Nobody loads 2^32 adapters.
        Ok(AdapterId(self.adapters.len() as u32 - 1))
    }

    fn unload_adapter(&mut self, id: AdapterId) -> bool {
        // The context holds those that it applies.
        if self.active.iter().any(|active| active.id == id)
            && let Err(error) = self.choose_adapters(&[])
        {
            tracing::warn!(%error, "an adapter keeps its memory until the next batch");
        }
        self.adapters
            .get_mut(id.0 as usize)
            .and_then(Option::take)
            .is_some()
    }

    fn save(&mut self, sequence: SequenceId) -> Option<Vec<u8>> {
        self.context.as_mut()?.save_sequence(sequence.0)
    }

    fn restore(&mut self, sequence: SequenceId, state: &[u8]) -> bool {
        self.context
            .as_mut()
            .is_some_and(|context| context.restore_sequence(sequence.0, state))
    }

    fn embedding(&self) -> Option<(Pooling, usize)> {
        let pooling = match self.model.pooling() {
            Some(Pool::Cls) => Pooling::Cls,
            Some(Pool::Last) => Pooling::Last,
            Some(Pool::Rank) => Pooling::Rank,
            _ => Pooling::Mean,
        };
        let most = self.model.context_length().min(EMBEDDED_TOKENS);
        Some((pooling, most as usize))
    }

    fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, RunnerError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for texts in texts.chunks(EMBEDDED_TEXTS) {
            self.embed_together(texts, &mut vectors)?;
        }
        Ok(vectors)
    }

    fn embeds_in_parts(&self) -> bool {
        self.embeds_in_parts
    }

    fn embed_part(
        &mut self,
        text: &[Token],
        part: Range<usize>,
    ) -> Result<Option<Vec<f32>>, RunnerError> {
        let (pooling, _) = self.embedding().ok_or(RunnerError::InvalidBatch)?;
        let begun = self.reader.take();
        let fits = |reader: &Reader| reader.context.cells() >= text.len();
        let mut reader = match begun.filter(fits) {
            Some(reader) => reader,
            None => self.new_reader(text.len())?,
        };
        // After an error it is gone, with all that it may hold.
        let vector = reader.go_on(text, part, pooling)?;
        self.reader = Some(reader);
        Ok(vector)
    }
}

impl LlamaRunner {
    fn cells(&self) -> usize {
        self.context.as_ref().map_or(0, Context::cells)
    }

    /// Moves what the cache holds into one with room for `cells`, or for all that was asked for.
    /// False when the cache is as it was: it cannot grow, or there is no memory for more.
    fn grow(&mut self, cells: usize) -> Result<bool, RunnerError> {
        let now = self.cells();
        let wanted = cells.max(now + 1).next_power_of_two().min(self.most_cells);
        if wanted <= now {
            return Ok(false);
        }
        let Some(state) = self.context.as_mut().and_then(Context::save) else {
            return Ok(false);
        };
        // First the old cache is freed: there may not be memory for two.
        self.context = None;
        let grown = self.open(wanted, &state);
        if let Err(error) = &grown {
            tracing::warn!(%error, cells = wanted, "the KV cache cannot grow");
            self.most_cells = now;
            self.open(now, &state)?;
        }
        tracing::debug!(from = now, to = self.cells(), "the KV cache has grown");
        Ok(grown.is_ok())
    }

    /// Opens a context with this many cells and this content.
    fn open(&mut self, cells: usize, state: &[u8]) -> Result<(), RunnerError> {
        self.options.cells = u32::try_from(cells).ok();
        let mut context = Context::new(Arc::clone(&self.model), &self.options, self.abort.clone())
            .map_err(|error| RunnerError::Failed(error.to_string()))?;
        if !context.restore(state) {
            let reason = "the content of the KV cache could not be moved".to_owned();
            return Err(RunnerError::Failed(reason));
        }
        self.context = Some(context);
        let active = std::mem::take(&mut self.active);
        self.choose_adapters(&active)
    }
}

fn no_context() -> RunnerError {
    RunnerError::Failed("there is no context, since a reset failed".to_owned())
}
