//! The engine in Rust.

use std::sync::Arc;

use shimmy_engine::{EngineConfig, Session, Tokenizer, spawn};
use shimmy_models::{Metadata, ModelFile};
use shimmy_native::{
    AdapterError, CacheType, NativeRunner, Options, PackedFolder, RunnerOptions, open_with_progress,
};

use super::choice::Native;
use super::{KvCacheType, OpenOptions, Opened, Progress, store};

/// What it is called.
pub(super) const NAME: &str = "native";

/// A failure to start an engine: the file's, an adapter's, or the system's refusal of a thread.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Model(#[from] shimmy_native::OpenError),
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error("no thread for the engine: {0}")]
    Thread(#[from] std::io::Error),
}

/// Whether it runs the model with this header.
pub(super) fn says(metadata: &Metadata) -> Native {
    match shimmy_native::supports(metadata) {
        Err(unsupported) => Native::Unsupported(unsupported.to_string()),
        Ok(support) if support.is_verified && is_known_to_be_quick() => Native::Verified,
        Ok(_) => Native::Unverified,
    }
}

/// Whether it has been measured beside llama.cpp on such a processor. On Arm its answers were checked, under
/// emulation, and its speed never.
fn is_known_to_be_quick() -> bool {
    cfg!(target_arch = "x86_64") && shimmy_native::processor().is_some()
}

/// Bytes of a model's weights in memory; none if it is not one for this engine.
pub(super) fn weights(metadata: &Metadata) -> Option<u64> {
    Some(shimmy_native::supports(metadata).ok()?.weights)
}

/// Weights that are packed in a few milliseconds are not worth a file.
const LEAST_PACKED: u64 = 32 << 20;

fn packed_folder(options: &OpenOptions) -> Option<PackedFolder> {
    Some(PackedFolder {
        path: options.weights.folder.clone()?,
        most_bytes: options.weights.bytes,
        least_bytes: LEAST_PACKED,
    })
}

pub(super) fn open(
    model: &ModelFile,
    metadata: &Metadata,
    options: &OpenOptions,
    progress: &Progress,
) -> Result<Opened, String> {
    open_session(model, metadata, options, progress).map_err(|error| error.to_string())
}

fn open_session(
    file: &ModelFile,
    metadata: &Metadata,
    options: &OpenOptions,
    progress: &Progress,
) -> Result<Opened, OpenError> {
    let threads = options.threads.map(|threads| threads as usize);
    let mut watch = |part| progress.report(part);
    let how = Options {
        threads,
        packed: packed_folder(options),
    };
    let (model, tokenizer) = open_with_progress(&file.path, &how, &mut watch)?;
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(tokenizer);
    let trained = Some(model.context_length() as u64);
    options.warn_of_context(&file.name, trained);
    let cache_type = match options.cache.kind {
        KvCacheType::F16 => CacheType::F16,
        KvCacheType::Q8_0 => CacheType::Q8_0,
    };
    let cache = options.block_plan(trained, model.bytes_per_cell(cache_type));
    let built = (
        (NAME, metadata.architecture()),
        (cache.cells, options.cache.kind),
    );
    let engine = EngineConfig {
        parallel: Some(options.parallel as usize),
        parked_cells: Some(cache.parked_cells as usize),
        offload_bytes: cache.offload_bytes,
        context: Some(cache.context as usize),
        // The same bits come from any number of threads and any kind of vectors. Some models turn
        // positions by factors that depend on the size of the cache.
        store: store::config(file, options, &built),
        ..options.engine.clone()
    };
    let runner = RunnerOptions {
        cells: Some(cache.cells as usize),
        cache_type,
        sequences: cache.sequences as usize,
        batch: cache.batch as usize,
        threads,
        adapters: options.adapters.clone(),
        ..RunnerOptions::default()
    };
    // Linux shows 15 characters of a thread's name; the model's are the telling ones.
    let name = format!("engine {}", file.name);
    let engine = spawn::<_, OpenError, _>(&name, engine, Arc::clone(&tokenizer), move || {
        Ok(NativeRunner::new(model, runner)?)
    })?;
    let session = Session::new(tokenizer, engine, options.adapters.len());
    Ok(Opened {
        session,
        engine: NAME,
        placement: "cpu".to_owned(),
    })
}

pub(super) fn about() -> serde_json::Value {
    serde_json::json!({
        "name": NAME,
        "version": env!("CARGO_PKG_VERSION"),
        "cpu_features": shimmy_native::processor().unwrap_or("none"),
    })
}
