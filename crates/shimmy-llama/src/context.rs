//! A context: the KV cache of a model and the computation on it. Owns the pointer, belongs to one
//! thread; knows nothing of the engine but the layout of a row.

mod memory;
mod options;

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use llama_cpp_sys_2 as sys;
use shimmy_engine::Row;

pub use self::options::{CacheType, ContextOptions, FlashAttention, Pool};
use crate::batch::{Bounds, Columns};
use crate::error::{DecodeError, InvalidBatch, LlamaError};
use crate::logging;
use crate::lora::Adapter;
use crate::model::Model;

/// A switch that aborts the computations of the contexts it was given to; clones share it.
///
/// It stays where it is put: while it is set, every decode is aborted within one operation of
/// the graph. Works on CPUs; a GPU finishes what it was given.
#[derive(Debug, Clone, Default)]
pub struct AbortFlag(Arc<AtomicBool>);

impl AbortFlag {
    /// Aborts what is being computed, and what will be.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Lets the following computations run.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The KV cache of a model and the computation on it.
///
/// Not `Send`: OpenMP keeps a pool of threads for the thread that computes.
#[derive(Debug)]
pub struct Context {
    raw: NonNull<sys::llama_context>,
    /// Part of the context; null for a model that keeps nothing between decodes.
    memory: sys::llama_memory_t,
    bounds: Bounds,
    cells: usize,
    /// Two facts of the model that decide where a sequence can be cut.
    keeps_state: bool,
    window: Option<u32>,
    columns: Columns,
    /// The adapters in use; held because llama.cpp keeps their pointers.
    adapters: Vec<(Arc<Adapter>, f32)>,
    /// Held because llama.cpp keeps its pointer.
    _abort: AbortFlag,
    model: Arc<Model>,
}

impl Context {
    /// Creates a context with an empty cache. Blocks while the cache's memory is being cleared.
    pub fn new(
        model: Arc<Model>,
        options: &ContextOptions,
        abort: AbortFlag,
    ) -> Result<Self, LlamaError> {
        let mut params = options.resolve(&model)?;
        params.abort_callback = Some(should_abort);
        params.abort_callback_data = Arc::as_ptr(&abort.0).cast_mut().cast();
        let (raw, captured) = {
            let _set = model
                .adapter_set
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            // SAFETY: the model is alive and stays so, as the context holds it; so does the flag
            // behind the callback. `resolve` gave parameters that llama.cpp does not abort on. The
            // lock keeps others from the set of adapters that this call walks.
            logging::capture(|| unsafe { sys::llama_init_from_model(model.raw(), params) })
        };
        let Some(raw) = NonNull::new(raw) else {
            return Err(LlamaError::Context {
                reason: captured.reason(),
            });
        };
        // SAFETY: the context is alive; its memory is a part of it.
        let memory = unsafe { sys::llama_get_memory(raw.as_ptr()) };
        // SAFETY: the context is alive; these functions only read it.
        let (cells, batch, ubatch, causal) = unsafe {
            (
                sys::llama_n_ctx(raw.as_ptr()),
                sys::llama_n_batch(raw.as_ptr()),
                sys::llama_n_ubatch(raw.as_ptr()),
                sys::llama_get_causal_attn(raw.as_ptr()),
            )
        };
        // Without a memory, or where a token sees those after it, a batch cannot be cut in parts.
        let rows = if memory.is_null() || !causal {
            ubatch.min(batch)
        } else {
            batch
        };
        let bounds = Bounds {
            rows: rows as usize,
            outputs: params.n_outputs_max.min(rows) as usize,
            vocabulary: model.vocabulary(),
            sequences: params.n_seq_max as usize,
            output_all: options.embeddings.is_some(),
        };
        Ok(Self {
            raw,
            memory,
            bounds,
            cells: cells as usize,
            keeps_state: model.keeps_state(),
            window: model.sliding_window(),
            columns: Columns::default(),
            adapters: Vec::new(),
            _abort: abort,
            model,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Cells of the cache, shared by all sequences.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Rows of the largest batch.
    pub fn max_rows(&self) -> usize {
        self.bounds.rows
    }

    /// How many sequences there can be.
    pub fn sequences(&self) -> usize {
        self.bounds.sequences
    }

    /// Whether anything is kept between decodes; without, text cannot be continued.
    pub fn has_memory(&self) -> bool {
        !self.memory.is_null()
    }

    /// Whether no token sees those behind it, so that a text can be computed in parts.
    pub fn is_causal(&self) -> bool {
        // SAFETY: the context is alive; the function only reads it.
        self.has_memory() && unsafe { sys::llama_get_causal_attn(self.raw.as_ptr()) }
    }

    /// Computes a batch. Blocks until done.
    ///
    /// After an error there is no output; [`DecodeError`] tells what becomes of the cache.
    pub fn decode(&mut self, rows: &[Row]) -> Result<(), DecodeError> {
        self.columns.fill(rows, &self.bounds)?;
        let batch = self.columns.as_raw();
        let (code, captured) = {
            // After a change of adapters, decoding walks the model's set of them; see `Model`.
            let _set = self
                .model
                .adapter_set
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            // SAFETY: the context is alive and used by this thread alone. The batch keeps to the
            // bounds that llama.cpp asserts, points into `columns`, which nobody changes during
            // the call, and is not kept after it.
            logging::capture(|| unsafe { sys::llama_decode(self.raw.as_ptr(), batch) })
        };
        if code != 0 {
            self.columns.forget_outputs();
        }
        match code {
            0 => Ok(()),
            1 => Err(DecodeError::CacheFull),
            2 => Err(DecodeError::Aborted),
            -1 => Err(InvalidBatch::Refused(captured.reason()).into()),
            code => Err(DecodeError::Failed {
                code,
                reason: captured.reason(),
            }),
        }
    }

    /// The logits after a row of the last batch, one for each token of the vocabulary, to read or
    /// to overwrite; `None` when the row had no output.
    pub fn logits(&mut self, row: usize) -> Option<&mut [f32]> {
        let index = self.output_index(row)?;
        // SAFETY: the context is alive, and `index` is a row with output, so llama.cpp neither
        // throws nor asserts. It waits here for a computation that still runs.
        let logits = unsafe { sys::llama_get_logits_ith(self.raw.as_ptr(), index) };
        // SAFETY: llama.cpp's output buffer has `vocabulary` floats for this row. It hands them out
        // as `float *`, does not read them again, and moves them only in calls that need
        // `&mut self`, which the slice keeps borrowed.
        NonNull::new(logits).map(|first| unsafe {
            std::slice::from_raw_parts_mut(first.as_ptr(), self.bounds.vocabulary)
        })
    }

    /// The embedding after a row of the last batch, when the context computes embeddings and the
    /// model does not pool them.
    pub fn embedding(&mut self, row: usize) -> Option<&[f32]> {
        let index = self
            .output_index(row)
            .filter(|_| self.bounds.output_all && !self.pools())?;
        // SAFETY: as in `logits`; the context computes embeddings, so it has a buffer for them.
        let values = unsafe { sys::llama_get_embeddings_ith(self.raw.as_ptr(), index) };
        self.embedding_slice(values)
    }

    /// The pooled embedding of a sequence of the last batch, when the context computes embeddings
    /// and the model pools them.
    pub fn sequence_embedding(&mut self, sequence: u32) -> Option<&[f32]> {
        let id = self
            .sequence(sequence)
            .filter(|_| self.bounds.output_all && self.pools())?;
        // SAFETY: the context is alive; a sequence that was not in the batch gives null.
        let values = unsafe { sys::llama_get_embeddings_seq(self.raw.as_ptr(), id) };
        self.embedding_slice(values)
    }

    /// Chooses the adapters of the following decodes, with their scales; twice the same one counts
    /// as once with both scales.
    pub fn set_adapters(&mut self, adapters: &[(Arc<Adapter>, f32)]) -> Result<(), LlamaError> {
        let mut merged: Vec<(Arc<Adapter>, f32)> = Vec::with_capacity(adapters.len());
        for (adapter, scale) in adapters {
            if !Arc::ptr_eq(adapter.model(), &self.model) {
                return Err(LlamaError::AdapterOfOtherModel {
                    path: adapter.path().to_owned(),
                });
            }
            if !scale.is_finite() {
                return Err(LlamaError::AdapterScale(*scale));
            }
            // llama.cpp would ignore the second mention of an adapter.
            match merged
                .iter_mut()
                .find(|(known, _)| Arc::ptr_eq(known, adapter))
            {
                Some((_, sum)) => *sum += scale,
                None => merged.push((Arc::clone(adapter), *scale)),
            }
        }
        let mut pointers: Vec<_> = merged.iter().map(|(adapter, _)| adapter.raw()).collect();
        let mut scales: Vec<_> = merged.iter().map(|(_, scale)| *scale).collect();
        // SAFETY: both arrays have as many elements as said and are copied; the adapters are of
        // this model, and `self.adapters` keeps them alive until others replace them here.
        let code = unsafe {
            sys::llama_set_adapters_lora(
                self.raw.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                scales.as_mut_ptr(),
            )
        };
        if code != 0 {
            let reason = format!("the choice of adapters was refused with code {code}");
            return Err(LlamaError::Context { reason });
        }
        // Only now may the previous ones be freed.
        self.adapters = merged;
        Ok(())
    }

    /// A sequence's number as llama.cpp takes it, if there is such a sequence.
    fn sequence(&self, sequence: u32) -> Option<sys::llama_seq_id> {
        ((sequence as usize) < self.bounds.sequences).then_some(sequence as sys::llama_seq_id)
    }

    fn output_index(&self, row: usize) -> Option<i32> {
        self.columns
            .has_output(row)
            .then(|| i32::try_from(row).ok())?
    }

    fn pooling(&self) -> sys::llama_pooling_type {
        // SAFETY: the context is alive; the function only reads it.
        unsafe { sys::llama_pooling_type(self.raw.as_ptr()) }
    }

    fn pools(&self) -> bool {
        self.pooling() != sys::LLAMA_POOLING_TYPE_NONE
    }

    fn embedding_slice(&mut self, values: *mut f32) -> Option<&[f32]> {
        let length = if self.pooling() == sys::LLAMA_POOLING_TYPE_RANK {
            // SAFETY: the model is alive, and one that ranks has class outputs.
            unsafe { sys::llama_model_n_cls_out(self.model.raw()) as usize }
        } else {
            self.model.embedding_length()
        };
        // SAFETY: llama.cpp's buffer has this many floats for one embedding and does not move
        // before a call that needs `&mut self`, which the slice keeps borrowed.
        NonNull::new(values)
            .map(|first| unsafe { std::slice::from_raw_parts(first.as_ptr(), length) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the pointer is owned, and this is the last use of it. The model, the adapters and
        // the abort flag are fields, which are dropped after this.
        unsafe { sys::llama_free(self.raw.as_ptr()) };
    }
}

unsafe extern "C" fn should_abort(flag: *mut c_void) -> bool {
    // SAFETY: `Context::new` passes its `AbortFlag`'s atomic, which the context holds.
    let flag = unsafe { &*flag.cast_const().cast::<AtomicBool>() };
    flag.load(Ordering::Relaxed)
}
