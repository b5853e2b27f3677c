//! `shimmy discover`: where models were looked for, what was found, and what is wrong with it.

use serde_json::json;
use shimmy_models::AdapterFile;
use shimmy_server::Loader;

use super::list::models_table;
use super::{print, print_json};
use crate::cli::ListArgs;
use crate::config::ModelConfig;
use crate::failure::Failure;
use crate::loader::LocalLoader;

pub(super) fn run(args: ListArgs) -> Result<(), Failure> {
    let loader = LocalLoader::without_engine(ModelConfig::for_command(args.models)?);
    let models = loader.discover();
    let (roots, adapters, problems) = (loader.roots(), loader.adapter_files(), loader.problems());
    if args.json {
        return print_json(&json!({
            "discovered": models.len(),
            "models": models,
            "adapters": adapters,
            "problems": problems,
            "searched": roots,
        }));
    }
    let mut text = String::from("Searched:\n");
    for root in roots {
        text.push_str(&format!("  {root}\n"));
    }
    text.push_str(&format!("\nModels: {}\n", models.len()));
    if !models.is_empty() {
        text.push_str(&models_table(&models));
    }
    for (title, lines) in [
        ("Adapters", adapters.iter().map(adapter_line).collect()),
        ("Problems", problems),
    ] {
        let lines: Vec<String> = lines;
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}: {}\n", lines.len()));
            lines
                .iter()
                .for_each(|line| text.push_str(&format!("  {line}\n")));
        }
    }
    print(&text)
}

fn adapter_line(adapter: &AdapterFile) -> String {
    let path = adapter.path.display();
    match adapter.bases.as_slice() {
        [] => format!("{path} (its base model is not here)"),
        bases => format!("{path} (for {})", bases.join(", ")),
    }
}
