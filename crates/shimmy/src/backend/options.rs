//! How a model is to be run, and how far its cache may grow by that.

use std::path::PathBuf;

use shimmy_engine::EngineConfig;

use super::{Engine, KvCacheType};

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
    /// How what was computed is kept.
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

/// How what was computed is kept, for running requests and of earlier ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheOptions {
    /// Bytes of memory.
    pub(crate) bytes: u64,
    /// How it is held there.
    pub(crate) kind: KvCacheType,
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
pub(super) const PARKED_SEQUENCES: u32 = 40;

/// Context that a model gets when nobody asks for another: what agents' prompts need, and no more
/// memory than a laptop has.
pub(super) const DEFAULT_CONTEXT: u32 = 16_384;

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
pub(super) struct CachePlan {
    /// Tokens that one request may hold.
    pub(super) context: u32,
    /// Cells that prefixes of ended requests may take.
    pub(super) parked_cells: u32,
    /// Bytes that others of them may take outside the cache.
    pub(super) offload_bytes: u64,
    /// Cells in all.
    pub(super) cells: u32,
    /// Cells beyond those that an engine takes because its blocks are not always full.
    pub(super) rounding: u32,
    /// Sequences in all.
    pub(super) sequences: u32,
    /// Rows of a step.
    pub(super) batch: u32,
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

    /// Says so where more context is asked for than the model was trained for.
    #[cfg(any(feature = "llama", feature = "native"))]
    pub(super) fn warn_of_context(&self, model: &str, trained: Option<u64>) {
        if let Some(warning) = context_warning(self.context(trained).into(), trained) {
            tracing::warn!(model, "{warning}");
        }
    }

    /// The cache of a model trained with this context. `can_cut`: whether what a sequence holds can
    /// be shared in parts.
    pub(super) fn cache_plan(
        &self,
        trained: Option<u64>,
        bytes_per_cell: u64,
        can_cut: bool,
    ) -> CachePlan {
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
    pub(super) fn block_plan(&self, trained: Option<u64>, bytes_per_cell: u64) -> CachePlan {
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

/// What is to be said of a context that is longer than the one the model was trained for.
pub(crate) fn context_warning(context: u64, trained: Option<u64>) -> Option<String> {
    let trained = trained.filter(|&tokens| tokens > 0 && context > tokens)?;
    Some(format!(
        "a context of {context} tokens is more than the {trained} that the model was trained for: \
         beyond those, answers get worse"
    ))
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
