//! Packed weights on disk, from one load to the next. Owns the files: their names, their first page,
//! when one is believed, and how many bytes all may take; must not know what is packed.
//!
//! A file is mapped, not read: it costs no memory of the process, several processes share it, and a
//! start need not wait for the packing. It is made by packing straight into its mapping, under
//! another name, and gets its own when it is whole. Whether it has reached the disk matters only if
//! the machine goes down before, so that is noted when it is known: until then the file is believed
//! as long as the machine runs.
#![expect(unsafe_code, reason = "a mapped file can change under the process")]

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher as _;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use memmap2::{Mmap, MmapMut};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use shimmy_engine::KeptFiles;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::PackedFolder;

/// Bytes before the weights: a page, so that they begin with one.
pub(super) const FIRST_PAGE: usize = 4096;

/// The number is raised when the packing changes: files of before are made anew.
const MAGIC: [u8; 8] = *b"SHIMPK\x00\x01";

/// Where the first page has its parts.
const FINGERPRINT: usize = 8;
const LENGTH: usize = 16;
const BOOT: usize = 24;
const CHECKSUM: usize = 64;
const ON_DISK: usize = 72;

const ENDING: &str = "tiles";
const UNFINISHED: &str = "part";

/// How old the last change of an unfinished file is before it is taken for a dead process's.
const ABANDONED: Duration = Duration::from_secs(3600);

/// What stays free on the disk.
const SPARE: u64 = 2 << 30;

/// A model's place in the folder.
#[derive(Debug)]
pub(super) struct Place<'a> {
    folder: &'a PackedFolder,
    fingerprint: u64,
    length: usize,
}

/// A file that is being made. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub(super) struct Unfinished {
    file: File,
    path: PathBuf,
    name: PathBuf,
    fingerprint: u64,
    length: usize,
    is_finished: bool,
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
        })
    }

    fn name(&self) -> PathBuf {
        let name = format!("{:016x}.{ENDING}", self.fingerprint);
        self.folder.path.join(name)
    }

    /// The weights, if an earlier load has left them. Its caller compares some with the model's.
    pub(super) fn find(&self) -> Option<Mmap> {
        let path = self.name();
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "packed weights cannot be opened");
                return None;
            }
        };
        match self.map(&file) {
            Ok(map) => {
                // What was used last is removed last.
                if let Err(error) = file.set_modified(SystemTime::now()) {
                    tracing::debug!(%error, "the time of use is not noted");
                }
                Some(map)
            }
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
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "they cannot be removed");
        }
    }

    fn map(&self, file: &File) -> Result<Mmap, &'static str> {
        let about = file.metadata().map_err(|_| "its size is unknown")?;
        if about.len() != (FIRST_PAGE + self.length) as u64 {
            return Err("it has another size");
        }
        // SAFETY: the bytes are only read, as numbers for which every bit pattern is valid. The
        // folder is the user's own; cutting a file in it short is like cutting a model's short.
        let map = unsafe { Mmap::map(file) }.map_err(|_| "it cannot be mapped")?;
        let page = &map[..FIRST_PAGE];
        let boot = boot();
        if page[..CHECKSUM] != first_page(self.fingerprint, self.length, &page[BOOT..CHECKSUM])
            || page[CHECKSUM..CHECKSUM + 8] != xxh3_64(&page[..CHECKSUM]).to_le_bytes()
        {
            return Err("its first page is another one's");
        }
        if page[ON_DISK] != 1 {
            if boot.is_none_or(|boot| page[BOOT..CHECKSUM] != boot) {
                return Err("it may not have reached the disk before the machine went down");
            }
            note_when_on_disk(file);
        }
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise(memmap2::Advice::WillNeed) {
            tracing::debug!(%error, "the weights are read as they are needed");
        }
        Ok(map)
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
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let bytes = (FIRST_PAGE + self.length) as u64;
        self.make_room(bytes);
        let disk = statvfs(folder)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < bytes.saturating_add(SPARE) {
            return Err(io::Error::other(format!(
                "{bytes} bytes are needed and {free} are free, of which {SPARE} stay so"
            )));
        }
        let path = folder.join(format!(
            "{:016x}.{}.{UNFINISHED}",
            self.fingerprint,
            std::process::id()
        ));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let unfinished = Unfinished {
            file,
            path,
            name: self.name(),
            fingerprint: self.fingerprint,
            length: self.length,
            is_finished: false,
        };
        // Taken now: a full disk would end the process when it writes into the mapping.
        fallocate(&unfinished.file, FallocateFlags::empty(), 0, bytes)?;
        // SAFETY: nobody else knows the file, and its bytes are numbers.
        let map = unsafe { MmapMut::map_mut(&unfinished.file)? };
        Ok((map, unfinished))
    }

    /// Removes files until this one fits beside the rest: those abandoned, and those used least recently.
    fn make_room(&self, bytes: u64) {
        let Ok(entries) = fs::read_dir(&self.folder.path) else {
            return;
        };
        let mut kept = Vec::new();
        for entry in entries.flatten() {
            let (path, Ok(about)) = (entry.path(), entry.metadata()) else {
                continue;
            };
            let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match path.extension().and_then(|ending| ending.to_str()) {
                Some(ENDING) => kept.push((used, about.len(), path)),
                Some(UNFINISHED) if used.elapsed().is_ok_and(|age| age > ABANDONED) => {
                    remove(&path);
                }
                _ => {}
            }
        }
        kept.sort();
        let mut all: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, length, path) in kept {
            if all.saturating_add(bytes) <= self.folder.most_bytes {
                break;
            }
            remove(&path);
            all -= length;
        }
    }
}

