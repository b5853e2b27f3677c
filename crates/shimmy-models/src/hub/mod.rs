//! Downloads models. Owns the way from a reference to verified files on disk; must not know who
//! watches (progress is plain data) or where the caller's settings come from.
//!
//! Everything that a hub says is checked: names before they become paths, sizes while bytes come,
//! hashes before a file gets its name. What has come is kept, so that the next try goes on from it.
//! All calls block; [`Cancel`] ends them from another thread.

mod cancel;
mod catalogue;
mod choice;
mod client;
mod disk;
mod error;
mod fetch;
mod guard;
mod layout;
mod leftovers;
mod listing;
mod parts;
mod progress;
mod reference;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub use self::cancel::Cancel;
pub use self::catalogue::catalogue;
use self::client::Client;
pub use self::disk::free_bytes;
pub use self::error::PullError;
use self::fetch::Job;
use self::layout::Place;
pub use self::leftovers::{Leftover, leftovers};
pub use self::progress::Progress;
pub use self::reference::{Reference, ReferenceError};

/// Where models come from and go to.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The hub, `HF_ENDPOINT`.
    pub endpoint: String,
    /// What proves who asks, `HF_TOKEN`. It is sent to the endpoint and to no other host.
    pub token: Option<String>,
    /// The cache in Hugging Face's layout that models of the hub go to.
    pub cache: PathBuf,
    /// The folder that files from other places go to.
    pub store: PathBuf,
    /// The memory that a model may take, for the choice among quantisations.
    pub memory_bytes: Option<u64>,
    /// Hosts whose addresses are given and not asked for. They count as public.
    pub pinned: Vec<(String, SocketAddr)>,
    /// How hard it is tried.
    pub limits: PullLimits,
}

/// How hard it is tried, and how long.
#[derive(Debug, Clone)]
pub struct PullLimits {
    /// Connections that fetch one file together.
    pub connections: usize,
    /// The bytes of one request, and of what is fetched again at most after a kill.
    pub chunk_bytes: u64,
    /// Tries in a row that bring nothing before it is given up.
    pub attempts: u32,
    /// The wait after the first failed try; each further one doubles it.
    pub backoff: Duration,
    /// The longest wait, whatever a server asks for.
    pub longest_backoff: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a connection may bring nothing.
    pub stall_timeout: Duration,
    /// Bytes of disk that are left alone.
    pub spare_bytes: u64,
}

/// The hub that is asked unless another one is set.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

impl HubSettings {
    /// The public hub without a token, into these folders.
    pub fn new(cache: impl Into<PathBuf>, store: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            cache: cache.into(),
            store: store.into(),
            memory_bytes: None,
            pinned: Vec::new(),
            limits: PullLimits::default(),
        }
    }
}

impl Default for PullLimits {
    fn default() -> Self {
        Self {
            connections: 4,
            chunk_bytes: 16 << 20,
            attempts: 6,
            backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            spare_bytes: 64 << 20,
        }
    }
}

/// What a reference means now: the files, and how much of them is missing.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The reference as it was understood.
    pub reference: String,
    /// The quantisation that was chosen, if the files' names say one.
    pub quantization: Option<String>,
    /// The files, in order.
    pub files: Vec<PlannedFile>,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Those of them that are not here yet.
    pub missing_bytes: u64,
    /// Where the revision is noted when all is here.
    #[serde(skip)]
    revision: Option<layout::Revision>,
}

/// One file of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256, if the hub says it.
    pub sha256: Option<String>,
    /// Where it will be.
    #[serde(serialize_with = "crate::serial::path")]
    pub path: PathBuf,
    /// Whether it is there already, whole.
    pub is_here: bool,
    #[serde(skip)]
    job: Job,
}

/// Downloads models with one set of settings.
#[derive(Debug)]
pub struct Hub {
    settings: HubSettings,
    cancel: Cancel,
}

impl Hub {
    /// A hub that is not asked anything yet. `cancel` ends whatever it does.
    pub fn new(settings: HubSettings, cancel: Cancel) -> Self {
        Self { settings, cancel }
    }

