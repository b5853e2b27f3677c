//! The limits and switches of an engine, as whoever starts it sets them. It must not know how they
//! are kept.

use std::time::Duration;

use crate::store::StoreConfig;

/// What an engine may do; every limit of a request's life in the engine is here.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Requests that may wait beside those being computed.
    pub queue: usize,
    /// How long a request may wait for its first step.
    pub queue_timeout: Duration,
    /// Tokens one request may hold, prompt and answer together; none means the whole cache.
    pub context: Option<usize>,
    /// Requests computed at a time; none means as many as the runner has sequences.
    pub parallel: Option<usize>,
    /// Cells of the KV cache that prefixes of ended requests may take; none means all of them. Of a
    /// backend whose steps pass over all cells these should be few.
    pub parked_cells: Option<usize>,
    /// Bytes of prefixes that may be kept in the host's memory where the cache has no place for
    /// them; 0 gives them up.
    pub offload_bytes: u64,
    /// How long a running answer may wait for its next token while prompts are computed beside it.
    pub longest_gap: Duration,
    /// Whether to draft tokens by looking them up in what came before, where that is faster.
    pub drafts: bool,
    /// Where parked prefixes are kept between two lives of an engine.
    pub store: Option<StoreConfig>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            queue: 64,
            queue_timeout: Duration::from_secs(300),
            context: None,
            parallel: None,
            parked_cells: None,
            offload_bytes: 0,
            longest_gap: Duration::from_millis(250),
            drafts: true,
            store: None,
        }
    }
}
