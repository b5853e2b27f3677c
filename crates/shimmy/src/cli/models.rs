//! The arguments that several commands share: where models are, how one is run, how tokens are chosen.

use std::path::PathBuf;

use clap::Args;

use super::{CONTEXT, Seed};
use crate::backend::{Engine, KvCacheType};
use crate::config::Names;

/// Where models are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ModelArgs {
    /// The base model: a GGUF file, or the first of its shards.
    #[arg(long, value_name = "FILE", env = "SHIMMY_BASE_GGUF")]
    pub(crate) model_path: Option<PathBuf>,
    /// LoRA adapters of the base model, separated by `;`, each optionally as FILE=SCALE.
    #[arg(
        long = "lora",
        value_name = "FILE[=SCALE]",
        env = "SHIMMY_LORA_GGUF",
        value_delimiter = ';'
    )]
    pub(crate) lora: Vec<String>,
    /// Folders to look for models in, separated by `;` or `:`.
    #[arg(long, value_name = "DIRS", env = "SHIMMY_MODEL_PATHS")]
    pub(crate) model_dirs: Option<String>,
    /// Names that the configuration file gives to models.
    #[arg(skip)]
    pub(crate) names: Names,
}

/// How a model is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct EngineArgs {
    /// Tokens of context, shared by the requests that run together [default: the model's, at most
    /// 16384].
    #[arg(long, value_name = "TOKENS", env = "SHIMMY_CTX", value_parser = clap::value_parser!(u32).range(CONTEXT))]
    pub(crate) ctx: Option<u32>,
    /// Requests computed together; more wait.
    #[arg(long, value_name = "N", env = "SHIMMY_PARALLEL", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) parallel: u32,
    /// Memory for what was computed for earlier requests and may be needed again, such as 512MiB
    /// or 2GB; 0 forgets everything.
    #[arg(long, value_name = "SIZE", env = "SHIMMY_CACHE_SIZE", default_value = "512MiB", value_parser = crate::size::parse)]
    pub(crate) cache_size: u64,
    /// How keys and values of tokens are held: f16, or q8_0, which takes half of the memory and is
    /// nearly as exact.
    #[arg(
        long,
        value_name = "TYPE",
        env = "SHIMMY_KV_CACHE_TYPE",
        default_value = "f16"
    )]
    pub(crate) kv_cache_type: KvCacheType,
    /// How long a running answer may wait for its next token while prompts are computed beside it.
    #[arg(long, value_name = "MILLISECONDS", env = "SHIMMY_LONGEST_GAP", default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) longest_gap: u64,
    /// Draft tokens by looking them up in what came before, where that is faster: auto or off.
    #[arg(
        long,
        value_name = "WHEN",
        env = "SHIMMY_DRAFTS",
        default_value = "auto"
    )]
    pub(crate) drafts: Drafts,
    /// Which engine computes: auto takes the one in Rust for models that it is known to run well,
    /// and llama.cpp for all others and for GPUs.
    #[arg(
        long,
        value_name = "ENGINE",
        env = "SHIMMY_ENGINE",
        default_value = "auto"
    )]
    pub(crate) engine: Engine,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    /// Threads that compute [default: one per physical core].
    #[arg(long, value_name = "N", env = "SHIMMY_THREADS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: Option<u32>,
    /// Layers to put on the GPU, where this build has one [default: all that it can].
    #[arg(long, value_name = "N", env = "SHIMMY_GPU_LAYERS")]
    pub(crate) gpu_layers: Option<u32>,
}

/// Where packed weights are kept.
#[derive(Debug, Clone, Args)]
pub(crate) struct WeightsArgs {
    /// Where the native engine keeps weights as it computes with them, which makes the next start
    /// quicker and needs less memory: a folder, or `none` [default: shimmy/weights in the user's
    /// cache folder].
    #[arg(long, value_name = "FOLDER", env = "SHIMMY_WEIGHTS_CACHE")]
    pub(crate) weights_cache: Option<PathBuf>,
    /// Bytes of that folder at most; models that were not used for long are removed from it.
    #[arg(long, value_name = "SIZE", env = "SHIMMY_WEIGHTS_DISK", default_value = "16GiB", value_parser = crate::size::parse)]
    pub(crate) weights_disk: u64,
}

/// When tokens are drafted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Drafts {
    /// Where measured step costs say that it is faster.
    Auto,
    /// Never.
    Off,
}

/// How tokens are chosen.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SamplingArgs {
    /// Randomness; 0 always takes the likeliest token.
    #[arg(short = 't', long, value_name = "T")]
    pub(crate) temperature: Option<f32>,
    /// Only the K likeliest tokens; 0 takes all.
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<u32>,
    /// Only the likeliest tokens that together have this probability.
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f32>,
    /// Only tokens at least P times as likely as the likeliest.
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f32>,
    /// How much tokens that were seen are held back; 1 not at all.
    #[arg(long, value_name = "X")]
    pub(crate) repeat_penalty: Option<f32>,
    /// The same seed gives the same answer; -1 is another one each time.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<Seed>,
}
