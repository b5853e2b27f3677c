//! What a store says of a model beside its file: adapters that are always applied, and sampling.
//!
//! Ollama's parameters that no other part of a model has a place for (stop texts, context sizes)
//! and its templates, which are in another language, are shown and not used.

use std::path::Path;

use serde_json::Value;
use shimmy_engine::SamplingParams;
use shimmy_models::ModelFile;

use crate::config::Lora;

/// The longest file of parameters that is read.
const MAX_PARAMS: u64 = 64 << 10;

/// The adapters that make the model what it is.
pub(super) fn loras(file: &ModelFile) -> impl Iterator<Item = Lora> {
    let adapters = file.companions.adapters.iter();
    adapters.map(|path| Lora {
        path: path.clone(),
        scale: 1.0,
    })
}

/// What the store recommends, over what the file does.
pub(super) fn sampling(file: &ModelFile, defaults: SamplingParams) -> SamplingParams {
    let Some(path) = &file.companions.params else {
        return defaults;
    };
    match read(path) {
        Ok(params) => over(&params, defaults),
        Err(error) => {
            tracing::warn!("the parameters of {} cannot be read: {error}", file.name);
            defaults
        }
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if size > MAX_PARAMS {
        return Err(format!("{size} bytes are more than {MAX_PARAMS}"));
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

fn over(params: &Value, defaults: SamplingParams) -> SamplingParams {
    let float = |key: &str| params.get(key)?.as_f64().map(|number| number as f32);
    let whole = |key: &str| u32::try_from(params.get(key)?.as_u64()?).ok();
    let recommended = SamplingParams {
        temperature: float("temperature").unwrap_or(defaults.temperature),
        top_k: whole("top_k").unwrap_or(defaults.top_k),
        top_p: float("top_p").unwrap_or(defaults.top_p),
        min_p: float("min_p").unwrap_or(defaults.min_p),
        repeat_penalty: float("repeat_penalty").unwrap_or(defaults.repeat_penalty),
        repeat_last_n: whole("repeat_last_n").unwrap_or(defaults.repeat_last_n),
        presence_penalty: float("presence_penalty").unwrap_or(defaults.presence_penalty),
        frequency_penalty: float("frequency_penalty").unwrap_or(defaults.frequency_penalty),
        ..defaults.clone()
    };
    match recommended.validate(usize::MAX) {
        Ok(()) => recommended,
        Err(error) => {
            tracing::warn!("the store recommends sampling that makes no sense: {error}");
            defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_of_a_store_are_used_if_they_make_sense() {
        let defaults = SamplingParams::default();
        let params = json!({"temperature": 0.25, "top_k": 7, "stop": ["x"], "num_ctx": 4096});
        let sampling = over(&params, defaults.clone());
        assert_eq!((sampling.temperature, sampling.top_k), (0.25, 7));
        assert_eq!(sampling.top_p, defaults.top_p);
        assert_eq!(
            over(&json!({"temperature": -3}), defaults.clone()),
            defaults
        );
        assert_eq!(over(&json!("no object"), defaults.clone()), defaults);
    }
}
