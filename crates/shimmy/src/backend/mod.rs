//! The engines that are compiled in: the one place that knows the features `llama`, `native` and
//! `stub`.

#![cfg_attr(
    not(any(feature = "llama", feature = "native")),
    expect(
        dead_code,
        reason = "the command line is the same in a build without an engine"
    )
)]

mod cache_type;
mod choice;
mod footprint;
#[cfg(feature = "llama")]
mod llama;
#[cfg(feature = "native")]
mod native;
mod options;
mod progress;
mod store;
#[cfg(feature = "stub")]
mod stub;

use std::path::{Path, PathBuf};

use shimmy_engine::{KeptFiles, Session};
use shimmy_models::{Metadata, ModelFile};

pub(crate) use self::cache_type::KvCacheType;
pub(crate) use self::choice::Engine;
use self::choice::{Chosen, Native};
use self::footprint::Dimensions;
pub(crate) use self::footprint::Footprint;
use self::options::CachePlan;
pub(crate) use self::options::{CacheOptions, DiskOptions, OpenOptions, context_warning};
pub(crate) use self::progress::Progress;

/// A model that an engine has loaded.
pub(crate) struct Opened {
    pub(crate) session: Session,
    /// Which engine it is, by its name.
    pub(crate) engine: &'static str,
    /// Where its layers are, in words: `cpu`, or `gpu (24 of 33 layers)`.
    pub(crate) placement: String,
}

/// What a model file will take, by its headers. Blocks on the disk.
pub(crate) fn measure(model: &ModelFile, options: &OpenOptions) -> Result<Footprint, String> {
    let read = |path: &PathBuf| Metadata::open(path).map_err(|error| error.to_string());
    let parts: Vec<Metadata> = model.parts().iter().map(read).collect::<Result<_, _>>()?;
    let dimensions = Dimensions::of(&parts, options.cache.kind);
    let trained = parts.first().and_then(Metadata::context_length);
    let chosen = parts.first().map(|first| choice::choose(first, options));
    let (plan, dimensions) = match chosen.transpose()? {
        Some(Chosen::Native) => {
            let plan = options.block_plan(trained, dimensions.bytes_per_cell);
            (plan, dimensions.with_weights(native_weights(&parts)))
        }
        Some(Chosen::Llama) | None => {
            let plan = options.cache_plan(trained, dimensions.bytes_per_cell, true);
            (plan, dimensions)
        }
    };
    // One that is not there is refused by whoever opens it, by name.
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |about| about.len());
    let adapters = options.adapters.iter().map(size).sum();
    let footprint = dimensions.footprint(&plan, adapters);
    if gpu_bytes().is_none() {
        return Ok(footprint);
    }
    // The output counts as one more layer.
    let all = u32::try_from(dimensions.layers + 1).unwrap_or(u32::MAX);
    let placed = options.gpu_layers.unwrap_or(all);
    Ok(footprint.with_layers_on_gpus(placed, all))
}

/// Memory of GPUs that was free when this was first asked; none without a GPU.
pub(crate) fn gpu_bytes() -> Option<u64> {
    static BYTES: std::sync::OnceLock<Option<u64>> = std::sync::OnceLock::new();
    *BYTES.get_or_init(|| {
        if gpu_backends().is_empty() {
            return None;
        }
        let gpus = devices().into_iter().filter(|device| device.kind == "gpu");
        gpus.filter_map(|gpu| gpu.memory_free_bytes)
            .reduce(u64::saturating_add)
    })
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

/// Loads a model file. Blocks, and gives up soon after `progress` says that it is not wanted any
/// more; the reason of a failure is fit for users.
pub(crate) fn open(
    model: &ModelFile,
    metadata: &Metadata,
    options: &OpenOptions,
    progress: &Progress,
) -> Result<Opened, String> {
    if options.gpu_layers.is_some_and(|layers| layers > 0) && gpu_bytes().is_none() {
        tracing::warn!(
            "--gpu-layers is ignored, for no GPU can be used: `shimmy gpu-info` says why"
        );
    }
    match choice::choose(metadata, options)? {
        #[cfg(feature = "native")]
        Chosen::Native => native::open(model, metadata, options, progress),
        #[cfg(feature = "llama")]
        Chosen::Llama => llama::open(model, options, progress),
        // The choice knows what there is.
        #[cfg(not(all(feature = "native", feature = "llama")))]
        other => {
            let _ = progress;
            let name = &model.name;
            Err(format!(
                "this build of shimmy has no engine {other:?} for {name}"
            ))
        }
    }
}

/// Why no engine of this build runs the model with this header; none if one does.
pub(crate) fn refusal(metadata: &Metadata) -> Option<String> {
    choice::choose(metadata, &OpenOptions::default()).err()
}

/// What the native engine says of a model.
fn native_says(metadata: &Metadata) -> Native {
    #[cfg(feature = "native")]
    return native::says(metadata);
    #[cfg(not(feature = "native"))]
    {
        let _ = metadata;
        Native::Absent
    }
}

/// What the weights of a model take in the native engine, if that is there and runs it.
fn native_weights(parts: &[Metadata]) -> Option<u64> {
    #[cfg(feature = "native")]
    return native::weights(parts.first()?);
    #[cfg(not(feature = "native"))]
    {
        let _ = parts;
        None
    }
}

/// The deterministic model, in a build that has it.
#[cfg(feature = "stub")]
pub(crate) fn open_stub(options: &OpenOptions) -> Result<Opened, String> {
    let placement = "none: it computes nothing".to_owned();
    Ok(Opened {
        session: stub::open(options),
        engine: STUB_MODEL,
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
        #[cfg(feature = "native")]
        native::about(),
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

/// The packed weights in a folder; none in a build without the engine that packs them.
pub(crate) fn kept_weights(folder: &Path) -> Option<KeptFiles> {
    #[cfg(feature = "native")]
    return Some(shimmy_native::kept_weights(folder));
    #[cfg(not(feature = "native"))]
    {
        let _ = folder;
        None
    }
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
