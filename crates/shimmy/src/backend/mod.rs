//! The engines that are compiled in: the one place that knows the features `llama` and `stub`.

#![cfg_attr(
    not(feature = "llama"),
    expect(
        dead_code,
        reason = "the command line is the same in a build without an engine"
    )
)]

#[cfg(feature = "llama")]
mod llama;
#[cfg(feature = "stub")]
mod stub;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use shimmy_engine::{EngineConfig, Session};
use shimmy_models::ModelFile;

/// A model that an engine has loaded.
pub(crate) struct Opened {
    pub(crate) session: Session,
    /// Where its layers are, in words: `cpu`, or `gpu (24 of 33 layers)`.
    pub(crate) placement: String,
}

/// How a model is to be run.
#[derive(Debug, Clone)]
pub(crate) struct OpenOptions {
    /// Tokens of context; none means the model's own, up to [`DEFAULT_CONTEXT`].
    pub(crate) context: Option<u32>,
    /// Requests computed together.
    pub(crate) parallel: u32,
    /// Threads that compute; none means one per physical core.
    pub(crate) threads: Option<u32>,
    /// Layers on the GPU; none means all.
    pub(crate) gpu_layers: Option<u32>,
    /// Adapter files to load with the model.
    pub(crate) adapters: Vec<PathBuf>,
    /// What is kept of earlier requests.
    pub(crate) cache: CacheOptions,
    /// The engine's own limits.
    pub(crate) engine: EngineConfig,
}

/// What is kept of earlier requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheOptions {
    /// Bytes of memory.
    pub(crate) bytes: u64,
    /// Where it outlives the process.
    pub(crate) folder: Option<PathBuf>,
    /// Bytes of that folder.
    pub(crate) disk_bytes: u64,
}

/// Sequences that keep prefixes of ended requests, beside those that run. Each has a row in the
/// buffer for logits.
const PARKED_SEQUENCES: u32 = 40;

/// Context that a model gets when nobody asks for another: what agents' prompts need, and no more
/// memory than a laptop has.
pub(crate) const DEFAULT_CONTEXT: u32 = 16_384;

impl OpenOptions {
    /// Cells of the KV cache for a model trained with this context.
    pub(crate) fn cells(&self, trained: Option<u64>) -> u32 {
        let trained = trained
            .and_then(|n| u32::try_from(n).ok())
            .filter(|&n| n > 0);
        self.context
            .unwrap_or_else(|| trained.unwrap_or(4096).min(DEFAULT_CONTEXT))
    }
}

/// A compute device that an engine sees.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) description: String,
    /// `cpu`, `gpu`, `integrated_gpu` or `accelerator`.
    pub(crate) kind: &'static str,
    pub(crate) memory_total_bytes: u64,
    /// None where nobody knows.
    pub(crate) memory_free_bytes: Option<u64>,
}

/// The name of the model that the deterministic engine answers for.
pub(crate) const STUB_MODEL: &str = "stub";

/// Whether there is a deterministic engine in this build.
pub(crate) const HAS_STUB: bool = cfg!(feature = "stub");

/// Loads a model file. Blocks, and gives up soon after `stopping` turns true; the reason of a
/// failure is fit for users.
#[cfg(feature = "llama")]
pub(crate) fn open(
    model: &ModelFile,
    options: &OpenOptions,
    stopping: &AtomicBool,
) -> Result<Opened, String> {
    llama::open(model, options, stopping)
}

/// As above, in a build that cannot.
#[cfg(not(feature = "llama"))]
pub(crate) fn open(model: &ModelFile, _: &OpenOptions, _: &AtomicBool) -> Result<Opened, String> {
    let name = &model.name;
    Err(format!(
        "this build of shimmy has no engine for {name}: build it with `--features llama`"
    ))
}

/// The deterministic model, in a build that has it.
#[cfg(feature = "stub")]
pub(crate) fn open_stub(options: &OpenOptions) -> Result<Opened, String> {
    let placement = "none: it computes nothing".to_owned();
    Ok(Opened {
        session: stub::open(options),
        placement,
    })
}

/// As above, in a build that has none.
#[cfg(not(feature = "stub"))]
pub(crate) fn open_stub(_: &OpenOptions) -> Result<Opened, String> {
    Err("this build of shimmy has no stub engine".to_owned())
}

/// The engines, with their versions.
pub(crate) fn engines() -> Vec<serde_json::Value> {
    vec![
        #[cfg(feature = "llama")]
        llama::about(),
        #[cfg(feature = "stub")]
        serde_json::json!({ "name": "stub" }),
    ]
}

/// The devices that the engines see.
pub(crate) fn devices() -> Vec<Device> {
    #[cfg(feature = "llama")]
    return llama::devices();
    #[cfg(not(feature = "llama"))]
    Vec::new()
}

/// The GPU backends this build was made with.
pub(crate) fn gpu_backends() -> Vec<&'static str> {
    let all = [
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("rocm", cfg!(feature = "rocm")),
    ];
    all.into_iter()
        .filter(|(_, compiled)| *compiled)
        .map(|(name, _)| name)
        .collect()
}
