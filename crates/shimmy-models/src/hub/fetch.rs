//! Fetches one file. Owns the connections that fetch its parts together, the hash that follows
//! them, and the steps until the file has its name; must not know what a hub is.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use ring::digest;

use super::client::{Answer, Backoff, Client, Fault, unreachable};
use super::layout::Place;
use super::listing::Hash;
use super::parts::{self, Parts};
use super::progress::{Speed, TICK};
use super::{Cancel, HubSettings, Progress, PullError};
use crate::gguf::{GgufError, Metadata};
use crate::sha256::digits;

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

    fn io(&self) -> impl FnOnce(io::Error) -> PullError {
        PullError::io(self.place.partial())
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

/// The hashes of a file.
#[derive(Debug)]
struct Hashes {
    sha256: String,
    git: String,
}

/// One run of the connections of a file.
struct Download<'a> {
    client: &'a Client,
    job: &'a Job,
    parts: &'a Parts,
    /// Where the file was found in the end, to be asked again directly.
    found_at: Mutex<Option<String>>,
    has_no_parts: AtomicBool,
    stop: Cancel,
}

/// What a connection tells.
enum Note {
    Retrying { reason: String, wait: Duration },
    Ended(Result<(), PullError>),
    Hashed(io::Result<Option<Hashes>>),
}

impl<'a> Download<'a> {
    fn new(client: &'a Client, job: &'a Job, parts: &'a Parts) -> Self {
        Self {
            client,
            job,
            parts,
            found_at: Mutex::new(None),
            has_no_parts: AtomicBool::new(false),
            stop: Cancel::default(),
        }
    }

    /// Fetches everything and returns its hashes.
    fn run(&self, cancel: &Cancel, watch: &mut dyn FnMut(Progress)) -> Result<Hashes, PullError> {
        let fetched = thread::scope(|scope| {
            let (notes, inbox) = mpsc::channel();
            let connections = self.client.limits.connections.max(1);
            for _ in 0..connections {
                let notes = notes.clone();
                scope.spawn(move || {
                    let outcome = self.fetch_chunks(&notes);
                    // The other end is there as long as this thread.
                    let _ = notes.send(Note::Ended(outcome));
                });
            }
            scope.spawn(move || {
                let hashes = self.hash();
                let _ = notes.send(Note::Hashed(hashes));
            });
            self.supervise(&inbox, connections, cancel, watch)
        })?;
        match fetched {
            Some(hashes) => Ok(hashes),
            None => self.fetch_whole(cancel, watch),
        }
    }

    /// Hears what the connections tell until all have ended. None of hashes means that the host
    /// does not give parts of files.
    fn supervise(
        &self,
        inbox: &mpsc::Receiver<Note>,
        connections: usize,
        cancel: &Cancel,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Option<Hashes>, PullError> {
        let mut speed = Speed::new(self.parts.done());
        let mut running = connections;
        let mut first_error = None;
        loop {
            match inbox.recv_timeout(TICK) {
                Ok(Note::Retrying { reason, wait }) => watch(self.retrying(reason, wait)),
                Ok(Note::Ended(outcome)) => {
                    running -= 1;
                    if let Err(error) = outcome {
                        first_error.get_or_insert(error);
                        self.stop.cancel();
                    }
                    let is_verifying = running == 0 && first_error.is_none();
                    if is_verifying && !self.has_no_parts.load(Ordering::Acquire) {
                        watch(self.fetching(&mut speed));
                        watch(Progress::Verifying {
                            file: self.job.name(),
                        });
                    }
                }
                Ok(Note::Hashed(hashes)) => {
                    let hashes = hashes.map_err(self.job.io());
                    if hashes.is_err() {
                        self.stop.cancel();
                    }
                    return match first_error {
                        Some(error) => Err(error),
                        None => hashes,
                    };
                }
                Err(RecvTimeoutError::Timeout) => watch(self.fetching(&mut speed)),
                Err(RecvTimeoutError::Disconnected) => return Err(PullError::Cancelled),
            }
            if cancel.is_cancelled() && !self.stop.is_cancelled() {
                first_error.get_or_insert(PullError::Cancelled);
                self.stop.cancel();
            }
        }
    }

    fn fetching(&self, speed: &mut Speed) -> Progress {
        let done = self.parts.done();
        let bytes_per_second = speed.at(done);
        let left = self.job.size.saturating_sub(done) as f64;
        Progress::Fetching {
            file: self.job.name(),
            sha256: self.job.hash.as_ref().and_then(Hash::sha256),
            done_bytes: done,
            size_bytes: self.job.size,
            bytes_per_second,
            seconds_left: bytes_per_second
                .filter(|speed| *speed > 0.0)
                .map(|speed| left / speed),
        }
    }

    fn retrying(&self, reason: String, wait: Duration) -> Progress {
        Progress::Retrying {
            file: self.job.name(),
            reason,
            seconds: wait.as_secs_f64(),
        }
    }

    fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.has_no_parts.load(Ordering::Acquire)
    }

