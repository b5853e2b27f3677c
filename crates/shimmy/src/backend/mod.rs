//! The engines that are compiled in: the one place that knows the features `llama`, `native` and
//! `stub`.

#![cfg_attr(
    not(any(feature = "llama", feature = "native")),
    expect(
        dead_code,
        reason = "the command line is the same in a build without an engine"
    )
)]

mod choice;
mod footprint;
#[cfg(feature = "llama")]
mod llama;
#[cfg(feature = "native")]
mod native;
mod progress;
mod store;
#[cfg(feature = "stub")]
mod stub;

use std::path::PathBuf;

use shimmy_engine::{EngineConfig, Session};
use shimmy_models::{Metadata, ModelFile};

pub(crate) use self::choice::Engine;
use self::choice::{Chosen, Native};
use self::footprint::Dimensions;
pub(crate) use self::footprint::Footprint;
pub(crate) use self::progress::Progress;

/// A model that an engine has loaded.
pub(crate) struct Opened {
    pub(crate) session: Session,
    /// Which engine it is, by its name.
    pub(crate) engine: &'static str,
    /// Where its layers are, in words: `cpu`, or `gpu (24 of 33 layers)`.
    pub(crate) placement: String,
}

/// How a model is to be run.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenOptions {
    /// Which engine runs it.
    pub(crate) which: Engine,
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
    /// Where the native engine keeps packed weights.
    #[cfg_attr(
        not(feature = "native"),
        expect(dead_code, reason = "the other engines map a model's own file")
    )]
    pub(crate) weights: DiskOptions,
    /// The engine's own limits.
    pub(crate) engine: EngineConfig,
}

/// What is kept of earlier requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheOptions {
    /// Bytes of memory.
    pub(crate) bytes: u64,
    /// Where it outlives the process.
    pub(crate) disk: DiskOptions,
}

/// A folder with a size.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiskOptions {
    /// The folder; none means that nothing is kept.
    pub(crate) folder: Option<PathBuf>,
    /// Bytes of it at most.
    pub(crate) bytes: u64,
}

/// Sequences that keep prefixes of ended requests, beside those that run. Each has a row in the
/// buffer for logits.
const PARKED_SEQUENCES: u32 = 40;

/// Context that a model gets when nobody asks for another: what agents' prompts need, and no more
/// memory than a laptop has.
pub(crate) const DEFAULT_CONTEXT: u32 = 16_384;

/// Cells that prefixes of ended requests keep at most, beyond those that one request may need:
/// attention passes over every cell in use, so what was not used lately is kept outside the cache.
const PARKED_CELLS: u32 = 1024;

/// Cells that a sequence may take in blocks of 64 beyond those that it holds: one block in which it
/// parted from another, and its last one.
const SEQUENCE_ROUNDING: u32 = 128;

/// Sequences that an engine can tell apart.
const MOST_SEQUENCES: u32 = 256;

/// Rows of a step at most.
const BATCH: u32 = 512;

/// How far a cache may grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CachePlan {
    /// Tokens that one request may hold.
    context: u32,
    /// Cells that prefixes of ended requests may take.
    parked_cells: u32,
    /// Bytes that others of them may take outside the cache.
    offload_bytes: u64,
    /// Cells in all.
    cells: u32,
    /// Cells beyond those that an engine takes because its blocks are not always full.
    rounding: u32,
    /// Sequences in all.
    sequences: u32,
    /// Rows of a step.
    batch: u32,
}

impl OpenOptions {
    /// Tokens that one request may hold, of a model trained with this context.
    pub(crate) fn context(&self, trained: Option<u64>) -> u32 {
        let trained = trained
            .and_then(|n| u32::try_from(n).ok())
            .filter(|&n| n > 0);
        self.context
            .unwrap_or_else(|| trained.unwrap_or(4096).min(DEFAULT_CONTEXT))
    }

