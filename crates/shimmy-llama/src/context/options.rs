//! What a context can be asked to be, and its translation for llama.cpp.

use llama_cpp_sys_2 as sys;

use crate::devices::{gpu_offload_supported, physical_cores};
use crate::error::LlamaError;
use crate::model::Model;

/// When attention is computed in one fused operation, without the matrix of all scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlashAttention {
    /// Where the devices support it, which CPUs always do.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How the KV cache stores keys or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    #[default]
    F16,
    /// 16-bit brain floats.
    Bf16,
    /// 8-bit blocks: about half the memory of [`F16`](Self::F16).
    Q8_0,
    /// 4-bit blocks: about a quarter of that memory.
    Q4_0,
}

impl CacheType {
    /// Bytes of so many numbers of a head.
    pub(crate) fn bytes(self, numbers: u64) -> u64 {
        // SAFETY: both functions look up constants by a type that exists.
        let (bytes, block) = unsafe {
            (
                sys::ggml_type_size(self.raw()) as u64,
                sys::ggml_blck_size(self.raw()).max(1) as u64,
            )
        };
        numbers.div_ceil(block) * bytes
    }

    fn raw(self) -> sys::ggml_type {
        match self {
            Self::F32 => sys::GGML_TYPE_F32,
            Self::F16 => sys::GGML_TYPE_F16,
            Self::Bf16 => sys::GGML_TYPE_BF16,
            Self::Q8_0 => sys::GGML_TYPE_Q8_0,
            Self::Q4_0 => sys::GGML_TYPE_Q4_0,
        }
    }
}

/// What a context can hold and how it computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextOptions {
    /// Cells of the KV cache, shared by all sequences; as many as the model was trained with by
    /// default. llama.cpp rounds up to a multiple of 256. All of their memory is taken at once.
    pub cells: Option<u32>,
    /// Sequences that can exist at a time, at most 256.
    pub sequences: u32,
    /// Rows of the largest batch.
    pub batch: u32,
    /// Rows computed at once; a larger batch is computed in parts. The memory for intermediate
    /// results grows with it.
    pub micro_batch: u32,
    /// Threads that compute; one for each physical core by default. They wait for each other
    /// after every operation, so one that gets no core holds up all.
    pub threads: Option<u32>,
    /// When to use flash attention.
    pub flash_attention: FlashAttention,
    /// How keys are stored.
    pub cache_keys: CacheType,
    /// How values are stored; a type of less than 16 bits needs flash attention.
    pub cache_values: CacheType,
    /// Computes embeddings, pooled like this, instead of logits; then every row has output.
    pub embeddings: Option<Pool>,
}

/// How the tokens of a sequence become one embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// As the model's file says.
    Model,
    /// Not at all: one for each token.
    None,
    /// Their mean.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// A score instead of a vector, by the model's own head.
    Rank,
}

impl Pool {
    fn raw(self) -> sys::llama_pooling_type {
        match self {
            Self::Model => sys::LLAMA_POOLING_TYPE_UNSPECIFIED,
            Self::None => sys::LLAMA_POOLING_TYPE_NONE,
            Self::Mean => sys::LLAMA_POOLING_TYPE_MEAN,
            Self::Cls => sys::LLAMA_POOLING_TYPE_CLS,
            Self::Last => sys::LLAMA_POOLING_TYPE_LAST,
            Self::Rank => sys::LLAMA_POOLING_TYPE_RANK,
        }
    }
}

impl Default for ContextOptions {
    fn default() -> Self {
        Self {
            cells: None,
            sequences: 4,
            batch: 512,
            micro_batch: 512,
            threads: None,
            flash_attention: FlashAttention::default(),
            cache_keys: CacheType::default(),
            cache_values: CacheType::default(),
            embeddings: None,
        }
    }
}

impl ContextOptions {
    /// The parameters for llama.cpp, checked for what it would abort on.
    pub(crate) fn resolve(&self, model: &Model) -> Result<sys::llama_context_params, LlamaError> {
        let cells = self.cells.unwrap_or_else(|| model.context_length());
        self.check(cells)?;
        let batch = self.batch.min(cells);
        // One output for each sequence is all that generation asks for. With room for an output
        // after every row, the buffers for logits would be `batch` × vocabulary × 4 bytes: 300 MB
        // instead of 2.4 MB for 512 rows, 4 sequences and 150,000 tokens. An encoder gives all.
        let all_outputs = self.embeddings.is_some() || model.has_encoder();
        let outputs = if all_outputs { batch } else { self.sequences };
        if outputs < self.sequences {
            let problem = format!(
                "a batch of {batch} rows is too small for {} sequences with embeddings",
                self.sequences
            );
            return Err(LlamaError::Options(problem));
        }
        let threads = self
            .threads
            .unwrap_or_else(|| physical_cores() as u32)
            .clamp(1, 512);

        // SAFETY: returns a plain value.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = cells;
        params.n_batch = batch;
        params.n_ubatch = if all_outputs {
            batch
        } else {
            self.micro_batch.min(batch)
        };
        params.n_seq_max = self.sequences;
        params.n_outputs_max = outputs;
        params.n_threads = threads as i32;
        params.n_threads_batch = threads as i32;
        params.flash_attn_type = self.flash_attention_raw();
        params.type_k = self.cache_keys.raw();
        params.type_v = self.cache_values.raw();
        params.embeddings = self.embeddings.is_some();
        if let Some(pool) = self.embeddings {
            params.pooling_type = pool.raw();
        }
        params.no_perf = true;
        // Sliding-window layers get a cache of their window's size, though it forgets what the
        // window leaves behind: a full one would hold every cell in every layer.
        params.swa_full = false;
        // Shared prefixes need one cache for all sequences.
        params.kv_unified = true;
        Ok(params)
    }

    fn check(&self, cells: u32) -> Result<(), LlamaError> {
        // SAFETY: returns a constant.
        let most = unsafe { sys::llama_max_parallel_sequences() };
        let problem = if cells == 0 {
            "the cache needs at least one cell".to_owned()
        } else if cells > i32::MAX as u32 - 255 {
            format!("a cache of {cells} cells is more than llama.cpp can count")
        } else if self.batch == 0 || self.micro_batch == 0 {
            "a batch needs at least one row".to_owned()
        } else if self.sequences == 0 || self.sequences as usize > most {
            format!("there can be 1 to {most} sequences, not {}", self.sequences)
        } else {
            return Ok(());
        };
        Err(LlamaError::Options(problem))
    }

    fn flash_attention_raw(&self) -> sys::llama_flash_attn_type {
        match self.flash_attention {
            // On a CPU the answer is known; finding it out would cost a graph.
            FlashAttention::Auto if !gpu_offload_supported() => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttention::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            FlashAttention::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttention::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        }
    }
}