    /// Fetches chunks until none is open.
    fn fetch_chunks(&self, notes: &Sender<Note>) -> Result<(), PullError> {
        while let Some(number) = self.parts.take() {
            let outcome = self.fetch_chunk(number, notes);
            // What has come of it is kept, whatever ended it.
            self.parts.note(number).map_err(self.job.io())?;
            outcome?;
            if self.is_over() {
                break;
            }
        }
        Ok(())
    }

    fn fetch_chunk(&self, number: usize, notes: &Sender<Note>) -> Result<(), PullError> {
        let mut backoff = Backoff::new(&self.client.limits);
        loop {
            let before = self.parts.missing_of(number);
            if before.is_empty() || self.is_over() {
                return Ok(());
            }
            let (reason, after) = match self.try_chunk(number) {
                Ok(()) => continue,
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing { reason, after }) => (reason, after),
            };
            self.forget_address();
            if self.parts.missing_of(number).start > before.start {
                backoff.reset();
            }
            let Some(wait) = backoff.next(after) else {
                return Err(unreachable(&self.job.url, reason));
            };
            let _ = notes.send(Note::Retrying { reason, wait });
            if self.stop.wait(wait) {
                return Ok(());
            }
        }
    }

    /// Asks for what is missing of a chunk, and takes what comes.
    fn try_chunk(&self, number: usize) -> Result<(), Fault> {
        let missing = self.parts.missing_of(number);
        let url = self.address();
        let answer = self
            .client
            .get(&url, Some((missing.start, missing.end - 1)))?;
        let Some(part) = answer.part else {
            self.has_no_parts.store(true, Ordering::Release);
            return Ok(());
        };
        let is_right =
            part.start == missing.start && part.total.is_none_or(|total| total == self.job.size);
        if !is_right {
            let reason = match part.total {
                Some(total) if total != self.job.size => {
                    format!(
                        "the file has {total} bytes and should have {}",
                        self.job.size
                    )
                }
                _ => "it gives other bytes than those that were asked for".to_owned(),
            };
            return Err(Fault::Final(self.client.nonsense(reason)));
        }
        self.remember_address(&answer);
        self.take(answer, missing.end - missing.start, |bytes| {
            self.parts.add(number, bytes)
        })
    }

    /// Reads exactly `length` bytes of an answer.
    fn take(
        &self,
        mut answer: Answer,
        length: u64,
        mut add: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Fault> {
        let mut buffer = vec![0; BUFFER];
        let mut left = length;
        loop {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let count = match answer.body.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::passing(error)),
            };
            // The end is read too: only then can the connection be used again.
            if count == 0 {
                return match left {
                    0 => Ok(()),
                    _ => Err(Fault::passing("the connection ended early")),
                };
            }
            if count as u64 > left {
                let reason = "it sends more bytes than it said".to_owned();
                return Err(Fault::Final(self.client.nonsense(reason)));
            }
            left -= count as u64;
            add(&buffer[..count]).map_err(|error| Fault::Final(self.job.io()(error)))?;
        }
    }

    /// Fetches all of a file from a host that does not give parts, from the beginning each time.
    fn fetch_whole(
        &self,
        cancel: &Cancel,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Hashes, PullError> {
        let mut backoff = Backoff::new(&self.client.limits);
        loop {
            let (reason, after) = match self.try_whole(cancel, watch) {
                Ok(()) => break,
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing { reason, after }) => (reason, after),
            };
            let Some(wait) = backoff.next(after) else {
                return Err(unreachable(&self.job.url, reason));
            };
            watch(self.retrying(reason, wait));
            if cancel.wait(wait) {
                return Err(PullError::Cancelled);
            }
        }
        watch(Progress::Verifying {
            file: self.job.name(),
        });
        let hashes = self.hash().map_err(self.job.io())?;
        hashes.ok_or(PullError::Cancelled)
    }

    fn try_whole(&self, cancel: &Cancel, watch: &mut dyn FnMut(Progress)) -> Result<(), Fault> {
        let io = |error| Fault::Final(self.job.io()(error));
        self.parts.begin().map_err(io)?;
        self.has_no_parts.store(false, Ordering::Release);
        let answer = self.client.get(&self.job.url, None)?;
        if let Some(length) = answer.length.filter(|&length| length != self.job.size) {
            let size = self.job.size;
            let reason = format!("the file has {length} bytes and should have {size}");
            return Err(Fault::Final(self.client.nonsense(reason)));
        }
        let mut speed = Speed::new(0);
        let mut number = 0;
        let mut told = std::time::Instant::now();
        self.take(answer, self.job.size, |mut bytes| {
            while !bytes.is_empty() {
                let missing = self.parts.missing_of(number);
                let room = usize::try_from(missing.end - missing.start).unwrap_or(usize::MAX);
                let (now, rest) = bytes.split_at(room.min(bytes.len()));
                self.parts.add(number, now)?;
                bytes = rest;
                if self.parts.missing_of(number).is_empty() {
                    number += 1;
                }
            }
            if told.elapsed() >= TICK {
                watch(self.fetching(&mut speed));
                told = std::time::Instant::now();
            }
            if cancel.is_cancelled() {
                self.stop.cancel();
            }
            Ok(())
        })?;
        match self.stop.is_cancelled() {
            true => Err(Fault::Final(PullError::Cancelled)),
            false => Ok(()),
        }
    }

    /// Hashes the file as it grows, from the beginning; none if it does not get whole.
    fn hash(&self) -> io::Result<Option<Hashes>> {
        let mut file = File::open(self.job.place.partial())?;
        let mut sha256 = digest::Context::new(&digest::SHA256);
        let mut git = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        // As Git hashes a file.
        git.update(format!("blob {}\0", self.job.size).as_bytes());
        let is_git = matches!(self.job.hash, Some(Hash::Git(_)));
        let mut buffer = vec![0; BUFFER];
        let mut hashed = 0;
        while hashed < self.job.size {
            let ready = self.parts.contiguous() - hashed;
            if self.is_over() {
                return Ok(None);
            }
            if ready == 0 {
                thread::park_timeout(TICK / 5);
                continue;
            }
            let most = buffer
                .len()
                .min(usize::try_from(ready).unwrap_or(usize::MAX));
            file.read_exact(&mut buffer[..most])?;
            sha256.update(&buffer[..most]);
            if is_git {
                git.update(&buffer[..most]);
            }
            hashed += most as u64;
        }
        Ok(Some(Hashes {
            sha256: digits(&sha256.finish()),
            git: digits(&git.finish()),
        }))
    }

    /// Where to ask: where the file was found the last time, or else where it is said to be.
    fn address(&self) -> String {
        let found = self.found_at.lock().unwrap_or_else(PoisonError::into_inner);
        found.clone().unwrap_or_else(|| self.job.url.clone())
    }

    fn remember_address(&self, answer: &Answer) {
        let mut found = self.found_at.lock().unwrap_or_else(PoisonError::into_inner);
        *found = Some(answer.url.clone());
    }

    fn forget_address(&self) {
        *self.found_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
