//! The command line's types, as clap reads them. What they mean is checked in `config`.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::backend::Engine;
use crate::config::MemoryBudget;
use crate::loader::Keep;

/// Run GGUF models locally, behind the APIs that clients already speak.
#[derive(Debug, Parser)]
#[command(
    name = "shimmy",
    version,
    about,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// Log more: -v what happens, -vv everything, the backend's own lines included.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line and the environment, and ends the process with the usage if they
    /// cannot be read.
    pub(crate) fn read() -> Self {
        let command = Self::command().mut_subcommands(|subcommand| subcommand.mut_args(unset));
        let matches = command.get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        if let (Command::Serve(args), Some((_, matches))) = (&mut cli.command, matches.subcommand())
        {
            args.choose_key(matches);
            let source = matches.value_source("ollama");
            args.ollama_is_inherited = source == Some(ValueSource::EnvVariable);
        }
        cli
    }
}

/// An empty variable means an unset one: that is what `${SHIMMY_CTX:-}` in a compose file makes of
/// a variable that is not there. The key is the exception, because a server that was meant to have
/// one must not start without.
fn unset(arg: clap::Arg) -> clap::Arg {
    let value = arg.get_env().and_then(std::env::var_os);
    if arg.get_id() != "api_key" && value.is_some_and(|value| value.is_empty()) {
        arg.env(None)
    } else {
        arg
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve models over HTTP, SSE and WebSocket.
    Serve(Box<ServeArgs>),
    /// List the models that are there.
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Look for models again and say where, and what was found to be wrong.
    Discover(ListArgs),
    /// Download a model: OWNER/NAME or OWNER/NAME:QUANT of the hub, a name such as llama3.2:1b, or a URL.
    Pull(PullArgs),
    /// Say what is known of a model.
    Show(ShowArgs),
    /// Give a model another name; the files stay where they are.
    Cp(CpArgs),
    /// Remove models from the disk, or names that `cp` gave.
    Rm(RmArgs),
    /// Load a model and say whether it works. Exits with 2 when it does not.
    Probe(ProbeArgs),
    /// Answer one prompt, streamed to standard output.
    Generate(Box<GenerateArgs>),
    /// Measure prefill and decode speed.
    Bench(BenchArgs),
    /// Say which compute devices this build can use, and which it sees.
    GpuInfo(JsonArgs),
}

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
}

/// How a model is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct EngineArgs {
    /// Tokens of context, shared by the requests that run together [default: the model's, at most
    /// 16384].
    #[arg(long, value_name = "TOKENS", env = "SHIMMY_CTX", value_parser = clap::value_parser!(u32).range(16..=16_777_216))]
    pub(crate) ctx: Option<u32>,
    /// Requests computed together; more wait.
    #[arg(long, value_name = "N", env = "SHIMMY_PARALLEL", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) parallel: u32,
    /// Memory for what was computed for earlier requests and may be needed again, such as 512MiB
    /// or 2GB; 0 forgets everything.
    #[arg(long, value_name = "SIZE", env = "SHIMMY_CACHE_SIZE", default_value = "512MiB", value_parser = crate::size::parse)]
    pub(crate) cache_size: u64,
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
    /// Where the native engine keeps weights as it computes with them, which makes the next start
    /// quicker and needs less memory: a folder, or `none` [default: shimmy/weights in the user's
    /// cache folder].
    #[arg(long, value_name = "FOLDER", env = "SHIMMY_WEIGHTS_CACHE")]
    pub(crate) weights_cache: Option<PathBuf>,
    /// Bytes of that folder at most; models that were not used for long are removed from it.
    #[arg(long, value_name = "SIZE", env = "SHIMMY_WEIGHTS_DISK", default_value = "16GiB", value_parser = crate::size::parse)]
    pub(crate) weights_disk: u64,
    /// Threads that compute [default: one per physical core].
    #[arg(long, value_name = "N", env = "SHIMMY_THREADS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: Option<u32>,
    /// Layers to put on the GPU, where this build has one [default: all that it can].
    #[arg(long, value_name = "N", env = "SHIMMY_GPU_LAYERS")]
    pub(crate) gpu_layers: Option<u32>,
}