    /// The cache of a model trained with this context. `can_cut`: whether what a sequence holds can
    /// be shared in parts.
    fn cache_plan(&self, trained: Option<u64>, bytes_per_cell: u64, can_cut: bool) -> CachePlan {
        let context = self.context(trained);
        let parked_cells = match bytes_per_cell {
            0 => 0,
            bytes => (self.cache.bytes / bytes).min(PARKED_CELLS.into()) as u32,
        };
        let offload_bytes = match parked_cells {
            0 => 0,
            cells => self.cache.bytes - u64::from(cells) * bytes_per_cell,
        };
        let parked_sequences = match can_cut {
            _ if parked_cells == 0 => 0,
            true => PARKED_SEQUENCES,
            // A state that cannot be taken back is kept whole for every sequence.
            false => self.parallel,
        };
        CachePlan {
            context,
            parked_cells,
            offload_bytes,
            cells: context.saturating_add(parked_cells),
            rounding: 0,
            sequences: (self.parallel + parked_sequences).min(MOST_SEQUENCES),
            batch: BATCH,
        }
    }

    /// The same for an engine whose cache is in blocks. A row reads its own cells only, so prefixes
    /// of ended requests cost nothing there and all of them stay in it.
    fn block_plan(&self, trained: Option<u64>, bytes_per_cell: u64) -> CachePlan {
        let context = self.context(trained);
        let kept = self.cache.bytes.checked_div(bytes_per_cell).unwrap_or(0);
        let kept = u32::try_from(kept).unwrap_or(u32::MAX);
        // Half of the memory at most is for blocks that are not full.
        let most = MOST_SEQUENCES.saturating_sub(self.parallel);
        let parked_sequences = match kept {
            0 => 0,
            kept => (kept / (2 * SEQUENCE_ROUNDING)).clamp(1, most.max(1)),
        };
        let rounding = SEQUENCE_ROUNDING * parked_sequences;
        let parked_cells = kept.saturating_sub(rounding).max(kept / 2);
        let sequences = (self.parallel + parked_sequences).min(MOST_SEQUENCES);
        CachePlan {
            context,
            parked_cells,
            offload_bytes: 0,
            cells: context.saturating_add(parked_cells),
            rounding: SEQUENCE_ROUNDING * sequences,
            sequences,
            batch: BATCH,
        }
    }
}

/// What a model file will take, by its headers. Blocks on the disk.
pub(crate) fn measure(model: &ModelFile, options: &OpenOptions) -> Result<Footprint, String> {
    let parts = match model.shards.as_slice() {
        [] => std::slice::from_ref(&model.path),
        shards => shards,
    };
    let read = |path: &PathBuf| Metadata::open(path).map_err(|error| error.to_string());
    let parts: Vec<Metadata> = parts.iter().map(read).collect::<Result<_, _>>()?;
    let dimensions = Dimensions::of(&parts);
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

/// Gives memory that was freed back to the system, as far as the system's allocator keeps it.
pub(crate) fn return_memory() {
    #[cfg(feature = "llama")]
    shimmy_llama::return_memory();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(cache_bytes: u64) -> OpenOptions {
        OpenOptions {
            context: Some(4096),
            parallel: 8,
            cache: CacheOptions {
                bytes: cache_bytes,
                ..CacheOptions::default()
            },
            ..OpenOptions::default()
        }
    }

    #[test]
    fn a_cache_in_blocks_takes_no_more_than_was_given_to_it() {
        for cells in [0, 1, 200, 1000, 40_000, 1_000_000_000] {
            let plan = options(cells * 1000).block_plan(None, 1000);
            let of_requests = 4096 + 8 * SEQUENCE_ROUNDING;
            let taken = u64::from(plan.cells) + u64::from(plan.rounding);
            let parked = taken - u64::from(of_requests);
            // A sequence takes two blocks however little is kept.
            assert!(
                parked <= cells.max(2 * 128 + cells / 2),
                "{cells}: {plan:?}"
            );
            assert!(
                u64::from(plan.parked_cells) >= cells / 2,
                "{cells}: {plan:?}"
            );
            assert!(plan.sequences <= MOST_SEQUENCES);
            assert_eq!(plan.sequences > 8, cells > 0);
            assert_eq!(plan.offload_bytes, 0);
        }
    }
}
