//! Fetching a model, in the words of Ollama's clients. Owns which references clients may name and
//! what they are told; must not know how files are fetched.

use std::path::{Path, PathBuf};

use shimmy_models::hub::{Hub, Progress, PullError, Reference, ReferenceError};
use shimmy_models::{AliasError, Aliases, ModelFile};
use shimmy_server::{Digest, StoreError, StoreProgress};

use super::events::Teller;
use super::{Shop, failed, invalid};

/// Digits of a digest that are told in words.
const SHORT: usize = 12;

impl Shop {
    /// Fetches a model; from then on it is called what it was asked for by, too.
    pub(super) fn pull(&self, name: &str, teller: &Teller) -> Result<(), StoreError> {
        let reference = reference(name)?;
        teller.say("pulling manifest");
        let hub = Hub::new(self.hub.clone(), teller.cancel());
        let plan = hub.plan(&reference).map_err(|error| failure(name, error))?;
        let digest = |file: &str| {
            let planned = plan.files.iter().find(|planned| planned.name == file)?;
            format!("sha256:{}", planned.sha256.as_ref()?).parse().ok()
        };
        let paths = hub
            .fetch(&plan, &mut |event| tell(teller, event, digest))
            .map_err(|error| failure(name, error))?;
        teller.say("writing manifest");
        self.alone(|| self.add_name(name, &paths))
    }

    fn add_name(&self, name: &str, paths: &[PathBuf]) -> Result<(), StoreError> {
        let files = self.loader.files();
        let is_it = |model: &&ModelFile| paths.iter().any(|path| is_same(path, &model.path));
        let Some(model) = files.iter().find(is_it) else {
            return Err(failed("it was fetched, but no search finds it"));
        };
        let mut names = [&model.name].into_iter().chain(&model.aliases);
        let is_address = name.contains("://");
        if is_address || names.any(|known| known.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let mut aliases = self.aliases()?;
        match aliases.insert(name, model) {
            Ok(()) => self.keep(&aliases),
            // Nobody could ask for it; it is here under its file's name.
            Err(AliasError::NotAName(_)) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// The names that users gave.
    pub(super) fn aliases(&self) -> Result<Aliases, StoreError> {
        let store = self.settings.store();
        let store = store.ok_or_else(|| failed("there is no folder to keep names in"))?;
        Aliases::read(&store).map_err(failed)
    }

    /// Writes them down, and tells the loader.
    pub(super) fn keep(&self, aliases: &Aliases) -> Result<(), StoreError> {
        aliases.save().map_err(failed)?;
        self.loader.files();
        Ok(())
    }
}

/// What a client may name: a model of the hub. An address would make this server ask whatever host
/// its clients want to reach.
fn reference(name: &str) -> Result<Reference, StoreError> {
    match name.parse() {
        Ok(Reference::Url { .. }) => Err(invalid(
            "model",
            "is an address: a client can only name models of the hub, as OWNER/NAME[:QUANT]; \
             `shimmy pull` fetches from elsewhere",
        )),
        Ok(reference @ Reference::Repository { .. }) => Ok(reference),
        Err(ReferenceError::Unknown { .. }) => Err(StoreError::NotFound {
            name: name.to_owned(),
        }),
        Err(error) => Err(invalid("model", format!("cannot be pulled: {error}"))),
    }
}

/// What a failed download is to whoever asked for it.
fn failure(name: &str, error: PullError) -> StoreError {
    match error {
        PullError::NotFound { .. } => StoreError::NotFound {
            name: name.to_owned(),
        },
        PullError::Denied { .. }
        | PullError::NoModel { .. }
        | PullError::NoSuchQuant { .. }
        | PullError::TooBig { .. } => invalid("model", format!("cannot be pulled: {error}")),
        other => failed(other),
    }
}

fn tell(teller: &Teller, event: Progress, digest: impl Fn(&str) -> Option<Digest>) {
    match event {
        Progress::Fetching {
            file,
            done_bytes,
            size_bytes,
            ..
        } => {
            let digest = digest(&file);
            let what = digest
                .as_ref()
                .map_or(&*file, |digest| &digest.hex()[..SHORT]);
            teller.note(StoreProgress {
                status: format!("pulling {what}"),
                total: Some(size_bytes),
                completed: Some(done_bytes),
                digest,
            });
        }
        Progress::Waiting { file } => {
            teller.say(format!("waiting for another download of {file}"));
        }
        Progress::Retrying { file, reason, .. } => {
            tracing::info!(file, reason, "a part of a download is tried again");
        }
        Progress::Verifying { .. } => teller.say("verifying sha256 digest"),
        // The next file's figures or the end say so.
        Progress::Finished { .. } => {}
    }
}

fn is_same(left: &Path, right: &Path) -> bool {
    left == right
        || left
            .canonicalize()
            .is_ok_and(|left| right.canonicalize().is_ok_and(|right| left == right))
}
