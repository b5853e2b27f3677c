//! `shimmy config`: the settings, and where each comes from.

use serde_json::json;

use super::{print, print_json, table};
use crate::cli::{ConfigArgs, ConfigCommand, ConfigShowArgs};
use crate::config::{self, Setting};
use crate::failure::Failure;

pub(super) fn run(args: ConfigArgs) -> Result<(), Failure> {
    match args.command {
        ConfigCommand::Show(args) => show(&args),
    }
}

fn show(args: &ConfigShowArgs) -> Result<(), Failure> {
    let path = config::config_path();
    let is_there = path.as_ref().is_some_and(|path| path.exists());
    let names = args.serve.models.names.iter();
    if args.json {
        let names: serde_json::Map<_, _> = names
            .map(|(name, model)| (name.to_owned(), json!(model)))
            .collect();
        return print_json(&json!({
            "file": { "path": path, "exists": is_there },
            "settings": args.settings,
            "aliases": names,
        }));
    }
    let mut text = match &path {
        Some(path) if is_there => format!("file: {}\n\n", path.display()),
        Some(path) => format!("file: {} (not there)\n\n", path.display()),
        None => "file: none, for there is no home folder\n\n".to_owned(),
    };
    let rows: Vec<Vec<String>> = args.settings.iter().map(row).collect();
    text.push_str(&table(&["SETTING", "VALUE", "ORIGIN", "VARIABLE"], &rows));
    let names: Vec<Vec<String>> = names
        .map(|(name, model)| vec![name.to_owned(), model.to_owned()])
        .collect();
    if !names.is_empty() {
        text.push('\n');
        text.push_str(&table(&["ALIAS", "MODEL"], &names));
    }
    print(&text)
}

fn row(setting: &Setting) -> Vec<String> {
    vec![
        setting.name.clone(),
        setting.value.clone().unwrap_or_else(|| "-".to_owned()),
        setting.origin.as_str().to_owned(),
        setting.variable.clone().unwrap_or_default(),
    ]
}
