//! A loaded model: its weights and facts. Owns the pointer; knows nothing of contexts.

use std::any::Any;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, RwLock};

use llama_cpp_sys_2 as sys;

use crate::context::{CacheType, Pool};
use crate::error::{LlamaError, c_path};
use crate::logging;

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Layers to place on GPUs; all that fit the build's devices by default. Without effect in a
    /// build without one.
    pub gpu_layers: Option<u32>,
    /// Whether weights stay in the file's pages instead of being read; faster to start, and shared
    /// between processes.
    pub mmap: bool,
    /// Whether the weights are locked in memory, so that they are never swapped out.
    pub lock: bool,
    /// Whether weights are rearranged for the CPU's widest instructions where llama.cpp knows how
    /// (Q4_0, Q4_K and some more): faster to compute, at the price of a copy while loading.
    pub repack: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            gpu_layers: None,
            mmap: true,
            lock: false,
            repack: true,
        }
    }
}

/// Where a model's layers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// All on the CPU.
    Cpu,
    /// `placed` of `all` layers on GPUs, the output layer included in both.
    Gpu {
        /// Layers on GPUs.
        placed: u32,
        /// Layers in all.
        all: u32,
    },
    /// llama.cpp did not say.
    Unknown,
}

/// The kind of tokeniser a model was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VocabularyKind {
    /// None: the model does not work on text.
    None,
    /// SentencePiece with byte fallback.
    SentencePiece,
    /// Byte-level BPE.
    BytePair,
    /// WordPiece.
    WordPiece,
    /// Unigram.
    Unigram,
    /// Greedy, of RWKV.
    Rwkv,
    /// One that this crate has no name for.
    Other,
}

/// A loaded model. Shared by its contexts, adapters and tokenisers; freed with the last of them.
pub struct Model {
    raw: NonNull<sys::llama_model>,
    path: PathBuf,
    placement: Placement,
    /// Guards the model's set of adapters, the only part of it that changes after loading.
    ///
    /// llama.cpp adds to the set when an adapter is loaded and walks it when a context sizes its
    /// graph (at creation, and in the first decode after the adapters in use changed), without a
    /// lock of its own.
    pub(crate) adapter_set: RwLock<()>,
}

// SAFETY: the pointer is owned, and llama.cpp ties no part of a model to the thread that loaded it.
unsafe impl Send for Model {}
// SAFETY: llama.cpp only reads a loaded model, but for the set of adapters, which `adapter_set`
// guards, and for RoPE overrides of a context, which this crate never sets.
unsafe impl Sync for Model {}

impl Model {
    /// Loads a GGUF file; of a sharded model, the first shard, and llama.cpp finds the others.
    ///
    /// Blocks until the model is loaded. Its weights may still be on disk then, see
    /// [`LoadOptions::mmap`].
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Arc<Self>, LlamaError> {
        Self::load_with_progress(path, options, &mut |_| true)
    }

