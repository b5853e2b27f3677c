//! `shimmy list`: the models that are there.

use shimmy_server::{Loader, ModelInfo};

use super::{bytes, parameters, print, print_json, table};
use crate::cli::ListArgs;
use crate::config::ModelConfig;
use crate::failure::Failure;
use crate::loader::LocalLoader;

pub(super) fn run(args: ListArgs) -> Result<(), Failure> {
    let loader = LocalLoader::without_engine(ModelConfig::for_command(args.models)?);
    let models = loader.discover();
    if args.json {
        return print_json(&serde_json::json!({ "models": models }));
    }
    if models.is_empty() {
        let problems = loader.problems().len();
        let more = if problems > 0 {
            "; `shimmy discover` says what else was found"
        } else {
            ""
        };
        return Err(Failure::new(format!("no models found{more}")).hint(super::super::loader::HINT));
    }
    print(&models_table(&models))
}

/// Models as a table.
pub(super) fn models_table(models: &[ModelInfo]) -> String {
    let rows: Vec<Vec<String>> = models.iter().map(row).collect();
    table(
        &[
            "NAME",
            "SIZE",
            "TYPE",
            "PARAMETERS",
            "QUANT",
            "CONTEXT",
            "SOURCE",
        ],
        &rows,
    )
}

fn row(model: &ModelInfo) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut source = model.source.clone();
    if let Some(problem) = &model.problem {
        source = format!("{source} ({problem})");
    }
    let mut names = model.name.clone();
    for alias in &model.aliases {
        names = format!("{names}, {alias}");
    }
    vec![
        names,
        bytes(model.size_bytes),
        model.model_type.clone(),
        or_dash(model.parameter_count.map(parameters)),
        or_dash(model.quantization.clone()),
        or_dash(model.context_length.map(|n| n.to_string())),
        source,
    ]
}
