//! A file that comes in parts. Owns which bytes are there, on disk too, so that a killed download
//! goes on where it was; must not know where they come from.
//!
//! Beside the file lies a list: for each chunk how many of its bytes have come. It is written after
//! the bytes, so that it never promises more than there is. What a power cut makes of both is found
//! out by the hash.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first bytes of a list.
const MAGIC: [u8; 8] = *b"SHIMPRT1";
const HEAD: usize = 24;
/// How many bytes come between two notes of one chunk.
const NOTE_EVERY: u64 = 256 << 10;

/// A file in parts, written by several threads.
#[derive(Debug)]
pub(super) struct Parts {
    size: u64,
    chunk: u64,
    file: File,
    list: File,
    done: Vec<AtomicU64>,
    /// What the list says, per chunk.
    noted: Vec<AtomicU64>,
    /// Chunks that nobody has begun.
    open: Mutex<Vec<usize>>,
}

impl Parts {
    /// Opens what is there of a file, or begins it.
    pub(super) fn open(path: &Path, size: u64, chunk: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let chunk = chunk.max(1);
        let options = || {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            options
        };
        let file = options().open(path)?;
        let list = options().open(list_path(path))?;
        let count = usize::try_from(size.div_ceil(chunk)).map_err(io::Error::other)?;
        let is_whole = file.metadata()?.len() == size;
        let known = read_list(path, size, chunk, count).filter(|_| is_whole);
        let has_list = known.is_some();
        let done = known.unwrap_or_else(|| vec![0; count]);
        let of = |done: &[u64]| done.iter().copied().map(AtomicU64::new).collect::<Vec<_>>();
        let parts = Self {
            size,
            chunk,
            open: Mutex::new((0..count).rev().collect()),
            noted: of(&done),
            done: of(&done),
            file,
            list,
        };
        if !has_list {
            parts.begin()?;
        }
        Ok(parts)
    }

    /// Bytes that are missing of a file of which perhaps some are there.
    pub(super) fn missing(path: &Path, size: u64, chunk: u64) -> u64 {
        let chunk = chunk.max(1);
        let is_whole = fs::metadata(path).is_ok_and(|file| file.len() == size);
        let count = usize::try_from(size.div_ceil(chunk)).unwrap_or(0);
        let known = read_list(path, size, chunk, count).filter(|_| is_whole);
        size - known.map_or(0, |done| done.iter().sum::<u64>()).min(size)
    }

    /// Writes the bytes elsewhere from now on.
    #[cfg(test)]
    pub(super) fn write_to(&mut self, file: File) {
        self.file = file;
    }

    /// Forgets all that has come.
    pub(super) fn begin(&self) -> io::Result<()> {
        let mut head = Vec::with_capacity(HEAD);
        head.extend(MAGIC);
        head.extend(self.size.to_le_bytes());
        head.extend(self.chunk.to_le_bytes());
        head.resize(HEAD + self.done.len() * 8, 0);
        // An empty list first: no state in between promises anything.
        self.list.set_len(0)?;
        self.file.set_len(self.size)?;
        for (done, noted) in self.done.iter().zip(&self.noted) {
            done.store(0, Ordering::Release);
            noted.store(0, Ordering::Release);
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = (0..self.done.len()).rev().collect();
        write_at(&self.list, &head, 0)
    }

    /// A chunk that nobody has begun and that is not whole: its number.
    pub(super) fn take(&self) -> Option<usize> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(number) = open.pop() {
            if !self.missing_of(number).is_empty() {
                return Some(number);
            }
        }
        None
    }

    /// The bytes that are missing of a chunk, by their places in the file.
    pub(super) fn missing_of(&self, number: usize) -> std::ops::Range<u64> {
        let start = number as u64 * self.chunk;
        let end = (start + self.chunk).min(self.size);
        start + self.done[number].load(Ordering::Acquire)..end
    }

