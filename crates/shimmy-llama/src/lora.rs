//! A loaded LoRA adapter. Owns the pointer; a context chooses which adapters apply.

use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError};

use llama_cpp_sys_2 as sys;

use crate::error::{LlamaError, c_path};
use crate::logging;
use crate::model::Model;

/// A LoRA adapter, loaded for one model. Shared by the contexts that apply it.
pub struct Adapter {
    raw: NonNull<sys::llama_adapter_lora>,
    path: PathBuf,
    /// Keeps the model alive: llama.cpp frees the adapters of a model with it.
    model: Arc<Model>,
}

// SAFETY: the pointer is owned, and llama.cpp ties no part of an adapter to a thread.
unsafe impl Send for Adapter {}
// SAFETY: llama.cpp only reads an adapter once it is loaded.
unsafe impl Sync for Adapter {}

impl Adapter {
    /// Loads an adapter for `model`, which may be in use meanwhile.
    ///
    /// Blocks until the file is read; decodes of the model wait for it.
    pub fn load(model: &Arc<Model>, path: &Path) -> Result<Arc<Self>, LlamaError> {
        let c_path = c_path(path)?;
        let (raw, captured) = {
            // Nothing can panic under this lock, so poison means nothing.
            let _set = model
                .adapter_set
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            // SAFETY: the model is alive, the path NUL-terminated; the lock keeps others from the
            // set of adapters that this call extends.
            logging::capture(|| unsafe {
                sys::llama_adapter_lora_init(model.raw(), c_path.as_ptr())
            })
        };
        let path = path.to_owned();
        match NonNull::new(raw) {
            Some(raw) => Ok(Arc::new(Self {
                raw,
                path,
                model: Arc::clone(model),
            })),
            None => Err(LlamaError::Adapter {
                path,
                reason: captured.reason(),
            }),
        }
    }

    pub(crate) fn raw(&self) -> *mut sys::llama_adapter_lora {
        self.raw.as_ptr()
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model it was loaded for.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        let _set = self
            .model
            .adapter_set
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the pointer is owned, and no context uses it any more: each holds an `Arc` of
        // the adapters it applies. The model, whose set this call takes it from, is alive, and
        // the lock keeps others from that set.
        unsafe { sys::llama_adapter_lora_free(self.raw()) };
    }
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adapter")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
