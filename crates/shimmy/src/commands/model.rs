//! What the commands that run a model share: loading it, starting an answer, ending it, and what
//! to say when that fails.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use shimmy_engine::{GenerateRequest, Generation, InvalidParameter, SubmitError};
use shimmy_server::{KeepAlive, LoadError, LoadedModel, Loader};

use super::library::Library;
use crate::cli::{EngineArgs, ModelArgs, NO_LIMIT};
use crate::config::{self, ModelConfig, ResidenceConfig};
use crate::failure::Failure;
use crate::loader::LocalLoader;

/// A model that a command has for itself. Its engine has ended, and its memory is given back, when
/// this is gone: the backend must not be at work while the process ends.
pub(super) struct Running(Arc<LoadedModel>);

impl Deref for Running {
    type Target = LoadedModel;

    fn deref(&self) -> &LoadedModel {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.session.engine().shutdown();
    }
}

/// Loads the model that a command names, on this thread.
pub(super) fn load(
    name: Option<&str>,
    models: ModelArgs,
    engine: &EngineArgs,
) -> Result<Running, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(load_unless(name, models, engine, std::future::pending()))
}

/// The same, given up when `interrupted` comes first.
pub(super) async fn load_unless(
    name: Option<&str>,
    models: ModelArgs,
    engine: &EngineArgs,
    interrupted: impl Future<Output = ()>,
) -> Result<Running, Failure> {
    let asked = models.clone();
    let models = ModelConfig::for_command(models)?;
    let adapters: Vec<PathBuf> = models.loras.iter().map(|lora| lora.path.clone()).collect();
    let options = config::open_options(engine, &models, 1024)?;
    let loader = LocalLoader::new(models, options, ResidenceConfig::default());
    tokio::select! {
        loaded = loader.load(name, KeepAlive::Forever) => {
            loaded.map(Running).map_err(|error| load_failure(error, asked, &adapters))
        }
        () = interrupted => {
            loader.shutdown();
            Err(Failure::interrupted())
        }
    }
}

/// Starts an answer.
pub(super) fn start(model: &LoadedModel, request: GenerateRequest) -> Result<Generation, Failure> {
    let asked = request.max_tokens;
    let generation = model.session.generate(request);
    generation.map_err(|error| match error {
        SubmitError::Invalid(invalid) => Failure::usage(in_flags(invalid))
            .hint("`shimmy generate --help` lists what may be asked for"),
        SubmitError::PromptTooLong { got, .. } => {
            let trained = model.info.context_length.map(|tokens| tokens as usize);
            Failure::from(error).hint(context_hint(got, asked, trained))
        }
        other => other.into(),
    })
}

/// A complaint about a field of a request, in the words of the command line, which has a flag for it.
fn in_flags(invalid: InvalidParameter) -> InvalidParameter {
    let flag = match invalid.field.as_str() {
        "format" => "--schema",
        "grammar" => "--grammar",
        "temperature" => "--temperature",
        "top_p" => "--top-p",
        "min_p" => "--min-p",
        "repeat_penalty" => "--repeat-penalty",
        // What a model's own settings say, which no flag does.
        _ => return invalid,
    };
    InvalidParameter::new(flag, invalid.reason)
}

/// How a prompt of `got` tokens may fit: the context to ask for, with room for an answer, if the
/// model was trained with that much.
fn context_hint(got: usize, asked: Option<u32>, trained: Option<usize>) -> String {
    let asked = asked.filter(|&tokens| tokens != NO_LIMIT);
    let answer = asked.map_or(256, |tokens| tokens as usize);
    let wanted = (got + answer).next_multiple_of(256);
    match trained {
        Some(trained) if trained <= got => {
            format!("the model was trained with {trained} tokens: give it a shorter prompt")
        }
        trained => {
            let wanted = trained.map_or(wanted, |trained| wanted.min(trained));
            format!("--ctx {wanted} makes room for it")
        }
    }
}

