//! Flags and environment, checked and made into what the parts of the program take.
//!
//! Clap has already put flags before environment before defaults.

mod residence;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shimmy_engine::{EngineConfig, SamplingParams};
use shimmy_server::{CacheScope, Secret, ServerConfig};

use crate::backend::{CacheOptions, DiskOptions, OpenOptions};
use crate::cli::{Drafts, EngineArgs, ModelArgs, SamplingArgs, Scope, ServeArgs};
use crate::failure::Failure;

pub(crate) use self::residence::{
    MemoryBudget, ResidenceConfig, parse_budget, parse_keep, residence,
};

/// The port that clients look for first, and the last one that `auto` tries before any.
const FIRST_PORT: u16 = 11435;
const LAST_PORT: u16 = 11535;

/// Where Ollama's clients look for it.
pub(crate) const OLLAMA_ADDRESS: &str = "127.0.0.1:11434";
const OLLAMA_PORT: u16 = 11434;

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
            ..CacheOptions::default()
        },
        weights: DiskOptions {
            folder: cache_folder(args.weights_cache.as_deref(), "weights"),
            bytes: args.weights_disk,
        },
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
            disk: DiskOptions {
                folder: cache_folder(args.cache_dir.as_deref(), "prefixes"),
                bytes: args.cache_disk,
            },
            ..options.cache
        },
        engine: EngineConfig {
            queue_timeout: Duration::from_secs(args.queue_timeout),
            ..options.engine
        },
        ..options
    })
}

/// The folder that was asked for, which `none` means too; by default one of this name where the XDG base
/// directories say, and none for a user without a home.
fn cache_folder(asked: Option<&Path>, name: &str) -> Option<PathBuf> {
    if let Some(folder) = asked {
        return (folder.as_os_str() != "none").then(|| folder.to_owned());
    }
    let set = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = set.filter(|path| path.is_absolute());
    let caches = caches.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
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
        seed: args.seed.or(defaults.seed),
        ..defaults.clone()
    }
}

/// The server's limits and secrets.
pub(crate) fn server(args: &ServeArgs) -> Result<ServerConfig, Failure> {
    Ok(ServerConfig {
        api_keys: api_keys(args)?,
        cache_scope: match args.cache_scope {
            Scope::Key => CacheScope::Key,
            Scope::All => CacheScope::All,
        },
        allowed_hosts: without_empty(&args.allowed_host),
        cors_origins: without_empty(&args.cors_origin),
        default_max_tokens: args.max_output,
        deadline: args.deadline.map(Duration::from_secs),
        drain_timeout: Duration::from_secs(args.drain_timeout),
        ..ServerConfig::default()
    })
}

fn without_empty(texts: &[String]) -> Vec<String> {
    let texts = texts.iter().filter(|text| !text.is_empty());
    texts.cloned().collect()
}

fn api_keys(args: &ServeArgs) -> Result<Vec<Secret>, Failure> {
    let keys = match (&args.api_key, &args.api_key_file) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "the API key is given twice, by itself and in a file",
            ));
        }
        (Some(keys), None) => keys.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| {
                Failure::usage(format!(
                    "cannot read the API key from {}: {error}",
                    path.display()
                ))
            })?
            .trim_end_matches(['\r', '\n'])
            .split('\n')
            .map(|line| line.trim_end_matches('\r').to_owned())
            .collect(),
        (None, None) => return Ok(Vec::new()),
    };
    let secrets = keys.iter().map(|key| Secret::new(key));
    secrets.collect::<Result<_, _>>().map_err(|error| {
        Failure::usage(error).hint("unset SHIMMY_API_KEY to serve without a token on loopback")
    })
}

/// Opens the address that `--bind` asks for.
pub(crate) fn bind(args: &ServeArgs, has_key: bool) -> Result<TcpListener, Failure> {
    if args.bind == "auto" || args.bind.is_empty() {
        return bind_auto();
    }
    let addresses = addresses(&args.bind, has_key, BIND_EXAMPLE)?;
    TcpListener::bind(addresses.as_slice()).map_err(|error| {
        Failure::new(format!("cannot listen on {}: {error}", args.bind))
            .hint("another program may have the port; --bind auto takes the next free one")
    })
}

/// Opens the address for Ollama's clients, if there is to be one.
pub(crate) fn bind_ollama(args: &ServeArgs, has_key: bool) -> Result<Option<TcpListener>, Failure> {
    let Some(text) = &args.ollama else {
        return Ok(None);
    };
    let address = ollama_address(text);
    let addresses = addresses(&address, has_key, OLLAMA_EXAMPLE)?;
    let listener = TcpListener::bind(addresses.as_slice()).map_err(|error| {
        Failure::new(format!(
            "cannot listen on {address} for Ollama's clients: {error}"
        ))
        .hint(
            "Ollama itself may be running: stop it, name another address with --ollama HOST:PORT, \
             or leave it out, for Ollama's dialect is also spoken on the other port",
        )
    })?;
    Ok(Some(listener))
}

/// The address in a text as Ollama's own programs take it: a URL, a host, or a port after a colon.
fn ollama_address(text: &str) -> String {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split('/').next().unwrap_or_default();
    let is_bare_v6 = text.matches(':').count() > 1 && !text.starts_with('[');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !is_bare_v6 && !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    let host = match host {
        "" => "127.0.0.1".to_owned(),
        host if is_bare_v6 => format!("[{host}]"),
        host => host.to_owned(),
    };
    if port.is_empty() {
        format!("{host}:{OLLAMA_PORT}")
    } else {
        format!("{host}:{port}")
    }
}

const BIND_EXAMPLE: &str = "write it as HOST:PORT, for example 127.0.0.1:11435, or auto";
const OLLAMA_EXAMPLE: &str = "write it as HOST:PORT, for example 127.0.0.1:11434";

/// What an address means; one that other machines can reach takes a token.
fn addresses(text: &str, has_key: bool, example: &str) -> Result<Vec<SocketAddr>, Failure> {
    let addresses: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| {
            Failure::usage(format!("{text:?} is no address to listen on: {error}")).hint(example)
        })?
        .collect();
    if !has_key && addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(Failure::usage(format!(
            "{text} can be reached from other machines, and no token is set"
        ))
        .hint("set SHIMMY_API_KEY, or listen on 127.0.0.1"));
    }
    Ok(addresses)
}

fn bind_auto() -> Result<TcpListener, Failure> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for port in (FIRST_PORT..=LAST_PORT).chain([0]) {
        match TcpListener::bind((loopback, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(Failure::new(format!(
                    "cannot listen on {loopback}:{port}: {error}"
                )));
            }
        }
    }
    Err(Failure::new(format!("no port of {loopback} is free")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn ollamas_address_is_read_as_its_own_programs_do() {
        for (text, address) in [
            (OLLAMA_ADDRESS, OLLAMA_ADDRESS),
            ("localhost", "localhost:11434"),
            ("0.0.0.0", "0.0.0.0:11434"),
            (":8080", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("https://example.com/base", "example.com:11434"),
            ("::1", "[::1]:11434"),
            ("[::1]", "[::1]:11434"),
            ("[::1]:80", "[::1]:80"),
            (" 127.0.0.1 ", "127.0.0.1:11434"),
        ] {
            assert_eq!(ollama_address(text), address, "{text}");
        }
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
