//! From a file to a model that answers: engine, template, adapters and defaults together.

use std::sync::Arc;
use std::time::Instant;

use shimmy_chat::{ChatTemplate, TemplateVocabulary};
use shimmy_engine::{AdapterId, SamplingParams, Specials, Tokenizer};
use shimmy_models::{AdapterFile, Metadata, ModelFile};
use shimmy_server::{AdapterInfo, Adapters, Hold, LoadedModel, ModelInfo};

use super::package::{self, Package};
use super::target::{Entry, Target};
use crate::backend::{self, Footprint, OpenOptions, Opened, Progress};
use crate::config::{Adapted, Lora, ModelConfig};

/// What a model will take in memory. Blocks on the disk; the reason of a failure is fit for users.
pub(super) fn measure(
    target: &Target,
    models: &ModelConfig,
    options: &OpenOptions,
) -> Result<Footprint, String> {
    let Target::File(entry) = target else {
        return Ok(Footprint::default());
    };
    check_complete(&entry.file)?;
    let loras = loras(entry, models).into_iter();
    let options = OpenOptions {
        adapters: loras.map(|lora| lora.path).collect(),
        context: Package::read(&entry.file).context(options.context),
        ..options.clone()
    };
    backend::measure(&entry.file, &options)
}

/// Loads a model. Blocks, and gives up soon after `progress` says that it is not wanted any more.
/// The reason of a failure is fit for users.
pub(super) fn open(
    target: &Target,
    models: &ModelConfig,
    options: &OpenOptions,
    progress: &Progress,
) -> Result<LoadedModel, String> {
    let started = Instant::now();
    let Target::File(entry) = target else {
        let opened = backend::open_stub(options)?;
        let template = template([], None, opened.session.tokenizer())?;
        return Ok(assemble(target, opened, template, started));
    };
    let file = &entry.file;
    check_complete(file)?;
    let metadata = Metadata::open(&file.path).map_err(|error| error.to_string())?;
    let adapters = adapters_for(&metadata, &loras(entry, models))?;
    let package = Package::read(file);
    let options = OpenOptions {
        adapters: adapters.iter().map(|info| info.path.clone()).collect(),
        context: package.context(options.context),
        ..options.clone()
    };
    let opened = backend::open(file, &metadata, &options, progress)?;
    let packaged = package.jinja(&file.name);
    let sources = packaged
        .as_deref()
        .into_iter()
        .chain(metadata.chat_template());
    let template = template(sources, Some(&metadata), opened.session.tokenizer())?;
    Ok(LoadedModel {
        default_sampling: package.sampling(sampling_of(&metadata)),
        preset: Arc::new(package.preset()),
        adapters: Arc::new(Adapters::from(adapters)),
        ..assemble(target, opened, template, started)
    })
}

/// The adapters of a model: its own, and those that were configured for it.
fn loras(entry: &Entry, models: &ModelConfig) -> Vec<Lora> {
    let configured = match models.adapted {
        Adapted::Base if !entry.is_base => &[],
        Adapted::Base | Adapted::Any => models.loras.as_slice(),
    };
    package::loras(&entry.file)
        .chain(configured.iter().cloned())
        .collect()
}

fn check_complete(file: &ModelFile) -> Result<(), String> {
    match file.missing.first() {
        Some(missing) => Err(format!("its part {} is missing", missing.display())),
        None => Ok(()),
    }
}

fn assemble(
    target: &Target,
    opened: Opened,
    template: ChatTemplate,
    started: Instant,
) -> LoadedModel {
    let info = ModelInfo {
        loaded: true,
        ..target.info()
    };
    LoadedModel {
        name: info.name.clone(),
        session: opened.session,
        engine: opened.engine,
        placement: opened.placement,
        template: Arc::new(template),
        info,
        default_sampling: SamplingParams::default(),
        preset: Arc::default(),
        default_adapters: Vec::new(),
        adapters: Arc::default(),
        load_time: started.elapsed(),
        hold: Hold::default(),
    }
}

/// The configured adapters, if they fit the model.
fn adapters_for(metadata: &Metadata, loras: &[Lora]) -> Result<Vec<AdapterInfo>, String> {
    let open = |(index, lora): (u32, &Lora)| {
        let adapter = AdapterFile::open(&lora.path).map_err(|error| error.to_string())?;
        let fits = adapter.matches_base(metadata);
        fits.map_err(|error| format!("{}: {error}", lora.path.display()))?;
        Ok(AdapterInfo {
            id: AdapterId(index),
            name: adapter.name,
            path: lora.path.clone(),
            scale: lora.scale,
        })
    };
    (0..).zip(loras).map(open).collect()
}

/// The first of the model's own templates that can be used, or a built-in one.
fn template<'a>(
    sources: impl IntoIterator<Item = &'a str>,
    metadata: Option<&Metadata>,
    tokenizer: &dyn Tokenizer,
) -> Result<ChatTemplate, String> {
    let text_of = |key: &str| {
        let token = u32::try_from(metadata?.get(key)?.as_u64()?).ok();
        let token = token.filter(|&token| (token as usize) < tokenizer.vocabulary())?;
        let mut bytes = Vec::new();
        tokenizer.append_piece(token, Specials::Parse, &mut bytes);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let vocabulary = || TemplateVocabulary {
        bos: text_of("tokenizer.ggml.bos_token_id"),
        eos: text_of("tokenizer.ggml.eos_token_id"),
        specials: tokenizer.special_texts().to_vec(),
    };
    for source in sources {
        match ChatTemplate::new(Some(source), vocabulary()) {
            Ok(template) => return Ok(template),
            // The model itself is fine, and the next template often is what the broken one means.
            Err(error) => tracing::warn!("a chat template of the model cannot be used: {error}"),
        }
    }
    ChatTemplate::new(None, vocabulary())
        .map_err(|error| format!("no chat template compiles: {error}"))
}

/// What the file's author recommends, over our defaults.
fn sampling_of(metadata: &Metadata) -> SamplingParams {
    let number = |key: &str| metadata.get(&format!("general.sampling.{key}"))?.as_f64();
    let defaults = SamplingParams::default();
    let params = SamplingParams {
        temperature: number("temp").map_or(defaults.temperature, |n| n as f32),
        top_k: number("top_k").map_or(defaults.top_k, |n| n.max(0.0) as u32),
        top_p: number("top_p").map_or(defaults.top_p, |n| n as f32),
        min_p: number("min_p").map_or(defaults.min_p, |n| n as f32),
        repeat_penalty: number("penalty_repeat").map_or(defaults.repeat_penalty, |n| n as f32),
        repeat_last_n: number("penalty_last_n")
            .map_or(defaults.repeat_last_n, |n| n.max(0.0) as u32),
        ..defaults.clone()
    };
    match params.validate(usize::MAX) {
        Ok(()) => params,
        Err(error) => {
            tracing::warn!("the file recommends sampling that makes no sense: {error}");
            defaults
        }
    }
}
