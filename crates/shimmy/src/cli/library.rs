//! The arguments of the commands that manage model files.

use clap::Args;

use super::ModelArgs;

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
