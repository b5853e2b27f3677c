//! One blob on its way to the disk. Owns its temporary file; must not know what it is a part of.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::PackageError;
use crate::sha256::Hasher;

/// Tells apart the temporary files of this process.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A blob that is being written. It has its name only once it is kept; dropped before, nothing is
/// left of it.
pub struct NewBlob {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
    is_kept: bool,
}

impl fmt::Debug for NewBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewBlob")
            .field("path", &self.path)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl NewBlob {
    pub(super) fn begin(folder: PathBuf) -> Result<Self, PackageError> {
        fs::create_dir_all(&folder).map_err(PackageError::io(&folder))?;
        // Beside the first blob, so that both together are a store that a search knows.
        let manifests = folder.with_file_name("manifests");
        fs::create_dir_all(&manifests).map_err(PackageError::io(&manifests))?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{}-{number}.new", process::id()));
        let file = File::create(&path).map_err(PackageError::io(&path))?;
        Ok(Self {
            folder,
            path,
            file,
            hasher: Hasher::new(),
            size: 0,
            is_kept: false,
        })
    }

    /// Adds bytes. Blocks on the disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PackageError> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(PackageError::io(&self.path))
    }

    /// Keeps it if its content has this SHA-256.
    pub fn keep_as(self, digits: &str) -> Result<(), PackageError> {
        let digits = digits.to_owned();
        self.finish(Some(&digits)).map(drop)
    }

    /// Keeps it, whatever came; returns its digits and its size.
    pub(super) fn keep(self) -> Result<(String, u64), PackageError> {
        self.finish(None)
    }

    fn finish(mut self, expected: Option<&str>) -> Result<(String, u64), PackageError> {
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new());
        let found = hasher.finish();
        if expected.is_some_and(|expected| expected != found) {
            return Err(PackageError::WrongContent { found });
        }
        let path = self.folder.join(format!("sha256-{found}"));
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &path))
            .map_err(PackageError::io(&path))?;
        self.is_kept = true;
        Ok((found, self.size))
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        if !self.is_kept {
            // It may not be there to remove; nobody waits for the news.
            let _ = fs::remove_file(&self.path);
        }
    }
}
