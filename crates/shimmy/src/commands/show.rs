//! `shimmy show`: what is known of a model without loading it.

use serde_json::{Value, json};
use shimmy_models::{Capability, Metadata, ModelFile};

use super::library::Library;
use super::{bytes, parameters, print, print_json};
use crate::cli::ShowArgs;
use crate::failure::Failure;

pub(super) fn run(args: ShowArgs) -> Result<(), Failure> {
    let library = Library::open(args.models)?;
    let model = library.find(&args.name)?;
    let adapters = library.found.adapters.iter();
    let adapters = adapters.filter(|adapter| adapter.bases.contains(&model.name));
    let adapters: Vec<String> = adapters.map(|adapter| adapter.name.clone()).collect();
    // Of an incomplete model, the first part may be the one that is missing.
    let template = Metadata::open(&model.path).ok();
    let template = template.and_then(|metadata| metadata.chat_template().map(str::to_owned));
    if args.json {
        let mut facts = serde_json::to_value(model)?;
        if let Value::Object(facts) = &mut facts {
            facts.insert("adapters".to_owned(), json!(adapters));
            facts.insert("capabilities".to_owned(), json!(abilities(model)));
            facts.insert("chat_template".to_owned(), json!(template));
        }
        return print_json(&facts);
    }
    let rows = rows(model, &adapters, template.is_some());
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = rows
        .iter()
        .map(|(name, value)| format!("  {name:width$}  {value}\n"));
    print(&format!("{}\n{}", model.name, lines.collect::<String>()))
}

/// What it can do here: no engine shows a model pictures, whatever it was made for.
fn abilities(model: &ModelFile) -> Vec<Capability> {
    let found = model.summary.capabilities.iter().copied();
    found.filter(|&found| found != Capability::Vision).collect()
}

/// What there is to say, in order; what is not known is left out.
fn rows(model: &ModelFile, adapters: &[String], has_template: bool) -> Vec<(&'static str, String)> {
    let summary = &model.summary;
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let list = |items: &[String]| (!items.is_empty()).then(|| items.join(", "));
    let paths = |paths: &[std::path::PathBuf]| {
        let texts: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        list(&texts)
    };
    let abilities = abilities(model);
    let abilities: Vec<String> = abilities.iter().map(|c| c.as_str().to_owned()).collect();
    let path =
        |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let template = if has_template {
        "its own"
    } else {
        "none of its own"
    };
    let companions = &model.companions;
    let projectors = paths(&companions.projectors);
    [
        ("also called", list(&model.aliases)),
        ("title", summary.title.clone()),
        ("architecture", summary.architecture.clone()),
        ("parameters", summary.parameter_count.map(parameters)),
        ("quantization", summary.quantization.clone()),
        ("context", number(summary.context_length)),
        ("layers", number(summary.layer_count)),
        ("embedding", number(summary.embedding_length)),
        ("can do", list(&abilities)),
        ("chat template", Some(template.to_owned())),
        ("size", Some(bytes(model.size_bytes))),
        ("source", Some(model.source.as_str().to_owned())),
        ("repository", model.repository.clone()),
        ("digest", model.digest.clone()),
        ("made from", list(&summary.base_models)),
        ("file", Some(model.path.display().to_string())),
        ("parts", paths(&model.shards)),
        ("missing", paths(&model.missing)),
        ("adapters", list(adapters)),
        ("applies", paths(&companions.adapters)),
        (
            "projector",
            projectors.map(|paths| format!("{paths} (not used: models are shown no pictures)")),
        ),
        ("Go template", path(&companions.template)),
        ("system text", path(&companions.system)),
        ("settings", path(&companions.params)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}
