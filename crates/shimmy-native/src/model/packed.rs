//! Packed weights on disk, from one load to the next. Owns the files: their names, their first page,
//! when one is believed, and how many bytes all may take; must not know what is packed.
//!
//! A file is mapped, not read: it costs no memory of the process, several processes share it, and a
//! start need not wait for the packing. It is made by packing straight into its mapping, under
//! another name, and gets its own when it is whole; whoever makes one holds a lock on it, so one
//! without belongs to nobody any more. A file is believed when all its bytes hash to what its first
//! page says, or did so before and were not touched since.
#![expect(unsafe_code, reason = "a mapped file can change under the process")]

use std::fs::{self, File};
use std::hash::Hasher as _;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use memmap2::{Mmap, MmapMut};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use shimmy_engine::{KeptFiles, sweep_unfinished};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::PackedFolder;
use crate::pool::Pool;
use check::Record;
pub(super) use check::digest;

mod check;

/// Bytes before the weights: a page, so that they begin with one.
pub(super) const FIRST_PAGE: usize = 4096;

/// The number is raised when the packing changes: files of before are made anew.
const MAGIC: [u8; 8] = *b"SHIMPK\x00\x02";

/// Where the first page has its parts.
const FINGERPRINT: usize = 8;
const LENGTH: usize = 16;
const DIGEST: usize = 24;
const CHECKSUM: usize = 32;

const ENDING: &str = "tiles";
const CHECKED: &str = "checked";

/// File systems know the time to a tick of some milliseconds, or to two seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// What stays free on the disk.
const SPARE: u64 = 2 << 30;

/// A model's place in the folder.
#[derive(Debug)]
pub(super) struct Place<'a> {
    folder: &'a PackedFolder,
    fingerprint: u64,
    length: usize,
    /// How long ago the last write to a file must have been for the next one to change its time.
    settled: Duration,
}

/// A file that is being made. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub(super) struct Unfinished {
    file: shimmy_engine::Unfinished,
    name: PathBuf,
    fingerprint: u64,
    length: usize,
}

impl<'a> Place<'a> {
    /// The place of `length` bytes of weights, packed from the model at `path`; none if its size is not
    /// worth one or nothing can be said about the file.
    pub(super) fn of(folder: &'a PackedFolder, path: &Path, length: usize) -> Option<Self> {
        let bytes = length as u64;
        if bytes < folder.least_bytes || bytes > folder.most_bytes {
            return None;
        }
        let path = path.canonicalize().ok()?;
        let about = fs::metadata(&path).ok()?;
        let changed = about
            .modified()
            .ok()?
            .duration_since(SystemTime::UNIX_EPOCH);
        let mut hash = Xxh3::new();
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.write_u64(about.len());
        hash.write_u128(changed.ok()?.as_nanos());
        Some(Self {
            folder,
            fingerprint: hash.digest(),
            length,
            settled: SETTLED,
        })
    }

    fn name(&self) -> PathBuf {
        let name = format!("{:016x}.{ENDING}", self.fingerprint);
        self.folder.path.join(name)
    }

