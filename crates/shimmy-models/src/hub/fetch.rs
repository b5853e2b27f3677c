//! Fetches one file. Owns its lock and the steps until it has its name; must not know what a hub is.

mod download;
mod hashes;
mod whole;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use self::download::Download;
use super::client::Client;
use super::disk;
use super::layout::Place;
use super::listing::Hash;
use super::parts::{self, Parts};
use super::{Cancel, HubSettings, Progress, PullError};
use crate::gguf::{GgufError, Metadata};

/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;
/// How often a lock is tried again.
const LOCK_AGAIN: Duration = Duration::from_millis(200);

/// One file to fetch.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) url: String,
    pub(super) place: Place,
    pub(super) size: u64,
    pub(super) hash: Option<Hash>,
    chunk: u64,
}

impl Job {
    pub(super) fn new(
        url: String,
        place: Place,
        size: u64,
        hash: Option<Hash>,
        settings: &HubSettings,
    ) -> Self {
        let chunk = settings.limits.chunk_bytes;
        Self {
            url,
            place,
            size,
            hash,
            chunk,
        }
    }

    /// Bytes that have not come yet.
    pub(super) fn missing_bytes(&self) -> u64 {
        Parts::missing(self.place.partial(), self.size, self.chunk)
    }

    fn name(&self) -> String {
        let name = self.place.path().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// What a write that fails means: the disk may have become full since it was looked at.
    fn io(&self) -> impl FnOnce(io::Error) -> PullError {
        |error| {
            let path = self.place.partial();
            match error.kind() {
                io::ErrorKind::StorageFull => disk::full(path, self.missing_bytes()),
                _ => PullError::io(path)(error),
            }
        }
    }
}

/// Fetches what is missing of a file, checks it, and gives it its name.
pub(super) fn fetch(
    client: &Client,
    job: &Job,
    cancel: &Cancel,
    watch: &mut dyn FnMut(Progress),
) -> Result<(), PullError> {
    let _lock = lock(job, cancel, watch)?;
    // Whoever had the lock before may have done it.
    if job.place.is_here(job.size) {
        return Ok(());
    }
    let parts = Parts::open(job.place.partial(), job.size, job.chunk).map_err(job.io())?;
    let mut was_begun = parts.done() > 0;
    loop {
        let found = Download::new(client, job, &parts).run(cancel, watch)?;
        let expected = job.hash.as_ref().map(Hash::digits);
        let digits = match &job.hash {
            Some(Hash::Git(_)) => &found.git,
            _ => &found.sha256,
        };
        if expected.is_none_or(|expected| expected == digits) {
            return finish(job, &parts, found.sha256, watch);
        }
        // What an earlier try left may be what is wrong: once more, without it.
        if !was_begun {
            discard(job);
            return Err(PullError::WrongHash {
                file: job.name(),
                expected: expected.unwrap_or_default().to_owned(),
                found: digits.clone(),
            });
        }
        was_begun = false;
        parts.begin().map_err(job.io())?;
    }
}

/// Waits until nobody else writes the file.
fn lock(job: &Job, cancel: &Cancel, watch: &mut dyn FnMut(Progress)) -> Result<File, PullError> {
    let path = job.place.lock();
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(PullError::io(folder))?;
    let options = File::options().create(true).append(true).open(path);
    let file = options.map_err(PullError::io(path))?;
    let mut has_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if !has_told => {
                watch(Progress::Waiting { file: job.name() });
                has_told = true;
            }
            Err(fs::TryLockError::WouldBlock) => {}
            Err(fs::TryLockError::Error(error)) => return Err(PullError::io(path)(error)),
        }
        if cancel.wait(LOCK_AGAIN) {
            return Err(PullError::Cancelled);
        }
    }
}

fn finish(
    job: &Job,
    parts: &Parts,
    sha256: String,
    watch: &mut dyn FnMut(Progress),
) -> Result<(), PullError> {
    if job.hash.is_none() {
        // Nobody vouches for it, so it is looked at before it is anything.
        match Metadata::open(job.place.partial()) {
            Ok(_) => {}
            Err(GgufError::Io(error)) => return Err(job.io()(error)),
            Err(reason) => {
                discard(job);
                let file = job.name();
                return Err(PullError::NotAModel { file, reason });
            }
        }
    }
    parts.sync().map_err(job.io())?;
    job.place.name()?;
    parts::remove_list(job.place.partial()).map_err(job.io())?;
    watch(Progress::Finished {
        file: job.name(),
        sha256,
        is_verified: job.hash.is_some(),
    });
    Ok(())
}

/// Removes what is known to be wrong. It has no name yet, so a failure to remove it misleads nobody,
/// and the next try overwrites it.
fn discard(job: &Job) {
    let _ = parts::remove_list(job.place.partial());
    let _ = fs::remove_file(job.place.partial());
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use shimmy_testkit::hub::FakeHub;
    use shimmy_testkit::tiny;

    use super::super::{Hub, HubSettings, PullLimits};
    use super::*;

    const CHUNK: u64 = 64 << 10;

    /// `/dev/full` takes the place of a disk that is full from some byte on.
    #[test]
    fn a_disk_that_gets_full_is_told_and_the_next_try_goes_on() {
        let content = tiny::Model::new().to_bytes();
        let size = content.len();
        for offset in (0..size).step_by(size / 20) {
            let hub = FakeHub::start().unwrap();
            hub.add("o/r", "Tiny-Q4_K_M.gguf", content.clone());
            let folder = tempfile::tempdir().unwrap();
            let mut settings = HubSettings::new(folder.path().join("hub"), folder.path());
            settings.endpoint = hub.url();
            settings.limits = PullLimits {
                chunk_bytes: CHUNK,
                attempts: 1,
                spare_bytes: 0,
                ..PullLimits::default()
            };
            let downloader = Hub::new(settings.clone(), Cancel::default());
            let plan = downloader.plan(&"o/r".parse().unwrap()).unwrap();
            hub.behave(|hub| hub.budget = Some(offset));
            downloader.fetch(&plan, &mut |_| ()).unwrap_err();
            hub.behave(|hub| hub.budget = None);

            let job = &plan.files[0].job;
            let mut parts = Parts::open(job.place.partial(), job.size, job.chunk).unwrap();
            parts.write_to(File::options().write(true).open("/dev/full").unwrap());
            let client = Client::new(&settings, &job.url).unwrap();
            let run = Download::new(&client, job, &parts).run(&Cancel::default(), &mut |_| ());
            let (error, missing) = (run.unwrap_err(), job.size - parts.done());
            assert!(
                matches!(error, PullError::DiskFull { needed, .. } if needed == missing),
                "{offset}: {error}"
            );
            assert!(!job.place.is_here(job.size), "{offset}");
            drop(parts);

            let before = hub.sent();
            let paths = downloader.fetch(&plan, &mut |_| ()).unwrap();
            assert_eq!(fs::read(&paths[0]).unwrap(), content, "{offset}");
            assert_eq!((hub.sent() - before) as u64, missing, "{offset}");
        }
    }
}
