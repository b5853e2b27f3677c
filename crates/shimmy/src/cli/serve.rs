//! The arguments of the server, and of whoever talks to one that runs.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::{EngineArgs, ModelArgs};
use crate::config::MemoryBudget;
use crate::loader::Keep;

/// Whose computed prefixes a request may start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scope {
    /// Those of requests with the same token.
    Key,
    /// Everybody's.
    All,
}

/// Where the server is, and what it asks of requests.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListenArgs {
    /// The server's address: HOST:PORT, or `auto` for the first free port from 11435 on.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SHIMMY_BIND_ADDRESS",
        default_value = "auto"
    )]
    pub(crate) bind: String,
    /// The token that every request must carry, as a bearer or in `x-api-key`, or several,
    /// separated by commas. Best given by the environment, where other users' process lists do not
    /// show it.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SHIMMY_API_KEY",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) api_key: Option<Vec<String>>,
    /// A file that holds the token, or several, one a line.
    #[arg(long, value_name = "FILE", env = "SHIMMY_API_KEY_FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
}

impl ListenArgs {
    /// Of a key and a key file, the one from the nearer place beats the other: a flag before the
    /// environment before the configuration file. A file beats an empty variable.
    pub(super) fn choose_key(&mut self, matches: &ArgMatches) {
        let (Some(keys), Some(_)) = (&self.api_key, &self.api_key_file) else {
            return;
        };
        let nearness = |id| match matches.value_source(id) {
            Some(ValueSource::CommandLine) => 2,
            Some(ValueSource::EnvVariable) => 1,
            _ => 0,
        };
        let (key, file) = (nearness("api_key"), nearness("api_key_file"));
        let is_unset = key < 2 && keys.iter().all(String::is_empty);
        if key < file || is_unset {
            self.api_key = None;
        } else if file < key {
            self.api_key_file = None;
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    /// Listen for Ollama's clients too, on their port: everything there is Ollama's dialect.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "OLLAMA_HOST",
        num_args = 0..=1,
        default_missing_value = crate::config::OLLAMA_ADDRESS
    )]
    pub(crate) ollama: Option<String>,
    /// Whether that is what the environment says, which is meant for other programs as well.
    #[arg(skip)]
    pub(crate) ollama_is_inherited: bool,
    /// Whose computed prefixes a request may start from: those of its own token, or everybody's.
    #[arg(
        long,
        value_name = "WHOSE",
        env = "SHIMMY_CACHE_SCOPE",
        default_value = "key"
    )]
    pub(crate) cache_scope: Scope,
    /// Origins of web pages that may call, separated by commas.
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "SHIMMY_CORS_ORIGIN",
        value_delimiter = ','
    )]
    pub(crate) cors_origin: Vec<String>,
    /// Host names to be served under beside the loopback ones, separated by commas.
    #[arg(
        long,
        value_name = "NAME",
        env = "SHIMMY_ALLOWED_HOSTS",
        value_delimiter = ','
    )]
    pub(crate) allowed_host: Vec<String>,
    /// Requests that may wait for their turn; more get 429.
    #[arg(long, value_name = "N", env = "SHIMMY_QUEUE", default_value_t = 64)]
    pub(crate) queue: u32,
    /// Seconds that a request may wait for its turn; then it fails with 503.
    #[arg(long, value_name = "SECONDS", env = "SHIMMY_QUEUE_TIMEOUT", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) queue_timeout: u64,
    /// Seconds that an answer may take, its wait included; it then ends as it stands [default: no
    /// limit].
    #[arg(long, value_name = "SECONDS", env = "SHIMMY_DEADLINE", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) deadline: Option<u64>,
    /// Tokens of an answer whose request sets no limit [default: what the context leaves].
    #[arg(long, value_name = "TOKENS", env = "SHIMMY_MAX_OUTPUT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_output: Option<u32>,
    /// Memory that the models may take together, such as 12GiB; `auto` is nine tenths of what the
    /// machine can give, `none` is not checked.
    #[arg(long, value_name = "SIZE", env = "SHIMMY_MEMORY_BUDGET", default_value = "auto", value_parser = crate::config::parse_budget)]
    pub(crate) memory_budget: MemoryBudget,
    /// Models in memory at a time [default: as many as fit].
    #[arg(long, value_name = "N", env = "SHIMMY_MAX_MODELS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_models: Option<u32>,
    /// Seconds that a request waits for the memory of models at work; then it gets 503.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "SHIMMY_MEMORY_WAIT",
        default_value_t = 30
    )]
    pub(crate) memory_wait: u64,
    /// How long a model that nothing uses stays in memory, such as 30m; `forever` is until its
    /// memory is needed. The base model always stays until then.
    #[arg(long, value_name = "TIME", env = "SHIMMY_KEEP_ALIVE", default_value = "5m", allow_hyphen_values = true, value_parser = crate::config::parse_keep)]
    pub(crate) keep_alive: Keep,
    /// Models that are loaded at the start and stay whatever happens, separated by `;`; `default`
    /// is the base model.
    #[arg(long, value_name = "NAME", env = "SHIMMY_PIN", value_delimiter = ';')]
    pub(crate) pin: Vec<String>,
    #[command(flatten)]
    pub(crate) prefixes: PrefixArgs,
    /// Seconds that running answers get to finish on shutdown.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "SHIMMY_DRAIN_TIMEOUT",
        default_value_t = 30
    )]
    pub(crate) drain_timeout: u64,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Where what was computed outlives the server.
#[derive(Debug, Clone, Args)]
pub(crate) struct PrefixArgs {
    /// Where what was computed outlives the server: a folder, or `none` [default: shimmy/prefixes
    /// in the user's cache folder].
    #[arg(long, value_name = "FOLDER", env = "SHIMMY_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Bytes of that folder at most.
    #[arg(long, value_name = "SIZE", env = "SHIMMY_CACHE_DISK", default_value = "4GiB", value_parser = crate::size::parse)]
    pub(crate) cache_disk: u64,
}
