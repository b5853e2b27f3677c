//! One run of the connections of a file, which fetch its parts together. Owns what they tell and
//! where they ask; must not know what becomes of the file.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::hashes::Hashes;
use super::{BUFFER, Job};
use crate::hub::client::{Answer, Backoff, Client, Fault, unreachable};
use crate::hub::listing::Hash;
use crate::hub::parts::Parts;
use crate::hub::progress::{Speed, TICK};
use crate::hub::{Cancel, Progress, PullError};

/// How many bytes come between two of their ways to the disk.
const SYNC_EVERY: u64 = 32 << 20;

/// One run of the connections of a file.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) job: &'a Job,
    pub(super) parts: &'a Parts,
    /// Where the file was found in the end, to be asked again directly.
    found_at: Mutex<Option<String>>,
    /// The threads that wait for what comes.
    followers: OnceLock<[Thread; 2]>,
    pub(super) has_no_parts: AtomicBool,
    pub(super) stop: Cancel,
}

/// What a connection tells.
enum Note {
    Retrying { reason: String, wait: Duration },
    Ended(Result<(), PullError>),
    Hashed(io::Result<Option<Hashes>>),
    OnDisk(io::Result<()>),
}

impl<'a> Download<'a> {
    pub(super) fn new(client: &'a Client, job: &'a Job, parts: &'a Parts) -> Self {
        Self {
            client,
            job,
            parts,
            found_at: Mutex::new(None),
            followers: OnceLock::new(),
            has_no_parts: AtomicBool::new(false),
            stop: Cancel::default(),
        }
    }

    /// Fetches everything and returns its hashes.
    pub(super) fn run(
        &self,
        cancel: &Cancel,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Hashes, PullError> {
        let fetched = thread::scope(|scope| {
            let (notes, inbox) = mpsc::channel();
            // The other end of the channel is there as long as these threads.
            let told = notes.clone();
            let hashing = scope.spawn(move || {
                let _ = told.send(Note::Hashed(self.hash()));
            });
            let told = notes.clone();
            let syncing = scope.spawn(move || {
                let _ = told.send(Note::OnDisk(self.bring_to_disk()));
            });
            let followers = [hashing.thread().clone(), syncing.thread().clone()];
            self.followers.get_or_init(|| followers);
            let connections = self.client.limits.connections.max(1);
            for _ in 0..connections {
                let notes = notes.clone();
                scope.spawn(move || {
                    let _ = notes.send(Note::Ended(self.fetch_chunks(&notes)));
                });
            }
            drop(notes);
            self.supervise(&inbox, connections, cancel, watch)
        })?;
        match fetched {
            Some(hashes) => Ok(hashes),
            None => self.fetch_whole(cancel, watch),
        }
    }

    /// Hears what the threads tell until all have ended. None of hashes means that the host does not
    /// give parts of files.
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
        let mut hashes = None;
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
                Ok(Note::Hashed(Ok(found))) => hashes = found,
                Ok(Note::OnDisk(Ok(()))) => {}
                Ok(Note::Hashed(Err(error)) | Note::OnDisk(Err(error))) => {
                    first_error.get_or_insert(self.job.io()(error));
                    self.stop.cancel();
                }
                Err(RecvTimeoutError::Timeout) => watch(self.fetching(&mut speed)),
                Err(RecvTimeoutError::Disconnected) => {
                    return first_error.map_or(Ok(hashes), Err);
                }
            }
            if cancel.is_cancelled() && !self.stop.is_cancelled() {
                first_error.get_or_insert(PullError::Cancelled);
                self.stop.cancel();
            }
        }
    }

    pub(super) fn fetching(&self, speed: &mut Speed) -> Progress {
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

    pub(super) fn retrying(&self, reason: String, wait: Duration) -> Progress {
        Progress::Retrying {
            file: self.job.name(),
            reason,
            seconds: wait.as_secs_f64(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
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

    /// Reads exactly `length` bytes of an answer. They are added many at once, because a small write
    /// costs as much as a large one, and at the latest after a tick, because somebody watches.
    pub(super) fn take(
        &self,
        mut answer: Answer,
        length: u64,
        mut add: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Fault> {
        let mut buffer = vec![0; BUFFER];
        let (mut filled, mut left) = (0, length);
        let mut added = Instant::now();
        loop {
            let ended = match answer.body.read(&mut buffer[filled..]) {
                _ if self.stop.is_cancelled() => Some(Ok(())),
                // The end is read too: only then can the connection be used again.
                Ok(0) if left == 0 => Some(Ok(())),
                Ok(0) => Some(Err(Fault::passing("the connection ended early"))),
                Ok(count) if count as u64 > left => {
                    let reason = "it sends more bytes than it said".to_owned();
                    Some(Err(Fault::Final(self.client.nonsense(reason))))
                }
                Ok(count) => {
                    filled += count;
                    left -= count as u64;
                    None
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Err(error) => Some(Err(Fault::passing(error))),
            };
            let is_due = left == 0 || filled == buffer.len() || added.elapsed() >= TICK;
            if filled > 0 && (is_due || ended.is_some()) {
                // What has come of it is kept, whatever ended it.
                add(&buffer[..filled]).map_err(|error| Fault::Final(self.job.io()(error)))?;
                self.wake_followers();
                (filled, added) = (0, Instant::now());
            }
            if let Some(outcome) = ended {
                return outcome;
            }
        }
    }

    fn wake_followers(&self) {
        for thread in self.followers.get().into_iter().flatten() {
            thread.unpark();
        }
    }

    /// Writes to the disk what comes while it comes, so that little is left to wait for at the end.
    fn bring_to_disk(&self) -> io::Result<()> {
        let mut synced = 0;
        while synced < self.job.size && !self.is_over() {
            let done = self.parts.done();
            if done == self.job.size || done - synced >= SYNC_EVERY {
                self.parts.sync_data()?;
                synced = done;
            } else {
                thread::park_timeout(TICK);
            }
        }
        Ok(())
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
