//! How the KV cache holds numbers. Owns their sizes; each engine translates the type into its own.

/// What `--kv-cache-type` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum KvCacheType {
    /// Numbers of 16 bits.
    #[default]
    F16,
    /// Numbers of 8 bits, each 32 of which have a scale of 16.
    #[value(name = "q8_0")]
    Q8_0,
}

/// Numbers of a head that share a scale.
const PART: u64 = 32;

impl KvCacheType {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Bytes that so many numbers of a head take; those of a part that is not full are there as well.
    pub(super) fn bytes(self, numbers: u64) -> u64 {
        match self {
            Self::F16 => numbers.saturating_mul(2),
            Self::Q8_0 => numbers.div_ceil(PART).saturating_mul(PART + 2),
        }
    }
}
