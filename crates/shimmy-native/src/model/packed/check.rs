//! Whether packed weights are what was written. Owns their hash, and the record of a file that was
//! checked, beside it; must not know where files lie or what becomes of a damaged one.
//!
//! Reading half a gigabyte to the end costs more than the rest of a start, so a file is read once
//! for every boot, and again after it was touched: the record names the boot, the file and its times,
//! among them that of its last change, which the system sets with every write and no program can.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::pool::Pool;

/// Bytes that one thread hashes at a time. Another number makes another hash.
const PIECE: usize = 1 << 20;

/// Pieces between two reports of progress: some 10 ms of work.
const PIECES: usize = 128;

/// The hash of weights, computed by all threads; none if `progress` says that nobody wants it any more.
pub(in crate::model) fn digest(
    pool: &mut Pool,
    weights: &[u8],
    progress: &mut dyn FnMut(f32) -> bool,
) -> Option<u64> {
    let mut pieces: Vec<_> = weights.chunks(PIECE).map(|piece| (piece, 0)).collect();
    let all = pieces.len().max(1);
    let mut done = 0;
    for some in pieces.chunks_mut(PIECES) {
        if !progress(done as f32 / all as f32) {
            return None;
        }
        pool.for_each(some, |_, (piece, hash)| *hash = xxh3_64(piece));
        done += some.len();
    }
    let mut whole = Xxh3::new();
    for (_, hash) in pieces {
        whole.update(&hash.to_le_bytes());
    }
    Some(whole.digest())
}

/// A note beside a file that says that it was checked, and by its own time when it was used.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    /// What a note of the file as it is now says; nothing if a write might not change it.
    text: String,
}

impl Record {
    /// The record at `path` for a file that is as `about` says. It says nothing of one that was written
    /// less than `settled` ago, because another write might leave it the same times.
    pub(super) fn new(path: &Path, about: &Metadata, settled: Duration) -> Self {
        Self {
            path: path.to_owned(),
            text: describe(about, settled).unwrap_or_default(),
        }
    }

    /// Whether this very file was checked since the machine was started, and not touched since.
    pub(super) fn holds(&self) -> bool {
        let kept = fs::read(&self.path);
        !self.text.is_empty() && kept.is_ok_and(|kept| kept == self.text.as_bytes())
    }

    /// Notes that the file was checked and is used. Without a note it is checked again next time.
    pub(super) fn write(&self) {
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&self.path)?;
            file.write_all(self.text.as_bytes())?;
            // Also where nothing is written.
            file.set_modified(SystemTime::now())
        };
        if let Err(error) = write() {
            tracing::debug!(path = %self.path.display(), %error, "the check is not noted");
        }
    }
}

fn describe(about: &Metadata, settled: Duration) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let (seconds, nanoseconds) = (about.ctime(), about.ctime_nsec());
    let changed = Duration::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    if changed + settled > now.ok()? {
        return None;
    }
    Some(format!(
        "{} {} {} {} {}.{:09} {seconds}.{nanoseconds:09}\n",
        boot.trim(),
        about.dev(),
        about.ino(),
        about.len(),
        about.mtime(),
        about.mtime_nsec()
    ))
}
