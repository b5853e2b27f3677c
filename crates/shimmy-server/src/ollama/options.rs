//! `options`: how tokens are chosen and how much is computed, by Ollama's names.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};
use shimmy_engine::SamplingParams;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::fields::{OneOrMany, SamplingFields};
use crate::ignored::Ignored;
use crate::limits::JsonBody;
use crate::samplers::ForeignFields;

/// What can be left out: where and how the model is computed is settled when the server starts,
/// prefixes are kept whole, line breaks are tokens like others, and what tunes a way of choosing
/// tokens that is switched off says nothing.
const IGNORED: [&str; 17] = [
    "draft_num_predict",
    "f16_kv",
    "logits_all",
    "low_vram",
    "main_gpu",
    "mirostat_eta",
    "mirostat_tau",
    "num_batch",
    "num_gpu",
    "num_keep",
    "num_thread",
    "numa",
    "penalize_newline",
    "tfs_z",
    "use_mlock",
    "use_mmap",
    "vocab_only",
];

/// The sampling fields by the names that a complaint has for them, and by those on the wire.
const NAMES: [(&str, &str); 11] = [
    ("temperature", "options.temperature"),
    ("top_k", "options.top_k"),
    ("top_p", "options.top_p"),
    ("min_p", "options.min_p"),
    ("typical_p", "options.typical_p"),
    ("repeat_penalty", "options.repeat_penalty"),
    ("repeat_last_n", "options.repeat_last_n"),
    ("presence_penalty", "options.presence_penalty"),
    ("frequency_penalty", "options.frequency_penalty"),
    ("stop", "options.stop"),
    ("seed", "options.seed"),
];

/// What a client sends. (Described here; its parts are read one by one.)
#[derive(Debug, ToSchema)]
#[schema(as = OllamaOptions)]
#[expect(dead_code, reason = "only described")]
pub(super) struct AllOptions {
    #[serde(flatten)]
    own: OptionFields,
    #[serde(flatten)]
    sampling: SamplingFields,
}

/// Those that are not about how tokens are chosen.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = OllamaOptionFields)]
struct OptionFields {
    /// Tokens of the answer at most; 0 and less mean what the context leaves.
    num_predict: Option<i64>,
    /// Tokens that prompt and answer may hold together; not more than the server's own.
    #[schema(minimum = 1)]
    num_ctx: Option<i64>,
    stop: Option<OneOrMany>,
}

/// They stand one level deeper than other dialects' fields.
#[derive(Debug, Deserialize)]
struct Nested<T> {
    options: Option<T>,
}

/// The options of a request, read.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) sampling: SamplingFields,
    pub(super) max_tokens: Option<u32>,
    pub(super) context: Option<u32>,
    pub(super) stop: Vec<String>,
    /// Those that were sent and left out.
    pub(super) ignored: Ignored,
}

impl Options {
    /// Reads them from a body.
    pub(super) fn read(body: &JsonBody) -> Result<Self, ApiError> {
        let OptionFields {
            num_predict,
            num_ctx,
            stop,
        } = nested(body)?;
        nested::<ForeignFields>(body)?.refuse("options.")?;
        Ok(Self {
            sampling: nested(body)?,
            max_tokens: num_predict.filter(|&count| count > 0).map(tokens),
            context: context(num_ctx)?,
            stop: OneOrMany::texts(stop),
            ignored: ignored(body)?,
        })
    }
}

/// Whether what is to be every request's options could be one's.
pub(super) fn check(parameters: &Map<String, Value>) -> Result<(), ApiError> {
    let all = || Value::Object(parameters.clone());
    let own: OptionFields = read(all())?;
    let sampling: SamplingFields = read(all())?;
    let foreign: ForeignFields = read(all())?;
    let mut params = SamplingParams::default();
    sampling.patch().apply(&mut params);
    let checked = context(own.num_ctx)
        .and_then(|_| foreign.refuse("options."))
        .and_then(|()| Ok(params.validate(usize::MAX)?));
    checked.map_err(|error| match error.param.clone() {
        Some(field) => {
            let bare = field.strip_prefix("options.").unwrap_or(&field);
            error.renamed(&[(field.as_str(), &in_parameters(bare))])
        }
        None => error,
    })
}

fn read<T: DeserializeOwned>(options: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(options).map_err(|error| {
        let field = in_parameters(&error.path().to_string());
        ApiError::field(field, format!("is wrong: {}", error.inner()))
    })
}

fn in_parameters(field: &str) -> String {
    format!("parameters.{field}")
}

/// A complaint about a sampling field, by the name that it has here.
pub(super) fn renamed(error: ApiError) -> ApiError {
    error.renamed(&NAMES)
}

fn nested<T: Default + DeserializeOwned>(body: &JsonBody) -> Result<T, ApiError> {
    let Nested { options } = body.read()?;
    Ok(options.unwrap_or_default())
}

/// What no context can hold is as good as no limit.
fn tokens(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn context(num_ctx: Option<i64>) -> Result<Option<u32>, ApiError> {
    match num_ctx {
        Some(count @ ..1) => {
            let reason = format!("must be at least 1, got {count}");
            Err(ApiError::field("options.num_ctx", reason))
        }
        count => Ok(count.map(tokens)),
    }
}

fn ignored(body: &JsonBody) -> Result<Ignored, ApiError> {
    let sent: BTreeMap<String, Option<IgnoredAny>> = nested(body)?;
    let mut ignored = Ignored::default();
    for name in IGNORED {
        if sent.get(name).is_some_and(Option::is_some) {
            ignored.note(format!("options.{name}"));
        }
    }
    Ok(ignored)
}
