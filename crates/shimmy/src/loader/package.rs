//! What a store says of a model beside its file: how it is asked, what it is told, and how that is
//! written.
//!
//! Read from the files that a manifest names, which anybody may have written: what makes no sense
//! is left out with a warning, and the model still answers. What has no place here (where and how
//! it is computed) is shown to who asks for it and otherwise left out.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use shimmy_chat::{Message, jinja_of_go};
use shimmy_engine::SamplingParams;
use shimmy_models::ModelFile;
use shimmy_server::Preset;

use crate::config::Lora;

/// The longest file that is read: templates are the longest, with some ten thousand bytes.
pub(crate) const MAX_BYTES: u64 = 1 << 20;
/// The most stop texts and messages: a request may have no more.
const MAX_STOPS: usize = 32;
const MAX_MESSAGES: usize = 1024;

/// What a store says of a model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    /// How its conversations are written, as it was given.
    pub(crate) template: Option<String>,
    /// What it is told before every conversation.
    pub(crate) system: Option<String>,
    /// Messages that every conversation goes on from.
    pub(crate) messages: Vec<Message>,
    /// How it is asked, by Ollama's names.
    pub(crate) params: Map<String, Value>,
    /// Texts of licences.
    pub(crate) licenses: Vec<String>,
}

/// The adapters that make the model what it is.
pub(super) fn loras(file: &ModelFile) -> impl Iterator<Item = Lora> {
    let adapters = file.companions.adapters.iter();
    adapters.map(|path| Lora {
        path: path.clone(),
        scale: 1.0,
    })
}

impl Package {
    /// What the store of this model says. Blocks on the disk.
    pub(crate) fn read(file: &ModelFile) -> Self {
        let companions = &file.companions;
        let warn = |what, error: &dyn std::fmt::Display| {
            tracing::warn!("the {what} of {} is left out: {error}", file.name);
        };
        let text = |path: &Path, what| {
            let read = read_text(path);
            read.inspect_err(|error| warn(what, error)).ok()
        };
        let one = |path: &Option<PathBuf>, what| text(path.as_deref()?, what);
        let json = |path: &Option<PathBuf>, what| {
            let parsed = serde_json::from_str(&one(path, what)?);
            parsed.inspect_err(|error| warn(what, error)).ok()
        };
        let messages = json(&companions.messages, "list of messages").unwrap_or_default();
        let params = match json(&companions.params, "list of parameters") {
            Some(Value::Object(params)) => params,
            _ => Map::new(),
        };
        Self {
            template: one(&companions.template, "template"),
            system: one(&companions.system, "system text").filter(|text| !text.is_empty()),
            messages: self::messages(&messages),
            params,
            licenses: companions
                .licenses
                .iter()
                .filter_map(|path| text(path, "licence"))
                .collect(),
        }
    }

    /// Its template in Jinja; none if it has none, or one that cannot be used.
    pub(super) fn jinja(&self, name: &str) -> Option<String> {
        let warn = |error| {
            tracing::warn!("the template of {name} is left out, its file's own is used: {error}");
        };
        jinja_of_go(self.template.as_deref()?).map_err(warn).ok()
    }

    /// Tokens that a request may hold, where its maker says so; an operator's word is the limit.
    pub(super) fn context(&self, limit: Option<u32>) -> Option<u32> {
        let wanted = self.whole("num_ctx").filter(|&tokens| tokens > 0);
        wanted.into_iter().chain(limit).min()
    }