/// When tokens are drafted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Drafts {
    /// Where measured step costs say that it is faster.
    Auto,
    /// Never.
    Off,
}

/// Whose computed prefixes a request may start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scope {
    /// Those of requests with the same token.
    Key,
    /// Everybody's.
    All,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on: HOST:PORT, or `auto` for the first free port from 11435 on.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SHIMMY_BIND_ADDRESS",
        default_value = "auto"
    )]
    pub(crate) bind: String,
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
    /// Where what was computed outlives the server: a folder, or `none` [default: shimmy/prefixes
    /// in the user's cache folder].
    #[arg(long, value_name = "FOLDER", env = "SHIMMY_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Bytes of that folder at most.
    #[arg(long, value_name = "SIZE", env = "SHIMMY_CACHE_DISK", default_value = "4GiB", value_parser = crate::size::parse)]
    pub(crate) cache_disk: u64,
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

impl ServeArgs {
    /// Of a key and a key file, the one that a flag gives beats the one from the environment, and
    /// a file beats an empty variable.
    fn choose_key(&mut self, matches: &ArgMatches) {
        let is_flag = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        if self.api_key.is_none() || self.api_key_file.is_none() {
            return;
        }
        let is_empty = self
            .api_key
            .as_ref()
            .is_some_and(|keys| keys.iter().all(String::is_empty));
        match (is_flag("api_key"), is_flag("api_key_file")) {
            (true, false) => self.api_key_file = None,
            (false, true) => self.api_key = None,
            (false, false) if is_empty => self.api_key = None,
            _ => {}
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
}

#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// What to download: OWNER/NAME[@REVISION][:QUANT or :FILE], hf.co/OWNER/NAME, a page or a file
    /// on the hub, https://…/FILE.gguf[#sha256=…], or a name of the catalogue (`--catalogue`).
    #[arg(value_name = "REF", required_unless_present = "catalogue")]
    pub(crate) reference: Option<String>,
    /// Only say what would be downloaded.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// List the names that stand for good models.
    #[arg(long, conflicts_with = "reference")]
    pub(crate) catalogue: bool,
    /// Print JSON: one object per line while it runs.
    #[arg(long)]
    pub(crate) json: bool,
    /// Connections that fetch a file together.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(crate) connections: u16,
    /// The hub.
    #[arg(
        long,
        value_name = "URL",
        env = "HF_ENDPOINT",
        default_value = shimmy_models::hub::DEFAULT_ENDPOINT
    )]
    pub(crate) endpoint: String,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The model.
    pub(crate) name: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// The model.
    pub(crate) name: String,
    /// Its further name.
    pub(crate) alias: String,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The models, by their whole names.
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Only say what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The model [default: the base model, or the only one there is].
    pub(crate) name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The model [default: the base model, or the only one there is].
    #[arg(value_name = "NAME")]
    pub(crate) positional_name: Option<String>,
    /// The model, by name.
    #[arg(long, value_name = "NAME", conflicts_with = "positional_name")]
    pub(crate) name: Option<String>,
    /// The prompt; `-`, or leaving it out, reads standard input.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// What the model is told before the prompt.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Give the prompt to the model as it is, without its chat template.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Tokens of the answer at most [default: what the context leaves].
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// End the answer before this text; may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
    /// Make the answer JSON that fits the schema in this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
    /// Print one JSON object with the text, usage and timings instead of streaming.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// How tokens are chosen.
#[derive(Debug, Args)]
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
    /// The same seed gives the same answer.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

// What is measured is the speed of steps, not how well an answer to a meaningless prompt repeats itself.
#[derive(Debug, Args)]
#[command(mut_arg("drafts", |arg| arg.default_value("off")))]
pub(crate) struct BenchArgs {
    /// The model [default: the base model, or the only one there is].
    pub(crate) name: Option<String>,
    /// Prompt sizes to measure, in tokens, separated by commas.
    #[arg(
        long,
        value_name = "TOKENS",
        value_delimiter = ',',
        default_value = "128,512"
    )]
    pub(crate) prompt: Vec<u32>,
    /// Tokens to decode, per answer.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) decode: u32,
    /// Answers to run together, separated by commas.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,4", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) concurrency: Vec<u32>,
    /// Times to repeat each measurement.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