    /// The weights, if an earlier load has left them. Its caller compares some with the model's. Reads
    /// all of them where they were not checked before, unless `progress` says that they are not wanted.
    pub(super) fn find(
        &self,
        pool: &mut Pool,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Option<Mmap> {
        self.sweep();
        let path = self.name();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "packed weights cannot be opened");
                return None;
            }
        };
        match self.map(&file, pool, progress) {
            Ok(map) => map,
            Err(reason) => {
                self.distrust(reason);
                None
            }
        }
    }

    /// Removes a file that is not what it should be.
    pub(super) fn distrust(&self, reason: &str) {
        let path = self.name();
        tracing::warn!(path = %path.display(), reason, "packed weights are made anew");
        remove(&path);
        remove(&path.with_extension(CHECKED));
    }

    /// The file, if it is whole; none if nobody wants to know any more.
    fn map(
        &self,
        file: &File,
        pool: &mut Pool,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Option<Mmap>, &'static str> {
        // Of before the check, so that what is written meanwhile makes a difference to it.
        let about = file.metadata().map_err(|_| "its size is unknown")?;
        let record = Record::new(&self.name().with_extension(CHECKED), &about, self.settled);
        if about.len() != (FIRST_PAGE + self.length) as u64 {
            return Err("it has another size");
        }
        // SAFETY: the bytes are only read, as numbers for which every bit pattern is valid. The
        // folder is the user's own; cutting a file in it short is like cutting a model's short.
        let map = unsafe { Mmap::map(file) }.map_err(|_| "it cannot be mapped")?;
        let page = &map[..FIRST_PAGE];
        let wanted = &page[DIGEST..CHECKSUM];
        if page[..CHECKSUM] != first_page(self.fingerprint, self.length, wanted)
            || page[CHECKSUM..CHECKSUM + 8] != xxh3_64(&page[..CHECKSUM]).to_le_bytes()
        {
            return Err("its first page is another one's");
        }
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise(memmap2::Advice::WillNeed) {
            tracing::debug!(%error, "the weights are read as they are needed");
        }
        if !record.holds() {
            match digest(pool, &map[FIRST_PAGE..], progress) {
                None => return Ok(None),
                Some(found) if found.to_le_bytes() == wanted => {}
                Some(_) => return Err("its bytes are not those that were written"),
            }
        }
        record.write();
        Ok(Some(map))
    }

    /// Room for the weights in a new file, after its first page; none, with a reason in the log, where
    /// there is no room on the disk or no such file can be made.
    pub(super) fn make(&self) -> Option<(MmapMut, Unfinished)> {
        let made = self.try_make();
        made.inspect_err(|error| {
            let folder = self.folder.path.display();
            tracing::warn!(%folder, %error, "packed weights are not kept");
        })
        .ok()
    }

    fn try_make(&self) -> io::Result<(MmapMut, Unfinished)> {
        let folder = &self.folder.path;
        let stem = format!("{:016x}", self.fingerprint);
        let file = shimmy_engine::Unfinished::create(folder, &stem)?;
        let bytes = (FIRST_PAGE + self.length) as u64;
        self.make_room(bytes)?;
        let disk = statvfs(folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < bytes.saturating_add(SPARE) {
            return Err(io::Error::other(format!(
                "{bytes} bytes are needed and {free} are free, of which {SPARE} stay so"
            )));
        }
        let unfinished = Unfinished {
            file,
            name: self.name(),
            fingerprint: self.fingerprint,
            length: self.length,
        };
        // Taken now: a full disk would end the process when it writes into the mapping.
        fallocate(unfinished.file.file(), FallocateFlags::empty(), 0, bytes)?;
        // SAFETY: nobody else knows the file, and its bytes are numbers.
        let map = unsafe { MmapMut::map_mut(unfinished.file.file())? };
        Ok((map, unfinished))
    }

    /// Removes what nobody will ask for: unfinished files whose makers are gone, and records without
    /// weights. Gives the bytes of those that are being made.
    fn sweep(&self) -> u64 {
        for path in entries(&self.folder.path) {
            let is_record = path.extension().is_some_and(|ending| ending == CHECKED);
            if is_record && !path.with_extension(ENDING).exists() {
                remove(&path);
            }
        }
        sweep_unfinished(&self.folder.path)
    }

    /// Removes files until this one fits beside the rest: those abandoned, and those used least recently.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let unfinished = self.sweep();
        let mut kept = Vec::new();
        for path in entries(&self.folder.path) {
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            let Ok(about) = fs::metadata(&path) else {
                continue;
            };
            // Of the record the time is that of the last use.
            let record = fs::metadata(path.with_extension(CHECKED));
            let used = [Some(&about), record.as_ref().ok()].map(|about| about?.modified().ok());
            kept.push((used.into_iter().max(), about.len(), path));
        }
        kept.sort();
        let finished: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        let mut all = finished + unfinished;
        for (_, length, path) in kept {
            if all.saturating_add(bytes) <= self.folder.most_bytes {
                break;
            }
            remove(&path);
            remove(&path.with_extension(CHECKED));
            all -= length;
        }
        if all.saturating_add(bytes) > self.folder.most_bytes {
            return Err(io::Error::other(format!(
                "others are packing {unfinished} bytes, and all may take {}",
                self.folder.most_bytes
            )));
        }
        Ok(())
    }
}

impl Unfinished {
    /// Gives the file its name. `map` is what [`Place::make`] gave, packed, and `digest` that of its
    /// weights.
    pub(super) fn finish(self, map: &mut MmapMut, digest: u64) -> io::Result<()> {
        let page = first_page(self.fingerprint, self.length, &digest.to_le_bytes());
        map[..CHECKSUM].copy_from_slice(&page);
        map[CHECKSUM..CHECKSUM + 8].copy_from_slice(&xxh3_64(&page).to_le_bytes());
        self.file.finish(&self.name)
    }
}

/// What is in a folder of packed weights, by the first pages of the files. Their weights are checked
/// when they are used.
pub fn kept_weights(folder: &Path) -> KeptFiles {
    let mut kept = KeptFiles::default();
    for path in entries(folder) {
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let bytes = fs::metadata(&path).map_or(0, |about| about.len());
        kept.count += 1;
        kept.bytes += bytes;
        if !has_first_page(&path, bytes).unwrap_or(false) {
            kept.damaged.push(path);
        }
    }
    kept
}

fn has_first_page(path: &Path, bytes: u64) -> io::Result<bool> {
    let mut page = [0; CHECKSUM + 8];
    File::open(path)?.read_exact_at(&mut page, 0)?;
    let length = bytes.saturating_sub(FIRST_PAGE as u64);
    Ok(page.starts_with(&MAGIC)
        && page[LENGTH..DIGEST] == length.to_le_bytes()
        && page[CHECKSUM..] == xxh3_64(&page[..CHECKSUM]).to_le_bytes())
}

fn first_page(fingerprint: u64, length: usize, digest: &[u8]) -> [u8; CHECKSUM] {
    let mut page = [0; CHECKSUM];
    page[..FINGERPRINT].copy_from_slice(&MAGIC);
    page[FINGERPRINT..LENGTH].copy_from_slice(&fingerprint.to_le_bytes());
    page[LENGTH..DIGEST].copy_from_slice(&(length as u64).to_le_bytes());
    page[DIGEST..].copy_from_slice(digest);
    page
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(folder) else {
        // Nothing was ever kept there.
        return Vec::new();
    };
    let paths = listing.filter_map(|entry| Some(entry.ok()?.path()));
    paths.collect()
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "packed weights cannot be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