/// A model that cannot be had, in the words of the command line.
fn load_failure(error: LoadError, asked: ModelArgs, adapters: &[PathBuf]) -> Failure {
    let hint = match &error {
        LoadError::NotFound { suggestions, .. } if suggestions.is_empty() => {
            Some("`shimmy list` shows the models that are there".to_owned())
        }
        LoadError::NotFound { suggestions, .. } => {
            Some(format!("did you mean {}?", suggestions.join(", ")))
        }
        LoadError::Ambiguous { candidates, .. } => {
            Some(format!("it fits {}", candidates.join(", ")))
        }
        LoadError::NoDefault { names } => Some(format!("name one of {}", names.join(", "))),
        LoadError::NoModel { hint } => Some(hint.clone()),
        LoadError::Failed { name, reason } => Some(
            absent_adapter(reason, adapters)
                .or_else(|| remedy(reason))
                .map_or_else(|| where_to_look(name, asked), str::to_owned),
        ),
        LoadError::TooBig { hint, .. } => Some(hint.clone()),
        LoadError::Busy { .. } => None,
    };
    let failure = match &error {
        LoadError::Failed { name, reason } => {
            Failure::new(format_args!("cannot load {name}: {reason}"))
        }
        _ => Failure::new(&error),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What helps where the file that is not there is an adapter's.
fn absent_adapter(reason: &str, adapters: &[PathBuf]) -> Option<&'static str> {
    let is_it = |path: &PathBuf| reason == format!("{} does not exist", path.display());
    let hint = "--lora names the file of an adapter; `shimmy discover` lists those that are there";
    adapters.iter().any(is_it).then_some(hint)
}

/// Where to read more of a model that cannot be loaded. `show` knows those alone whose headers can be read.
fn where_to_look(name: &str, asked: ModelArgs) -> String {
    let flags = [
        ("--model-path", asked.model_path.is_some()),
        ("--model-dirs", asked.model_dirs.is_some()),
    ];
    let flags = flags.iter().filter(|(_, is_given)| *is_given);
    let flags: Vec<&str> = flags.map(|(flag, _)| *flag).collect();
    let same = match flags.as_slice() {
        [] => String::new(),
        flags => format!(" with the same {}", flags.join(" and ")),
    };
    match Library::open(asked) {
        Ok(library) if library.find(name).is_ok() => format!(
            "`shimmy show {name}`{same} says what is known of it, `shimmy doctor` what this machine \
             and this build lack"
        ),
        _ => {
            "the file is damaged, incomplete or no model: get it again, or name another".to_owned()
        }
    }
}

/// What helps against a failure to load. The reason arrives as text, because its public form is
/// all that crosses from the backends; the tests of bad input hold these phrases to the real ones.
fn remedy(reason: &str) -> Option<&'static str> {
    let remedies = [
        (
            "is not a LoRA adapter",
            "the model itself goes to --model-path",
        ),
        (
            "is a LoRA adapter",
            "give it as --lora FILE, and its base model as --model-path FILE",
        ),
        (
            "the adapter",
            "an adapter only fits the model that it was made from",
        ),
        (
            "is missing",
            "download that part too, into the folder of the others",
        ),
        (
            "does not exist",
            "`shimmy list` shows the models that are there",
        ),
        (
            "is a folder",
            "--model-path takes a file, --model-dirs takes folders",
        ),
        ("Permission denied", "see who may read the file"),
        (
            "cannot create a context",
            "a smaller --ctx or --parallel needs less memory",
        ),
    ];
    remedies
        .iter()
        .find(|(phrase, _)| reason.contains(phrase))
        .map(|&(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::{NO_LIMIT, context_hint};

    #[test]
    fn a_hint_offers_no_more_context_than_the_model_was_trained_with() {
        let trained = Some(2048);
        assert_eq!(
            context_hint(1600, None, trained),
            "--ctx 2048 makes room for it"
        );
        assert_eq!(
            context_hint(1000, Some(20), trained),
            "--ctx 1024 makes room for it"
        );
        assert_eq!(
            context_hint(1000, Some(NO_LIMIT), None),
            "--ctx 1280 makes room for it"
        );
        assert_eq!(
            context_hint(2047, None, trained),
            "--ctx 2048 makes room for it"
        );
        let hopeless = context_hint(2048, None, trained);
        assert!(hopeless.ends_with("a shorter prompt"), "{hopeless}");
    }
}
