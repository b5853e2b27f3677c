//! Flags, environment and configuration file, checked and made into what the parts of the program
//! take.
//!
//! Clap has already put flags before environment before the file before defaults.

mod file;
mod listen;
mod names;
mod residence;
mod settings;
mod toml;

use std::path::{Path, PathBuf};
use std::time::Duration;

use shimmy_engine::{EngineConfig, SamplingParams};
use shimmy_server::{CacheScope, ServerConfig};

use crate::backend::{CacheOptions, DiskOptions, OpenOptions};
use crate::cli::{
    Drafts, EngineArgs, ModelArgs, PrefixArgs, SamplingArgs, Scope, Seed, ServeArgs, WeightsArgs,
};
use crate::failure::Failure;
use crate::memory;
use crate::places::user_folder;

pub(crate) use self::file::{ConfigFile, path as config_path};
pub(crate) use self::listen::{
    FIRST_PORT, LAST_PORT, OLLAMA_ADDRESS, api_keys, bind, bind_ollama, is_auto, tokens,
};
pub(crate) use self::names::Names;
pub(crate) use self::residence::{
    MemoryBudget, ResidenceConfig, parse_budget, parse_keep, residence,
};
pub(crate) use self::settings::{Setting, is_refused, refused_variables, settings};

/// An adapter to load, and how strongly it applies when a request does not say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lora {
    pub(crate) path: PathBuf,
    pub(crate) scale: f32,
}

/// Which models the configured adapters belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Adapted {
    /// The base model; a server has others beside it.
    #[default]
    Base,
    /// Whichever is loaded; a command loads the one that it was told.
    Any,
}

/// Where models come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelConfig {
    pub(crate) base: Option<PathBuf>,
    pub(crate) loras: Vec<Lora>,
    pub(crate) adapted: Adapted,
    pub(crate) dirs: Option<String>,
    /// Further names for models, from the configuration file.
    pub(crate) names: Names,
}

impl ModelConfig {
    /// For a command that loads one model, or none.
    pub(crate) fn for_command(args: ModelArgs) -> Result<Self, Failure> {
        let texts = args.lora.iter().filter(|text| !text.is_empty());
        Ok(Self {
            base: args.model_path.filter(|path| !path.as_os_str().is_empty()),
            loras: texts
                .map(|text| parse_lora(text))
                .collect::<Result<_, _>>()?,
            adapted: Adapted::Any,
            dirs: args.model_dirs,
            names: args.names,
        })
    }

    /// For a server.
    pub(crate) fn for_server(args: ModelArgs) -> Result<Self, Failure> {
        let config = Self {
            adapted: Adapted::Base,
            ..Self::for_command(args)?
        };
        if !config.loras.is_empty() && config.base.is_none() {
            return Err(Failure::usage("an adapter needs its base model")
                .hint("name it with --model-path FILE or SHIMMY_BASE_GGUF"));
        }
        Ok(config)
    }
}

fn parse_lora(text: &str) -> Result<Lora, Failure> {
    let whole = Lora {
        path: text.into(),
        scale: 1.0,
    };
    // A file's name may hold anything, `=` too.
    if whole.path.exists() {
        return Ok(whole);
    }
    let Some((path, scale)) = text.rsplit_once('=') else {
        return Ok(whole);
    };
    match scale.parse::<f32>() {
        Ok(scale) if scale.is_finite() => Ok(Lora {
            path: path.into(),
            scale,
        }),
        _ => Err(Failure::usage(format!(
            "the scale of adapter {path} is no number: {scale:?}"
        ))),
    }
}

/// How engines run.
pub(crate) fn open_options(
    args: &EngineArgs,
    models: &ModelConfig,
    queue: u32,
) -> Result<OpenOptions, Failure> {
    args.engine.check(args.gpu_layers).map_err(Failure::usage)?;
    Ok(OpenOptions {
        which: args.engine,
        context: args.ctx,
        parallel: args.parallel,
        threads: args.threads,
        gpu_layers: args.gpu_layers,
        adapters: models.loras.iter().map(|lora| lora.path.clone()).collect(),
        cache: CacheOptions {
            bytes: args.cache_size,
            kind: args.kv_cache_type,
            ..CacheOptions::default()
        },
        weights: weights_folder(&args.weights),
        engine: EngineConfig {
            queue: queue as usize,
            longest_gap: Duration::from_millis(args.longest_gap),
            drafts: args.drafts == Drafts::Auto,
            ..EngineConfig::default()
        },
    })
}

/// The same for a server, which keeps prefixes from one life to the next.
pub(crate) fn server_options(
    args: &ServeArgs,
    models: &ModelConfig,
) -> Result<OpenOptions, Failure> {
    let options = open_options(&args.engine, models, args.queue)?;
    Ok(OpenOptions {
        cache: CacheOptions {
            disk: prefix_folder(&args.prefixes),
            ..options.cache
        },
        engine: EngineConfig {
            queue_timeout: Duration::from_secs(args.queue_timeout),
            ..options.engine
        },
        ..options
    })
}