    /// Adds the next bytes of a chunk.
    pub(super) fn add(&self, number: usize, bytes: &[u8]) -> io::Result<()> {
        let missing = self.missing_of(number);
        write_at(&self.file, bytes, missing.start)?;
        let added = bytes.len() as u64;
        let done = self.done[number].fetch_add(added, Ordering::AcqRel) + added;
        let is_whole = self.missing_of(number).is_empty();
        if is_whole || done - self.noted[number].load(Ordering::Acquire) >= NOTE_EVERY {
            self.note(number)?;
        }
        Ok(())
    }

    /// Writes down how much of a chunk there is.
    pub(super) fn note(&self, number: usize) -> io::Result<()> {
        let done = self.done[number].load(Ordering::Acquire);
        write_at(&self.list, &done.to_le_bytes(), (HEAD + number * 8) as u64)?;
        self.noted[number].store(done, Ordering::Release);
        Ok(())
    }

    /// How many bytes there are.
    pub(super) fn done(&self) -> u64 {
        let done = self.done.iter().map(|done| done.load(Ordering::Acquire));
        done.sum()
    }

    /// How many bytes there are from the beginning without a gap, if there are `known` at least.
    pub(super) fn contiguous(&self, known: u64) -> u64 {
        let mut end = known;
        for number in (known / self.chunk) as usize..self.done.len() {
            let missing = self.missing_of(number);
            end = missing.start;
            if !missing.is_empty() {
                break;
            }
        }
        end
    }

    /// Brings the bytes that have come to the disk.
    pub(super) fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Brings everything to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Removes the list of a file that is whole.
pub(super) fn remove_list(path: &Path) -> io::Result<()> {
    match fs::remove_file(list_path(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn list_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-list");
    name.into()
}

/// What the list beside a file says, if it belongs to a file of this size.
fn read_list(path: &Path, size: u64, chunk: u64, count: usize) -> Option<Vec<u64>> {
    let limit = (HEAD + count * 8) as u64;
    let bytes = crate::files::read_short(&list_path(path), limit).ok()?;
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    if !bytes.starts_with(&MAGIC) || number(8)? != size || number(16)? != chunk {
        return None;
    }
    let most = |index: usize| chunk.min(size - index as u64 * chunk);
    (0..count)
        .map(|index| number(HEAD + index * 8).filter(|&done| done <= most(index)))
        .collect()
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    file.write_all_at(bytes, offset)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let written = file.seek_write(bytes, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blobs/x");
        let parts = Parts::open(&path, 25, 10).unwrap();
        let first = parts.take().unwrap();
        assert_eq!((first, parts.missing_of(2)), (0, 20..25));
        parts.add(0, b"0123456789").unwrap();
        parts.add(2, b"vw").unwrap();
        assert_eq!((parts.done(), parts.contiguous(0)), (12, 10));
        // What was not noted yet is fetched again, not believed.
        drop(parts);
        assert_eq!(Parts::missing(&path, 25, 10), 15);
        let parts = Parts::open(&path, 25, 10).unwrap();
        assert_eq!(parts.missing_of(2), 20..25);
        assert_eq!(parts.take(), Some(1));
        parts.add(2, b"vw").unwrap();
        parts.note(2).unwrap();
        drop(parts);
        assert_eq!(Parts::missing(&path, 25, 10), 13);
        assert_eq!(&fs::read(&path).unwrap()[..10], b"0123456789");
        // A file of another size is another file.
        assert_eq!(Parts::missing(&path, 26, 10), 26);
        assert_eq!(Parts::open(&path, 26, 10).unwrap().done(), 0);
    }

    #[test]
    fn a_damaged_list_promises_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let parts = Parts::open(&path, 25, 10).unwrap();
        parts.add(0, b"0123456789").unwrap();
        drop(parts);
        let sound = fs::read(list_path(&path)).unwrap();
        for change in [(0, 1), (8, 1), (16, 1), (HEAD + 1, 1), (HEAD + 16, 6)] {
            let mut list = sound.clone();
            list[change.0] ^= change.1;
            fs::write(list_path(&path), &list).unwrap();
            assert_eq!(Parts::missing(&path, 25, 10), 25, "{change:?}");
        }
        fs::write(list_path(&path), &sound[..sound.len() - 1]).unwrap();
        assert_eq!(Parts::missing(&path, 25, 10), 25);
    }
}