    /// [`load`](Self::load), reporting the loaded part, 0 to 1, to `progress`, which returns false
    /// to give up.
    pub fn load_with_progress(
        path: &Path,
        options: &LoadOptions,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Arc<Self>, LlamaError> {
        crate::initialise();
        let c_path = c_path(path)?;
        let mut watcher = Watcher {
            progress,
            cancelled: false,
            panic: None,
        };
        // SAFETY: returns a plain value.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.n_gpu_layers = options
            .gpu_layers
            .map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX));
        params.load_mode = match (options.mmap, options.lock) {
            (true, true) => sys::LLAMA_LOAD_MODE_MMAP_MLOCK,
            (true, false) => sys::LLAMA_LOAD_MODE_MMAP,
            (false, true) => sys::LLAMA_LOAD_MODE_MLOCK,
            (false, false) => sys::LLAMA_LOAD_MODE_NONE,
        };
        params.use_extra_bufts = options.repack;
        params.progress_callback = Some(report_progress);
        params.progress_callback_user_data = (&raw mut watcher).cast();
        // SAFETY: the path is NUL-terminated; `watcher` is what `report_progress` expects, outlives
        // the call and is not used by anyone else during it.
        let (raw, captured) = logging::capture(|| unsafe {
            sys::llama_model_load_from_file(c_path.as_ptr(), params)
        });
        if let Some(panic) = watcher.panic {
            resume_unwind(panic);
        }
        let path = path.to_owned();
        let Some(raw) = NonNull::new(raw) else {
            return Err(if watcher.cancelled {
                LlamaError::LoadCancelled { path }
            } else {
                LlamaError::Load {
                    path,
                    reason: captured.reason(),
                }
            });
        };
        let placement = match captured.offloaded {
            _ if !crate::gpu_offload_supported() => Placement::Cpu,
            Some((placed, all)) => Placement::Gpu { placed, all },
            None => Placement::Unknown,
        };
        Ok(Arc::new(Self {
            raw,
            path,
            placement,
            adapter_set: RwLock::new(()),
        }))
    }

    /// The pointer, for calls that this module has no method for.
    pub(crate) fn raw(&self) -> *mut sys::llama_model {
        self.raw.as_ptr()
    }

    pub(crate) fn vocabulary_raw(&self) -> *const sys::llama_vocab {
        // SAFETY: the model is alive; the vocabulary is a part of it.
        unsafe { sys::llama_model_get_vocab(self.raw()) }
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its layers are.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Tokens of the context it was trained with.
    pub fn context_length(&self) -> u32 {
        // SAFETY: the model is alive, and the function only reads it.
        unsafe { sys::llama_model_n_ctx_train(self.raw()) }
            .try_into()
            .unwrap_or(0)
    }

    /// The context up to which it turns positions by one set of factors, and beyond which by another
    /// (LongRoPE, as Phi 3 has it); none where one set is all.
    pub(crate) fn short_context(&self) -> Option<u32> {
        let architecture = self.architecture()?;
        let get = |key: &str| self.metadata(&format!("{architecture}.rope.scaling.{key}"));
        // Phi's files do not name the type.
        let has_two = get("type").as_deref() == Some("longrope") || architecture.starts_with("phi");
        let length = get("original_context_length").filter(|_| has_two);
        length?.parse().ok()
    }

    /// How many parameters it has.
    pub fn parameters(&self) -> u64 {
        // SAFETY: as in `context_length`.
        unsafe { sys::llama_model_n_params(self.raw()) }
    }

    /// Bytes of all its tensors.
    pub fn bytes(&self) -> u64 {
        // SAFETY: as in `context_length`.
        unsafe { sys::llama_model_size(self.raw()) }
    }

    /// How many layers it has.
    pub fn layers(&self) -> u32 {
        // SAFETY: as in `context_length`.
        unsafe { sys::llama_model_n_layer(self.raw()) }
            .try_into()
            .unwrap_or(0)
    }

    /// Length of the embeddings it puts out.
    pub fn embedding_length(&self) -> usize {
        // SAFETY: as in `context_length`.
        unsafe { sys::llama_model_n_embd_out(self.raw()) }
            .try_into()
            .unwrap_or(0)
    }

    /// How many tokens its vocabulary has.
    pub fn vocabulary(&self) -> usize {
        // SAFETY: as in `context_length`; the vocabulary is a part of the model.
        unsafe { sys::llama_vocab_n_tokens(self.vocabulary_raw()) }
            .try_into()
            .unwrap_or(0)
    }

    /// The kind of its tokeniser.
    pub fn vocabulary_kind(&self) -> VocabularyKind {
        // SAFETY: as in `vocabulary`.
        match unsafe { sys::llama_vocab_type(self.vocabulary_raw()) } {
            sys::LLAMA_VOCAB_TYPE_NONE => VocabularyKind::None,
            sys::LLAMA_VOCAB_TYPE_SPM => VocabularyKind::SentencePiece,
            sys::LLAMA_VOCAB_TYPE_BPE => VocabularyKind::BytePair,
            sys::LLAMA_VOCAB_TYPE_WPM => VocabularyKind::WordPiece,
            sys::LLAMA_VOCAB_TYPE_UGM => VocabularyKind::Unigram,
            sys::LLAMA_VOCAB_TYPE_RWKV => VocabularyKind::Rwkv,
            _ => VocabularyKind::Other,
        }
    }

    /// Whether it has an encoder that must read the input first.
    pub fn has_encoder(&self) -> bool {
        // SAFETY: as in `context_length`.
        unsafe { sys::llama_model_has_encoder(self.raw()) }
    }

    /// Whether it has a decoder.
    pub fn has_decoder(&self) -> bool {
        // SAFETY: as in `context_length`.
        unsafe { sys::llama_model_has_decoder(self.raw()) }
    }

    /// Whether its only memory is a state that cannot be taken back, as in Mamba and RWKV.
    pub fn is_recurrent(&self) -> bool {
        // SAFETY: as in `context_length`.
        unsafe { sys::llama_model_is_recurrent(self.raw()) }
    }

    /// Whether it has such a state beside a KV cache, as Jamba and Granite 4 do.
    pub fn is_hybrid(&self) -> bool {
        // SAFETY: as in `context_length`.
        unsafe { sys::llama_model_is_hybrid(self.raw()) }
    }

    /// Whether its cache of a sequence can be cut or shared at any position.
    ///
    /// Not where a state cannot be taken back, nor where a window has forgotten what a cut would
    /// need. DeepSeek 4 compresses its cache and reports neither; copying a part of it would end
    /// the process.
    pub fn can_cut(&self) -> bool {
        !self.keeps_state() && self.sliding_window().is_none()
    }

    /// Whether its cache of a sequence can only be copied as a whole, window or not.
    pub(crate) fn keeps_state(&self) -> bool {
        self.is_recurrent()
            || self.is_hybrid()
            || matches!(self.architecture().as_deref(), Some("deepseek4" | "dflash"))
    }

    /// Whether it computes whole texts by diffusion instead of token by token.
    pub fn is_diffusion(&self) -> bool {
        // SAFETY: as in `context_length`.
        unsafe { sys::llama_model_is_diffusion(self.raw()) }
    }

    /// How far back its sliding-window layers see, if it has such layers.
    pub fn sliding_window(&self) -> Option<u32> {
        // SAFETY: as in `context_length`.
        let window = unsafe { sys::llama_model_n_swa(self.raw()) };
        u32::try_from(window).ok().filter(|&window| window > 0)
    }

    /// How it makes one vector of a text, if its file says so.
    pub fn pooling(&self) -> Option<Pool> {
        let architecture = self.architecture()?;
        match self
            .metadata(&format!("{architecture}.pooling_type"))?
            .as_str()
        {
            "1" => Some(Pool::Mean),
            "2" => Some(Pool::Cls),
            "3" => Some(Pool::Last),
            "4" => Some(Pool::Rank),
            _ => None,
        }
    }

    /// Bytes that one token takes in a KV cache of this type, all layers together; an upper bound
    /// where only some layers keep all tokens.
    pub fn bytes_per_cell(&self, kind: CacheType) -> u64 {
        // SAFETY: as in `context_length`.
        let (heads, shared_heads) = unsafe {
            (
                sys::llama_model_n_head(self.raw()).max(1) as u64,
                sys::llama_model_n_head_kv(self.raw()).max(1) as u64,
            )
        };
        let number = |name: &str| {
            let architecture = self.architecture()?;
            let value = self.metadata(&format!("{architecture}.attention.{name}"))?;
            value.parse::<u64>().ok()
        };
        let width = self.embedding_length() as u64 / heads;
        let keys = number("key_length").unwrap_or(width);
        let values = number("value_length").unwrap_or(width);
        u64::from(self.layers()) * shared_heads * (kind.bytes(keys) + kind.bytes(values))
    }

    /// A short description, such as "llama 1B Q4_K - Medium".
    pub fn description(&self) -> String {
        // SAFETY: as in `context_length`; llama.cpp writes at most `size` bytes.
        read_string(|buffer, size| unsafe { sys::llama_model_desc(self.raw(), buffer, size) })
            .unwrap_or_default()
    }

    /// Its architecture, such as "llama" or "qwen3".
    pub fn architecture(&self) -> Option<String> {
        self.metadata("general.architecture")
    }

    /// A scalar metadata value of its file, as text.
    pub fn metadata(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        // SAFETY: as in `description`; the key is NUL-terminated.
        read_string(|buffer, size| unsafe {
            sys::llama_model_meta_val_str(self.raw(), key.as_ptr(), buffer, size)
        })
    }

    /// The chat template of its file.
    pub fn chat_template(&self) -> Option<String> {
        // SAFETY: the model is alive; a null name asks for the default template.
        let template = unsafe { sys::llama_model_chat_template(self.raw(), std::ptr::null()) };
        if template.is_null() {
            return None;
        }
        // SAFETY: not null, it points to a NUL-terminated string that belongs to the model.
        Some(
            unsafe { CStr::from_ptr(template) }
                .to_string_lossy()
                .into_owned(),
        )
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: the pointer is owned, and this is the last use of it: contexts, adapters and
        // tokenisers hold an `Arc` of this model. For the same reason its set of adapters, which
        // llama.cpp would free along with it, is empty.
        unsafe { sys::llama_model_free(self.raw()) };
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What [`report_progress`] needs, and what became of it.
struct Watcher<'a> {
    progress: &'a mut dyn FnMut(f32) -> bool,
    cancelled: bool,
    panic: Option<Box<dyn Any + Send>>,
}

unsafe extern "C" fn report_progress(part: f32, watcher: *mut c_void) -> bool {
    // SAFETY: `load_with_progress` passes its `Watcher`, which it does not touch during the call,
    // and llama.cpp reports from the thread it was called on.
    let watcher = unsafe { &mut *watcher.cast::<Watcher<'_>>() };
    // A panic must not cross the C++ frames below: it ends the load and goes on above them.
    match catch_unwind(AssertUnwindSafe(|| (watcher.progress)(part))) {
        Ok(true) => true,
        Ok(false) => {
            watcher.cancelled = true;
            false
        }
        Err(panic) => {
            watcher.panic = Some(panic);
            false
        }
    }
}

/// Reads a string by one of llama.cpp's functions that fill a buffer and return the length needed
/// without the final NUL, or a negative number when there is no such string.
fn read_string(fill: impl Fn(*mut c_char, usize) -> i32) -> Option<String> {
    let mut buffer = vec![0_u8; 128];
    loop {
        let length = usize::try_from(fill(buffer.as_mut_ptr().cast(), buffer.len())).ok()?;
        if length < buffer.len() {
            return Some(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        buffer.resize(length + 1, 0);
    }
}
