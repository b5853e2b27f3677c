//! The arguments of the commands that load a model and have it answer.

use std::path::PathBuf;

use clap::Args;

use super::{EngineArgs, ModelArgs, SamplingArgs};

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
    /// The model [default: the base model, or the only one there is]; `-` is none, and reads the prompt
    /// from standard input.
    #[arg(value_name = "NAME")]
    pub(crate) positional_name: Option<String>,
    /// The model, by name.
    #[arg(long, value_name = "NAME", conflicts_with = "positional_name")]
    pub(crate) name: Option<String>,
    /// The prompt; `-`, or leaving it out, reads standard input.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// What the model is told before the prompt [default: what its maker tells it].
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Give the prompt to the model as it is: no chat template, and nothing that only a template can
    /// tell the model.
    #[arg(long, conflicts_with_all = ["system", "think"])]
    pub(crate) raw: bool,
    /// Tokens of the answer at most; -1 is no limit [default: what the model's maker says, or the context
    /// leaves].
    #[arg(short = 'n', long, value_name = "N", value_parser = super::numbers::tokens)]
    pub(crate) max_tokens: Option<u32>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) thinking: ThinkingArgs,
    /// End the answer before this text; may be given several times [default: the texts of the model's
    /// maker].
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
    /// Make the answer JSON that fits the schema in this file.
    #[arg(long, value_name = "FILE", conflicts_with = "grammar")]
    pub(crate) schema: Option<PathBuf>,
    /// Make the answer fit the grammar in this file: llama.cpp's GBNF or llguidance's Lark.
    #[arg(long, value_name = "FILE")]
    pub(crate) grammar: Option<PathBuf>,
    /// Print one JSON object with the text, usage and timings instead of streaming.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Whether the model thinks before it answers.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ThinkingArgs {
    /// Whether the model thinks before it answers, where it can be told: on, off, or an effort such
    /// as low or high [default: the model's own habit].
    #[arg(long, value_name = "WHEN")]
    pub(crate) think: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The model [default: the base model, or the only one there is].
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A question: it is answered, and the command ends.
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Vec<String>,
    /// What the model is told before the conversation [default: what its maker tells it].
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Tokens of an answer at most; -1 is no limit [default: what the model's maker says, or the context
    /// leaves].
    #[arg(short = 'n', long, value_name = "N", value_parser = super::numbers::tokens)]
    pub(crate) max_tokens: Option<u32>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) thinking: ThinkingArgs,
    /// End an answer before this text; may be given several times [default: the texts of the model's
    /// maker].
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
    /// Do not keep what is typed for the arrow keys of the next time.
    #[arg(long)]
    pub(crate) no_history: bool,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
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
