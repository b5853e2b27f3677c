//! Files that are being made, in folders that outlive their makers. Owns how one is told from what a
//! killed process has left: by a lock, which the system takes away with the process. A time or a
//! process id would tell nothing, since in a container every process has the same one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use crate::private;

const ENDING: &str = "part";

/// Names of earlier versions, which had no locks.
const ENDING_BEFORE: &str = "partial";

/// A file that is being made. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub struct Unfinished {
    file: File,
    path: PathBuf,
    is_finished: bool,
}

impl Unfinished {
    /// A new file for the user alone, of a name that nobody else has and that begins with `stem`. The
    /// folder is made where there is none.
    pub fn create(folder: &Path, stem: &str) -> io::Result<Self> {
        private::create_folder(folder)?;
        loop {
            let chosen = RandomState::new().build_hasher().finish();
            let path = folder.join(format!("{stem}.{chosen:016x}.{ENDING}"));
            let file = private::create_file(&path)?;
            let unfinished = Self {
                file,
                path,
                is_finished: false,
            };
            match unfinished.file.try_lock() {
                Ok(()) if unfinished.path.exists() => return Ok(unfinished),
                Err(TryLockError::Error(error)) => {
                    tracing::debug!(%error, "this file system has no locks");
                    return Ok(unfinished);
                }
                // Another process took it for abandoned before it had its lock, and removes it.
                Ok(()) | Err(TryLockError::WouldBlock) => {}
            }
        }
    }

    /// What is written to, and read from.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, in the place of whatever has it.
    pub fn finish(mut self, name: &Path) -> io::Result<()> {
        fs::rename(&self.path, name)?;
        self.is_finished = true;
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

/// Removes unfinished files whose makers are gone, and gives the bytes of those that are being made.
pub fn sweep_unfinished(folder: &Path) -> u64 {
    let Ok(listing) = fs::read_dir(folder) else {
        // Nothing was ever made there.
        return 0;
    };
    let paths = listing.filter_map(|entry| Some(entry.ok()?.path()));
    let is_unfinished = |path: &PathBuf| {
        let ending = path.extension();
        ending.is_some_and(|ending| ending == ENDING || ending == ENDING_BEFORE)
    };
    paths.filter(is_unfinished).map(|path| sweep(&path)).sum()
}

/// Removes one unless somebody holds it, and gives the bytes of one that stays.
fn sweep(path: &Path) -> u64 {
    // Held until the file is gone, so that nobody begins to use it.
    let file = OpenOptions::new().write(true).open(path);
    if let Ok(file) = &file
        && file.try_lock().is_ok()
    {
        tracing::info!(path = %path.display(), "what a killed process left is removed");
        remove(path);
    }
    fs::metadata(path).map_or(0, |about| about.len())
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "an unfinished file cannot be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_nobody_holds_is_removed_and_what_somebody_makes_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("new");
        let held = Unfinished::create(&folder, "a").expect("a file");
        held.file().write_all(&[0; 100]).expect("written");
        // The same process id as that of a dead one, and as old as can be.
        let left = format!("a.{}.partial", std::process::id());
        for name in [left.as_str(), "b.0.part"] {
            fs::write(folder.join(name), [0; 50]).expect("written");
        }
        fs::write(folder.join("a.kv"), "finished").expect("written");
        assert_eq!(sweep_unfinished(&folder), 100);
        assert_eq!(names(&folder).len(), 2);
        held.finish(&folder.join("b.kv")).expect("renamed");
        assert_eq!(names(&folder), ["a.kv", "b.kv"]);
        drop(Unfinished::create(&folder, "c").expect("a file"));
        assert_eq!(names(&folder), ["a.kv", "b.kv"]);
        assert_eq!(sweep_unfinished(&dir.path().join("nowhere")), 0);
    }

    #[cfg(unix)]
    #[test]
    fn it_is_the_users_own() {
        use std::os::unix::fs::MetadataExt;

        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("new");
        let held = Unfinished::create(&folder, "a").expect("a file");
        let mode = |about: io::Result<fs::Metadata>| about.expect("there").mode() & 0o777;
        assert_eq!(mode(held.file().metadata()), 0o600);
        assert_eq!(mode(fs::metadata(&folder)), 0o700);
    }
}
