//! Models fetched, named, made and deleted while the server runs.
//!
//! Joins the downloads and the packages of the models crate with the loader, which hears of every
//! change. What takes long has a thread of its own. It must not know HTTP, or any dialect.

mod blobs;
mod create;
mod events;
mod names;
mod pull;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use shimmy_models::hub::HubSettings;
use shimmy_models::{PackageError, Packages, RootSettings};
use shimmy_server::{Digest, LoadError, NewModel, Store, StoreError, StoreEvents};

use crate::failure::Failure;
use crate::loader::LocalLoader;
use crate::places;

/// How long a blob may wait for the model that it was sent for.
const UNCLAIMED: Duration = Duration::from_secs(24 * 60 * 60);

/// The store of this machine's files.
pub(crate) struct LocalStore(Arc<Shop>);

/// What the work is done with.
struct Shop {
    loader: Arc<LocalLoader>,
    settings: RootSettings,
    hub: HubSettings,
    packages: Packages,
    /// Held while names and packages change: one that is made needs what another one gives up.
    changing: Mutex<()>,
}

impl LocalStore {
    /// A store in the user's folders; an error where there are none.
    pub(crate) fn new(loader: Arc<LocalLoader>, settings: RootSettings) -> Result<Self, Failure> {
        let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_default();
        let hub = places::hub(&settings, &endpoint)?;
        let packages = settings.packages();
        let packages = packages.ok_or_else(|| Failure::new("there is no folder for models"))?;
        let packages = Packages::at(packages);
        let shop = Arc::new(Shop {
            loader,
            settings,
            hub,
            packages,
            changing: Mutex::new(()),
        });
        let sweeping = Arc::clone(&shop);
        // Nobody waits for it, and it may be ended at any time.
        std::thread::spawn(move || sweeping.sweep());
        Ok(Self(shop))
    }

    /// Does what blocks on a thread that may.
    fn blocking(
        &self,
        work: impl FnOnce(&Shop) -> Result<(), StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let shop = Arc::clone(&self.0);
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&shop)).await;
            done.unwrap_or_else(|error| Err(failed(format!("it was interrupted: {error}"))))
        })
    }
}

impl Store for LocalStore {
    fn pull(&self, name: &str) -> StoreEvents {
        let (shop, name) = (Arc::clone(&self.0), name.to_owned());
        events::of(move |teller| shop.pull(&name, teller))
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let name = name.to_owned();
        self.blocking(move |shop| shop.remove(&name))
    }

    fn copy<'a>(
        &'a self,
        source: &'a str,
        destination: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (source, destination) = (source.to_owned(), destination.to_owned());
        self.blocking(move |shop| shop.copy(&source, &destination))
    }

    fn create(&self, model: NewModel) -> StoreEvents {
        let shop = Arc::clone(&self.0);
        events::of(move |teller| shop.create(&model, teller))
    }

    fn has_blob<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<bool, StoreError>> {
        // One look at the disk.
        Box::pin(std::future::ready(Ok(self
            .0
            .packages
            .blob(digest.hex())
            .is_some())))
    }

    fn put_blob<'a>(
        &'a self,
        digest: &'a Digest,
        content: BoxStream<'static, Result<Bytes, StoreError>>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(blobs::put(self.0.packages.clone(), digest.clone(), content))
    }
}

impl Shop {
    /// Does something while nobody else changes names or packages.
    fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Takes away what was sent and never became a model.
    fn sweep(&self) {
        if let Err(error) = self.alone(|| self.packages.sweep(UNCLAIMED)) {
            tracing::warn!("blobs that nobody needs cannot be taken away: {error}");
        }
    }
}

fn failed(reason: impl ToString) -> StoreError {
    StoreError::Failed {
        reason: reason.to_string(),
    }
}

/// A complaint about a field of the request.
fn invalid(field: &'static str, reason: impl ToString) -> StoreError {
    StoreError::Invalid {
        field,
        reason: reason.to_string(),
    }
}

/// What the package of the model in `field` says went wrong.
fn of_package(field: &'static str, error: PackageError) -> StoreError {
    match error {
        PackageError::NotAName(_) => invalid(field, "cannot be a model's name"),
        other => failed(other),
    }
}

/// Why the model in `field` was not found.
fn not_found(field: &'static str, error: LoadError) -> StoreError {
    match error {
        LoadError::NotFound { name, .. } => StoreError::NotFound { name },
        LoadError::Ambiguous { candidates, .. } => {
            invalid(field, format!("may be {}", candidates.join(", ")))
        }
        LoadError::Failed { reason, .. } => invalid(field, format!("cannot be used: {reason}")),
        other => failed(other),
    }
}