    /// What it recommends for choosing tokens, over what the file does.
    pub(super) fn sampling(&self, defaults: SamplingParams) -> SamplingParams {
        let float = |key: &str| Some(self.params.get(key)?.as_f64()? as f32);
        // Zero and the negative numbers of Ollama's clients mean "all".
        let count = |key: &str| Some(self.params.get(key)?.as_i64()?.max(0) as u32);
        let recommended = SamplingParams {
            temperature: float("temperature").unwrap_or(defaults.temperature),
            top_k: count("top_k").unwrap_or(defaults.top_k),
            top_p: float("top_p").unwrap_or(defaults.top_p),
            min_p: float("min_p").unwrap_or(defaults.min_p),
            typical_p: float("typical_p").unwrap_or(defaults.typical_p),
            repeat_penalty: float("repeat_penalty").unwrap_or(defaults.repeat_penalty),
            repeat_last_n: match self.params.get("repeat_last_n").and_then(Value::as_i64) {
                Some(all @ ..0) => u32::try_from(all).unwrap_or(u32::MAX),
                Some(count) => u32::try_from(count).unwrap_or(u32::MAX),
                None => defaults.repeat_last_n,
            },
            presence_penalty: float("presence_penalty").unwrap_or(defaults.presence_penalty),
            frequency_penalty: float("frequency_penalty").unwrap_or(defaults.frequency_penalty),
            seed: match self.params.get("seed").and_then(Value::as_i64) {
                Some(seed) => u64::try_from(seed).ok(),
                None => defaults.seed,
            },
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

    /// What else it wants of requests that do not say.
    pub(super) fn preset(&self) -> Preset {
        let stop = match self.params.get("stop") {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(texts)) => texts
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        let texts = stop.into_iter().filter(|text| !text.is_empty());
        Preset {
            system: self.system.clone(),
            messages: self.messages.clone(),
            stop: texts.take(MAX_STOPS).collect(),
            max_tokens: self.whole("num_predict").filter(|&tokens| tokens > 0),
        }
    }

    fn whole(&self, key: &str) -> Option<u32> {
        u32::try_from(self.params.get(key)?.as_u64()?).ok()
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_BYTES {
        return Err(format!("{size} bytes are more than {MAX_BYTES}"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

fn messages(list: &Value) -> Vec<Message> {
    let message = |value: &Value| {
        let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
        Some(Message::new(text("role")?, text("content")?))
    };
    let list = list.as_array().into_iter().flatten();
    list.filter_map(message).take(MAX_MESSAGES).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(params: Value) -> Package {
        let Value::Object(params) = params else {
            panic!("no object")
        };
        Package {
            params,
            ..Package::default()
        }
    }

    #[test]
    fn parameters_of_a_store_are_used_if_they_make_sense() {
        let defaults = SamplingParams::default();
        let package = with(json!({"temperature": 0.25, "top_k": 7, "seed": 3, "num_gpu": 99}));
        let sampling = package.sampling(defaults.clone());
        assert_eq!((sampling.temperature, sampling.top_k), (0.25, 7));
        assert_eq!((sampling.top_p, sampling.seed), (defaults.top_p, Some(3)));
        let wrong = with(json!({"temperature": -3}));
        assert_eq!(wrong.sampling(defaults.clone()), defaults);
        let other = with(json!({"temperature": "hot", "top_k": -1, "repeat_last_n": -1}));
        let sampling = other.sampling(defaults.clone());
        assert_eq!(sampling.temperature, defaults.temperature);
        assert_eq!((sampling.top_k, sampling.repeat_last_n), (0, u32::MAX));
    }

    #[test]
    fn what_ends_an_answer_is_a_text_or_several() {
        let preset = |params| with(params).preset();
        assert_eq!(preset(json!({"stop": "x"})).stop, ["x"]);
        assert_eq!(preset(json!({"stop": ["x", "", 7, "y"]})).stop, ["x", "y"]);
        assert_eq!(preset(json!({"num_predict": 9})).max_tokens, Some(9));
        assert_eq!(preset(json!({"num_predict": -1})).max_tokens, None);
    }

    #[test]
    fn the_operators_word_limits_the_context() {
        let package = with(json!({"num_ctx": 4096}));
        assert_eq!(package.context(None), Some(4096));
        assert_eq!(package.context(Some(1024)), Some(1024));
        assert_eq!(package.context(Some(8192)), Some(4096));
        assert_eq!(with(json!({})).context(None), None);
    }
}