impl Unfinished {
    /// Gives the file its name. `map` is what [`Place::make`] gave, packed.
    pub(super) fn finish(mut self, map: &mut MmapMut) -> io::Result<()> {
        let page = first_page(
            self.fingerprint,
            self.length,
            &boot().unwrap_or([0; CHECKSUM - BOOT]),
        );
        map[..CHECKSUM].copy_from_slice(&page);
        map[CHECKSUM..CHECKSUM + 8].copy_from_slice(&xxh3_64(&page).to_le_bytes());
        fs::rename(&self.path, &self.name)?;
        self.is_finished = true;
        note_when_on_disk(&self.file);
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            remove(&self.path);
        }
    }
}

/// What is in a folder of packed weights, by the first pages of the files. Their weights are compared
/// with the model's when they are used.
pub fn kept_weights(folder: &Path) -> KeptFiles {
    let mut kept = KeptFiles::default();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let bytes = entry.metadata().map_or(0, |about| about.len());
        kept.count += 1;
        kept.bytes += bytes;
        if !is_whole(&path, bytes).unwrap_or(false) {
            kept.damaged.push(path);
        }
    }
    kept
}

fn is_whole(path: &Path, bytes: u64) -> io::Result<bool> {
    let mut page = [0; ON_DISK + 1];
    File::open(path)?.read_exact_at(&mut page, 0)?;
    let length = bytes.saturating_sub(FIRST_PAGE as u64);
    let is_this_boot = boot().is_some_and(|boot| page[BOOT..CHECKSUM] == boot);
    Ok(page.starts_with(&MAGIC)
        && page[LENGTH..BOOT] == length.to_le_bytes()
        && page[CHECKSUM..ON_DISK] == xxh3_64(&page[..CHECKSUM]).to_le_bytes()
        && (page[ON_DISK] == 1 || is_this_boot))
}

fn first_page(fingerprint: u64, length: usize, boot: &[u8]) -> [u8; CHECKSUM] {
    let mut page = [0; CHECKSUM];
    page[..FINGERPRINT].copy_from_slice(&MAGIC);
    page[FINGERPRINT..LENGTH].copy_from_slice(&fingerprint.to_le_bytes());
    page[LENGTH..BOOT].copy_from_slice(&(length as u64).to_le_bytes());
    page[BOOT..].copy_from_slice(boot);
    page
}

/// What tells this run of the machine from every other.
fn boot() -> Option<[u8; CHECKSUM - BOOT]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let mut boot = [0; CHECKSUM - BOOT];
    let text = text.trim().as_bytes();
    let length = text.len().min(boot.len());
    boot[..length].copy_from_slice(&text[..length]);
    Some(boot)
}

/// Waits for the disk on a thread of its own, and notes that the file is there. A process that ends
/// before has lost nothing.
fn note_when_on_disk(file: &File) {
    let Ok(file) = file.try_clone() else {
        return;
    };
    let note = move || {
        let noted = file
            .sync_data()
            .and_then(|()| file.write_all_at(&[1], ON_DISK as u64))
            .and_then(|()| file.sync_data());
        if let Err(error) = noted {
            tracing::warn!(%error, "packed weights may not have reached the disk");
        }
    };
    let thread = std::thread::Builder::new().name("weights-to-disk".to_owned());
    if let Err(error) = thread.spawn(note) {
        tracing::debug!(%error, "nobody waits for the packed weights to reach the disk");
    }
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