    /// Asks what a reference means. Writes nothing.
    pub fn plan(&self, reference: &Reference) -> Result<Plan, PullError> {
        match reference {
            Reference::Repository {
                repository,
                revision,
                wanted,
            } => self.plan_repository(repository, revision, wanted.as_deref()),
            Reference::Url { url, sha256 } => self.plan_url(url, sha256.clone()),
        }
    }

    /// Fetches what is missing of a plan, and returns where its files are. Waits for other
    /// downloads of the same files, of this program or of Hugging Face's tools.
    pub fn fetch(
        &self,
        plan: &Plan,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Vec<PathBuf>, PullError> {
        let parts = plan.files.iter().filter(|file| !file.is_here);
        let needed: u64 = parts.map(|file| file.job.missing_bytes()).sum();
        disk::check(&self.settings, needed)?;
        for file in &plan.files {
            if !file.is_here {
                let client = self.client(&file.job.url)?;
                fetch::fetch(&client, &file.job, &self.cancel, watch)?;
            }
            file.job.place.link()?;
        }
        if let Some(revision) = &plan.revision {
            revision.note()?;
        }
        Ok(plan.files.iter().map(|file| file.path.clone()).collect())
    }

    fn plan_repository(
        &self,
        repository: &str,
        revision: &str,
        wanted: Option<&str>,
    ) -> Result<Plan, PullError> {
        let client = self.client(&self.settings.endpoint)?;
        let listing = listing::list(&client, repository, revision, &self.cancel)?;
        let choice = choice::choose(&listing.files, wanted, self.settings.memory_bytes)?;
        let folder = layout::Repository::new(&self.settings.cache, repository);
        let files: Vec<PlannedFile> = choice
            .files
            .iter()
            .map(|file| {
                let place = folder.place(&listing.commit, file);
                let url = listing::url(&self.settings.endpoint, repository, &listing.commit, file);
                planned(
                    &file.name,
                    Job::new(url, place, file.size, file.hash.clone(), &self.settings),
                )
            })
            .collect();
        let title = match &choice.label {
            Some(label) => format!("{repository}:{label}"),
            None => repository.to_owned(),
        };
        let revision = folder.revision(revision, &listing.commit);
        Ok(assemble(title, choice.label, files, Some(revision)))
    }

    fn plan_url(&self, url: &str, sha256: Option<String>) -> Result<Plan, PullError> {
        let client = self.client(url)?;
        let size = client.size(url, &self.cancel)?;
        let name = reference::file_name(url).unwrap_or_default();
        let place = Place::file(self.settings.store.join(&name));
        // A name of the hub's cache says which file it is, a file's own does not.
        place.check(size, sha256.as_deref(), &self.cancel)?;
        let hash = sha256.map(listing::Hash::Sha256);
        let job = Job::new(url.to_owned(), place, size, hash, &self.settings);
        Ok(assemble(
            url.to_owned(),
            None,
            vec![planned(&name, job)],
            None,
        ))
    }

    fn client(&self, first: &str) -> Result<Client, PullError> {
        Client::new(&self.settings, first)
    }
}

fn planned(name: &str, job: Job) -> PlannedFile {
    PlannedFile {
        name: name.to_owned(),
        size_bytes: job.size,
        sha256: job.hash.as_ref().and_then(listing::Hash::sha256),
        path: job.place.path().to_owned(),
        is_here: job.place.is_here(job.size),
        job,
    }
}

fn assemble(
    reference: String,
    quantization: Option<String>,
    files: Vec<PlannedFile>,
    revision: Option<layout::Revision>,
) -> Plan {
    let missing = files.iter().filter(|file| !file.is_here);
    Plan {
        reference,
        quantization,
        size_bytes: files.iter().map(|file| file.size_bytes).sum(),
        missing_bytes: missing.map(|file| file.job.missing_bytes()).sum(),
        files,
        revision,
    }
}
