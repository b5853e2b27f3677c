//! The arguments of the commands that talk to a running server.

use clap::Args;

use super::ListenArgs;

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The model, or `default`.
    pub(crate) name: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
}
