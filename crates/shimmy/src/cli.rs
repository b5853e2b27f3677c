//! The command line's types, as clap reads them. What they mean is checked in `config`.

mod answer;
mod fault;
mod library;
mod models;
mod numbers;
mod serve;
mod service;
mod setup;

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{ConfigFile, is_refused, settings};

pub(crate) use self::answer::{BenchArgs, GenerateArgs, ProbeArgs, RunArgs};
pub(crate) use self::fault::Fault;
pub(crate) use self::library::{CpArgs, JsonArgs, ListArgs, PullArgs, RmArgs, ShowArgs};
pub(crate) use self::models::{Drafts, EngineArgs, ModelArgs, SamplingArgs, WeightsArgs};
pub(crate) use self::numbers::{CONTEXT, NO_LIMIT, Seed, tokens};
pub(crate) use self::serve::{ListenArgs, PrefixArgs, Scope, ServeArgs};
pub(crate) use self::service::{PsArgs, StopArgs};
pub(crate) use self::setup::{
    CompletionsArgs, ConfigArgs, ConfigCommand, ConfigShowArgs, DoctorArgs, InitArgs, ManArgs,
    Template,
};

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
    /// Talk with a model in the terminal; a question that is piped in is answered and that is all.
    #[command(visible_alias = "chat")]
    Run(Box<RunArgs>),
    /// Answer one prompt, streamed to standard output.
    Generate(Box<GenerateArgs>),
    /// Measure prefill and decode speed.
    Bench(BenchArgs),
    /// List the models in the memory of the running server.
    Ps(PsArgs),
    /// Take a model out of the memory of the running server.
    Stop(StopArgs),
    /// Check the build, the machine, the settings and the models, and say what to do.
    Doctor(DoctorArgs),
    /// Say which compute devices this build can use, which it sees, and why not others.
    GpuInfo(JsonArgs),
    /// Print the settings.
    Config(ConfigArgs),
    /// Print a file to deploy the server with.
    Init(InitArgs),
    /// Print a shell's completions.
    Completions(CompletionsArgs),
    /// Print a manual page.
    Man(ManArgs),
}

impl Cli {
    /// Reads the command line, the environment and the configuration file.
    pub(crate) fn read() -> Result<Self, Fault> {
        let file = ConfigFile::read();
        let (file, broken) = match file {
            Ok(file) => (file, None),
            Err(failure) => (ConfigFile::default(), Some(failure)),
        };
        let cli = Self::parse_words(std::env::args_os(), &file)?;
        match broken {
            Some(failure) if cli.command.needs_settings() => Err(failure.into()),
            _ => Ok(cli),
        }
    }

    /// What the server is given where no flag is typed; none if it cannot be read.
    pub(crate) fn serve_without_flags(file: &ConfigFile) -> Option<Box<ServeArgs>> {
        let words = ["shimmy", "serve"].map(OsString::from);
        match Self::parse_words(words, file).ok()?.command {
            Command::Serve(args) => Some(args),
            _ => None,
        }
    }

    fn parse_words(
        words: impl IntoIterator<Item = OsString>,
        file: &ConfigFile,
    ) -> Result<Self, Fault> {
        let mut command = prepared(Self::command(), file)
            .mut_subcommand("doctor", |doctor| doctor.mut_args(without_refused));
        let matches = command.try_get_matches_from_mut(words);
        let matches = matches.map_err(|error| Fault::new(error, &command))?;
        let mut cli = Self::from_arg_matches(&matches)
            .map_err(|error| Fault::new(error.format(&mut command), &command))?;
        cli.command.complete(innermost(&matches), file);
        Ok(cli)
    }

    /// The definition itself, without what this user has configured.
    pub(crate) fn plain() -> clap::Command {
        fn without_values(command: clap::Command) -> clap::Command {
            command
                .mut_args(|arg| arg.hide_env_values(true))
                .mut_subcommands(without_values)
        }
        without_values(Self::command())
    }
}

/// The command line with what is configured in place of what is built in, in every subcommand.
fn prepared(command: clap::Command, file: &ConfigFile) -> clap::Command {
    command
        .mut_args(|arg| with_signs(unset(file.as_default(arg))))
        .mut_subcommands(|subcommand| prepared(subcommand, file))
}

/// The arguments of the subcommand that runs.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, inner)) => innermost(inner),
        None => matches,
    }
}

/// A flag takes the number after it, a negative one too: what is wrong with that, its parser says.
fn with_signs(arg: Arg) -> Arg {
    let is_flag = arg.get_long().is_some() && arg.get_action().takes_values();
    match is_flag {
        true => arg.allow_negative_numbers(true),
        false => arg,
    }
}

/// An empty variable means an unset one: that is what `${SHIMMY_CTX:-}` in a compose file makes of
/// a variable that is not there. The key is the exception, because a server that was meant to have
/// one must not start without.
fn unset(arg: Arg) -> Arg {
    let value = arg.get_env().and_then(std::env::var_os);
    if arg.get_id() != "api_key" && value.is_some_and(|value| value.is_empty()) {
        arg.env(None)
    } else {
        arg
    }
}

/// What looks for refused values must not fail for one itself.
fn without_refused(arg: Arg) -> Arg {
    match is_refused(&arg) {
        true => arg.env(None),
        false => arg,
    }
}

impl Command {
    /// Whether it does what the settings say. The others work with a broken file, and some help to
    /// mend it.
    fn needs_settings(&self) -> bool {
        !matches!(
            self,
            Self::Doctor(_) | Self::Init(_) | Self::Completions(_) | Self::Man(_)
        )
    }

    /// Adds what clap does not write into the arguments.
    fn complete(&mut self, matches: &ArgMatches, file: &ConfigFile) {
        if let Some(listen) = self.listen() {
            listen.choose_key(matches);
        }
        if let Some(models) = self.models() {
            models.names = file.names();
        }
        match self {
            Self::Serve(args) => {
                let source = matches.value_source("ollama");
                args.ollama_is_inherited = source == Some(ValueSource::EnvVariable);
            }
            Self::Config(ConfigArgs {
                command: ConfigCommand::Show(args),
            }) => args.settings = settings(matches, file),
            _ => {}
        }
    }

    fn listen(&mut self) -> Option<&mut ListenArgs> {
        match self {
            Self::Serve(args) => Some(&mut args.listen),
            Self::Ps(args) => Some(&mut args.listen),
            Self::Stop(args) => Some(&mut args.listen),
            Self::Doctor(args) => Some(&mut args.listen),
            _ => None,
        }
    }

    fn models(&mut self) -> Option<&mut ModelArgs> {
        match self {
            Self::Serve(args) => Some(&mut args.models),
            Self::List(args) | Self::Discover(args) => Some(&mut args.models),
            Self::Pull(args) => Some(&mut args.models),
            Self::Show(args) => Some(&mut args.models),
            Self::Cp(args) => Some(&mut args.models),
            Self::Rm(args) => Some(&mut args.models),
            Self::Probe(args) => Some(&mut args.models),
            Self::Run(args) => Some(&mut args.models),
            Self::Generate(args) => Some(&mut args.models),
            Self::Bench(args) => Some(&mut args.models),
            Self::Doctor(args) => Some(&mut args.models),
            _ => None,
        }
    }
}
