//! The arguments of the commands that set this program up and say how it is set up.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::{ListenArgs, ModelArgs, PrefixArgs, ServeArgs, WeightsArgs};
use crate::config::Setting;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    #[command(flatten)]
    pub(crate) prefixes: PrefixArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting of the server with where its value comes from.
    Show(Box<ConfigShowArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigShowArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// What was found, flags and all.
    #[arg(skip)]
    pub(crate) settings: Vec<Setting>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// What to make files for.
    #[arg(short, long, value_name = "KIND")]
    pub(crate) template: Template,
    /// The file to write, instead of standard output; one that is there is left alone.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The port to serve on.
    #[arg(long, value_name = "PORT", default_value_t = crate::config::FIRST_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The model, as `shimmy pull` takes it.
    #[arg(long, value_name = "MODEL", default_value = "qwen3:0.6b")]
    pub(crate) model: String,
    /// The image to run.
    #[arg(long, value_name = "IMAGE", default_value = concat!("ghcr.io/shimmy-rs/shimmy:", env!("CARGO_PKG_VERSION")))]
    pub(crate) image: String,
}

/// Where a server may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Template {
    /// A Dockerfile of a server with its model in the image.
    Docker,
    /// A Compose file.
    Compose,
    /// Kubernetes manifests.
    Kubernetes,
    /// A unit for systemd.
    Systemd,
    /// A property list for launchd.
    Launchd,
    /// The fly.toml of Fly.io, for that Dockerfile.
    Fly,
    /// The railway.json of Railway, for that Dockerfile.
    Railway,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The command to print the page of; `config show` and the like as two words.
    pub(crate) command: Vec<String>,
    /// Write the pages of all commands into this folder instead.
    #[arg(short, long, value_name = "FOLDER", conflicts_with = "command")]
    pub(crate) output: Option<PathBuf>,
}
