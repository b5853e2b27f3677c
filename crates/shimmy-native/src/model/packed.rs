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
            tracing::info!(%folder, %error, "packed weights are not kept");
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
mod tests {
    use super::*;
    use std::thread;

    const LENGTH: usize = 10_000;

    fn folder(dir: &tempfile::TempDir, most_bytes: u64) -> PackedFolder {
        PackedFolder {
            path: dir.path().join("weights"),
            most_bytes,
            least_bytes: 0,
        }
    }

    fn model(dir: &tempfile::TempDir, name: &str) -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, name).unwrap();
        path
    }

    fn fill(place: &Place<'_>, value: u8) {
        let (mut map, unfinished) = place.make().expect("room");
        map[FIRST_PAGE..].fill(value);
        unfinished.finish(&mut map).unwrap();
    }

    /// The note that a file is on the disk comes from another thread, and changes the file's time.
    fn wait_for_note(file: &File) {
        let mut note = [0];
        while note != [1] {
            thread::yield_now();
            file.read_exact_at(&mut note, ON_DISK as u64).unwrap();
        }
    }

    fn files(folder: &PackedFolder) -> usize {
        fs::read_dir(&folder.path).map_or(0, Iterator::count)
    }

    #[test]
    fn what_was_packed_is_found_again_and_only_for_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
        let place = Place::of(&folder, &path, LENGTH).unwrap();
        assert!(place.find().is_none());
        fill(&place, 7);
        let map = place.find().expect("packed weights");
        assert!(map[FIRST_PAGE..].iter().all(|&byte| byte == 7));
        assert!(
            Place::of(&folder, &path, LENGTH + 64)
                .unwrap()
                .find()
                .is_none()
        );
        fill(&place, 7);
        let other = model(&dir, "b");
        assert!(Place::of(&folder, &other, LENGTH).unwrap().find().is_none());
        fs::write(&path, "changed").unwrap();
        assert!(Place::of(&folder, &path, LENGTH).unwrap().find().is_none());
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
        let place = Place::of(&folder, &path, LENGTH).unwrap();
        drop(place.make().expect("room"));
        assert_eq!(files(&folder), 0);
        assert!(place.find().is_none());
    }

    #[test]
    fn a_damaged_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
        let place = Place::of(&folder, &path, LENGTH).unwrap();
        // Cut short, another number at the front, another fingerprint, another checksum.
        for at in [None, Some(7), Some(FINGERPRINT), Some(CHECKSUM)] {
            fill(&place, 7);
            let file = OpenOptions::new().write(true).open(place.name()).unwrap();
            match at {
                None => file.set_len(5000).unwrap(),
                Some(at) => file.write_all_at(&[0xff], at as u64).unwrap(),
            }
            assert!(place.find().is_none(), "{at:?}");
            assert_eq!(files(&folder), 0, "{at:?}");
        }
    }

    #[test]
    fn what_may_not_have_reached_the_disk_is_not_believed_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, path) = (folder(&dir, u64::MAX), model(&dir, "a"));
        let place = Place::of(&folder, &path, LENGTH).unwrap();
        for (on_disk, is_believed) in [(0, false), (1, true)] {
            fill(&place, 7);
            let file = OpenOptions::new().read(true).write(true).open(place.name());
            let file = file.unwrap();
            wait_for_note(&file);
            let page = first_page(place.fingerprint, LENGTH, &[b'x'; CHECKSUM - BOOT]);
            file.write_all_at(&page, 0).unwrap();
            let sum = xxh3_64(&page).to_le_bytes();
            file.write_all_at(&sum, CHECKSUM as u64).unwrap();
            file.write_all_at(&[on_disk], ON_DISK as u64).unwrap();
            assert_eq!(place.find().is_some(), is_believed);
        }
    }

    #[test]
    fn the_folder_keeps_to_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(&dir, 2 * (FIRST_PAGE + LENGTH) as u64);
        let paths = ["a", "b", "c"].map(|name| model(&dir, name));
        let places = paths
            .each_ref()
            .map(|path| Place::of(&folder, path, LENGTH).unwrap());
        let used = |place: &Place<'_>, seconds| {
            let file = OpenOptions::new().read(true).write(true).open(place.name());
            let file = file.unwrap();
            wait_for_note(&file);
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
        };
        fill(&places[0], 1);
        fill(&places[1], 2);
        used(&places[0], 2);
        used(&places[1], 1);
        fill(&places[2], 3);
        assert!(places[0].find().is_some());
        assert!(places[1].find().is_none());
        assert!(places[2].find().is_some());
        let all = (FIRST_PAGE + LENGTH) as u64 * 2;
        assert!(Place::of(&folder, &paths[0], all as usize + 1).is_none());
    }
}
