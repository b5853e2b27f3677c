//! llama.cpp as an engine.

use std::sync::Arc;

use shimmy_engine::{EngineConfig, Session, Tokenizer, spawn};
use shimmy_llama::{
    CacheType, ContextOptions, DeviceKind, LlamaError, LlamaRunner, LlamaTokenizer, LoadOptions,
    Model, Placement, RunnerOptions, cpu_features, llama_version,
};
use shimmy_models::ModelFile;

use super::{Device, KvCacheType, OpenOptions, Opened, Progress, store};
use crate::memory;

/// What it is called.
const NAME: &str = "llama.cpp";

/// A failure to start an engine: llama.cpp's, or the system's refusal of a thread.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Llama(#[from] LlamaError),
    #[error("no thread for the engine: {0}")]
    Thread(#[from] std::io::Error),
}

pub(super) fn open(
    model: &ModelFile,
    options: &OpenOptions,
    progress: &Progress,
) -> Result<Opened, String> {
    open_session(model, options, progress).map_err(|error| match (&error, options.cache.kind) {
        // llama.cpp keeps heads of whole blocks only, and not for architectures without flash
        // attention; which of them it is, it says.
        (OpenError::Llama(LlamaError::Context { .. }), KvCacheType::Q8_0) => {
            format!("{error}; --kv-cache-type f16 is for every model")
        }
        _ => error.to_string(),
    })
}

fn open_session(
    file: &ModelFile,
    options: &OpenOptions,
    progress: &Progress,
) -> Result<Opened, OpenError> {
    let load = LoadOptions {
        gpu_layers: options.gpu_layers,
        ..LoadOptions::default()
    };
    let model = Model::load_with_progress(&file.path, &load, &mut |part| progress.report(part))?;
    let placement = match model.placement() {
        Placement::Cpu => "cpu".to_owned(),
        Placement::Gpu { placed, all } => format!("gpu ({placed} of {all} layers)"),
        Placement::Unknown => "unknown: llama.cpp did not say".to_owned(),
    };
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(LlamaTokenizer::new(Arc::clone(&model))?);
    let trained = Some(u64::from(model.context_length()));
    options.warn_of_context(&file.name, trained);
    let cache_type = match options.cache.kind {
        KvCacheType::F16 => CacheType::F16,
        KvCacheType::Q8_0 => CacheType::Q8_0,
    };
    let bytes_per_cell = model.bytes_per_cell(cache_type);
    let cache = options.cache_plan(trained, bytes_per_cell, model.can_cut());
    let built = (
        (model.parameters(), llama_version(), cpu_features()),
        // Some models turn positions by factors that depend on the size of the cache.
        (
            (options.threads, options.gpu_layers),
            (cache.cells, options.cache.kind),
        ),
    );
    let engine = EngineConfig {
        parallel: Some(options.parallel as usize),
        parked_cells: Some(cache.parked_cells as usize),
        offload_bytes: cache.offload_bytes,
        context: Some(cache.context as usize),
        store: store::config(file, options, &built),
        ..options.engine.clone()
    };
    let runner = RunnerOptions {
        context: ContextOptions {
            cells: Some(cache.cells),
            sequences: cache.sequences,
            batch: cache.batch,
            threads: options.threads,
            cache_keys: cache_type,
            cache_values: cache_type,
            ..ContextOptions::default()
        },
        adapters: options.adapters.clone(),
        ..RunnerOptions::default()
    };
    // Linux shows 15 characters of a thread's name; the model's are the telling ones.
    let name = format!("engine {}", file.name);
    let engine = spawn::<_, OpenError, _>(&name, engine, Arc::clone(&tokenizer), move || {
        Ok(LlamaRunner::new(model, runner)?)
    })?;
    let session = Session::new(tokenizer, engine, options.adapters.len());
    Ok(Opened {
        session,
        engine: NAME,
        placement,
    })
}

pub(super) fn about() -> serde_json::Value {
    serde_json::json!({
        "name": NAME,
        "version": llama_version(),
        "cpu_features": cpu_features(),
    })
}

pub(super) fn devices() -> Vec<Device> {
    shimmy_llama::devices()
        .into_iter()
        .map(|device| Device {
            name: device.name,
            description: device.description,
            kind: match device.kind {
                DeviceKind::Cpu => "cpu",
                DeviceKind::Gpu => "gpu",
                DeviceKind::IntegratedGpu => "integrated_gpu",
                DeviceKind::Accelerator => "accelerator",
                DeviceKind::Other => "other",
            },
            memory_total_bytes: device.memory_total as u64,
            // For the processor llama.cpp says that all of its memory is free.
            memory_free_bytes: match device.kind {
                DeviceKind::Cpu => memory::available_bytes(),
                _ => Some(device.memory_free as u64),
            },
        })
        .collect()
}