/// Where packed weights are kept.
pub(crate) fn weights_folder(args: &WeightsArgs) -> DiskOptions {
    DiskOptions {
        folder: cache_folder(args.weights_cache.as_deref(), "weights"),
        bytes: args.weights_disk,
    }
}

/// Where prefixes are kept from one life of a server to the next.
pub(crate) fn prefix_folder(args: &PrefixArgs) -> DiskOptions {
    DiskOptions {
        folder: cache_folder(args.cache_dir.as_deref(), "prefixes"),
        bytes: args.cache_disk,
    }
}

/// The folder that was asked for, which `none` means too; by default one of this name where the XDG base
/// directories say, and none for a user without a home.
fn cache_folder(asked: Option<&Path>, name: &str) -> Option<PathBuf> {
    if let Some(folder) = asked {
        return (folder.as_os_str() != "none").then(|| folder.to_owned());
    }
    let caches = user_folder("XDG_CACHE_HOME", ".cache")?;
    Some(caches.join("shimmy").join(name))
}

/// How tokens are chosen, starting from a model's own defaults.
pub(crate) fn sampling(args: &SamplingArgs, defaults: &SamplingParams) -> SamplingParams {
    SamplingParams {
        temperature: args.temperature.unwrap_or(defaults.temperature),
        top_k: args.top_k.unwrap_or(defaults.top_k),
        top_p: args.top_p.unwrap_or(defaults.top_p),
        min_p: args.min_p.unwrap_or(defaults.min_p),
        repeat_penalty: args.repeat_penalty.unwrap_or(defaults.repeat_penalty),
        seed: match args.seed {
            Some(Seed::Fixed(seed)) => Some(seed),
            Some(Seed::Random) => None,
            None => defaults.seed,
        },
        ..defaults.clone()
    }
}

/// The server's limits and secrets.
pub(crate) fn server(args: &ServeArgs) -> Result<ServerConfig, Failure> {
    let defaults = ServerConfig::default();
    Ok(ServerConfig {
        api_keys: api_keys(&args.listen)?,
        cache_scope: match args.cache_scope {
            Scope::Key => CacheScope::Key,
            Scope::All => CacheScope::All,
        },
        allowed_hosts: without_empty(&args.allowed_host),
        cors_origins: without_empty(&args.cors_origin),
        default_max_tokens: args.max_output,
        deadline: args.deadline.map(Duration::from_secs),
        drain_timeout: Duration::from_secs(args.drain_timeout),
        max_bodies: room_for_bodies(memory::spendable_bytes(), &defaults),
        ..defaults
    })
}

/// An eighth of the memory for the bodies of all requests, if that is less than usual; one always fits.
fn room_for_bodies(memory: Option<u64>, defaults: &ServerConfig) -> usize {
    let part = memory.map_or(u64::MAX, |memory| memory / 8);
    let part = usize::try_from(part).unwrap_or(usize::MAX);
    part.min(defaults.max_bodies).max(defaults.max_body)
}

fn without_empty(texts: &[String]) -> Vec<String> {
    let texts = texts.iter().filter(|text| !text.is_empty());
    texts.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_take_an_eighth_of_a_small_memory_and_no_more_than_usual_of_a_large_one() {
        let defaults = ServerConfig::default();
        let room = |memory| room_for_bodies(memory, &defaults);
        assert_eq!(room(None), 512 << 20);
        assert_eq!(room(Some(64 << 30)), 512 << 20);
        assert_eq!(room(Some(1 << 30)), 128 << 20);
        assert_eq!(room(Some(0)), defaults.max_body);
    }

    #[test]
    fn an_adapter_may_carry_its_scale() {
        let lora = |text| parse_lora(text).ok();
        let is = |path: &str, scale| {
            Some(Lora {
                path: path.into(),
                scale,
            })
        };
        assert_eq!(lora("a.gguf"), is("a.gguf", 1.0));
        assert_eq!(lora("dir/a.gguf=0.5"), is("dir/a.gguf", 0.5));
        assert_eq!(lora("a.gguf=much"), None);
        assert_eq!(lora("a.gguf=nan"), None);
    }

    #[test]
    fn a_file_that_is_there_is_an_adapter_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rank=8");
        let text = path.to_str().unwrap();
        assert_eq!(parse_lora(text).unwrap().path, folder.path().join("rank"));
        std::fs::write(&path, "").unwrap();
        let whole = Lora {
            path: path.clone(),
            scale: 1.0,
        };
        assert_eq!(parse_lora(text).unwrap(), whole);
        let scaled = parse_lora(&format!("{text}=0.5")).unwrap();
        assert_eq!((scaled.path, scaled.scale), (path, 0.5));
    }
}
