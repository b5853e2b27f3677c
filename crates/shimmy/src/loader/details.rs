//! What a model's file says of it, without an engine.
//!
//! Owns which of the metadata is told and what it says of the model's abilities. It must not know
//! who asks.

use serde_json::{Map, Value, json};
use shimmy_models::Metadata;
use shimmy_models::gguf::Value as Gguf;
use shimmy_server::{LoadError, ModelDetails, ModelInfo};

use super::package::Package;
use super::target::Target;
use crate::backend::OpenOptions;

/// The sampling that files recommend, by its name there and by the one that clients know.
const PARAMETERS: [(&str, &str); 6] = [
    ("temp", "temperature"),
    ("top_k", "top_k"),
    ("top_p", "top_p"),
    ("min_p", "min_p"),
    ("penalty_repeat", "repeat_penalty"),
    ("penalty_last_n", "repeat_last_n"),
];

/// Reads them. Blocks on the disk.
pub(super) fn read(target: &Target, options: &OpenOptions) -> Result<ModelDetails, LoadError> {
    let info = target.info();
    let Target::File(entry) = target else {
        return Ok(ModelDetails {
            context: options.context(None) as usize,
            metadata: stub(&info, options),
            info,
            ..ModelDetails::default()
        });
    };
    let metadata = Metadata::open(&entry.file.path).map_err(|error| LoadError::Failed {
        name: info.name.clone(),
        reason: error.to_string(),
    })?;
    let text = |key: &str| metadata.get(key).and_then(Gguf::as_str).map(str::to_owned);
    let number = |key: &str| {
        let value = metadata.get(&format!("general.sampling.{key}"))?;
        let whole = value.as_u64().map(Value::from);
        // What a file of 32 bits says has no more digits than these.
        whole.or_else(|| Some(json!(value.as_f64()?)))
    };
    let package = Package::read(&entry.file);
    let options = OpenOptions {
        context: package.context(options.context),
        ..options.clone()
    };
    let mut own: Vec<(String, Value)> = PARAMETERS
        .into_iter()
        .filter_map(|(ours, theirs)| Some((theirs.to_owned(), number(ours)?)))
        .collect();
    own.retain(|(name, _)| !package.params.contains_key(name));
    // The context has its own place.
    let packaged = package
        .params
        .into_iter()
        .filter(|(name, _)| name != "num_ctx");
    let own_template = || metadata.chat_template().map(str::to_owned);
    let licenses = package.licenses.join("\n\n");
    Ok(ModelDetails {
        template: package.template.or_else(own_template),
        license: Some(licenses)
            .filter(|text| !text.is_empty())
            .or_else(|| text("general.license")),
        system: package.system,
        messages: package.messages,
        context: options.context(metadata.context_length()) as usize,
        parameters: own.into_iter().chain(packaged).collect(),
        metadata: metadata
            .entries()
            .iter()
            .map(|(key, value)| (key.clone(), json(value)))
            .collect(),
        info,
    })
}

/// The deterministic model has no file: these are the two facts that clients look for.
fn stub(info: &ModelInfo, options: &OpenOptions) -> Map<String, Value> {
    let architecture = &info.model_type;
    let mut metadata = Map::new();
    metadata.insert("general.architecture".to_owned(), json!(architecture));
    metadata.insert(
        format!("{architecture}.context_length"),
        json!(options.context(None)),
    );
    metadata
}

/// A value as JSON. Long ones, which were not kept, and numbers that are none are null.
fn json(value: &Gguf) -> Value {
    match value {
        Gguf::Unsigned(number) => json!(number),
        Gguf::Signed(number) => json!(number),
        Gguf::Float(number) => json!(number),
        Gguf::Bool(truth) => json!(truth),
        Gguf::String(text) => json!(text),
        Gguf::Array(items) => items.iter().map(json).collect(),
        Gguf::LongArray { .. } | Gguf::LongString { .. } => Value::Null,
    }
}
