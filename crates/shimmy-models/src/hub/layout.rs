//! Where downloaded files go. Owns the layout of Hugging Face's cache as its tools write it, and the
//! steps in which a file gets its name; must not know where bytes come from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::listing::HubFile;
use super::{Cancel, PullError};
use crate::files::replace;
use crate::sha256;

/// How the names of files end of which not all has come. Hugging Face's own tools go on from a file
/// `….incomplete`, which they believe to have no gaps, so it must not be called that.
pub(super) const PARTIAL: &str = "shimmy-part";

/// The folders of one repository in the cache.
#[derive(Debug)]
pub(super) struct Repository {
    cache: PathBuf,
    name: String,
}

/// Where one file goes, and the names that it gets.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The file itself, named when it is whole and right.
    target: PathBuf,
    /// What has come of it, and which parts that is.
    partial: PathBuf,
    /// Held while it is written, as Hugging Face's tools do.
    lock: PathBuf,
    /// The name in the snapshot that leads to it.
    link: Option<PathBuf>,
}

/// The note of which commit a branch was.
#[derive(Debug, Clone)]
pub(super) struct Revision {
    file: PathBuf,
    commit: String,
}

impl Repository {
    pub(super) fn new(cache: &Path, repository: &str) -> Self {
        Self {
            cache: cache.to_owned(),
            name: format!("models--{}", repository.replace('/', "--")),
        }
    }

    pub(super) fn place(&self, commit: &str, file: &HubFile) -> Place {
        let folder = self.cache.join(&self.name);
        let blob = file.hash.as_ref().map_or("unknown", |hash| hash.digits());
        let target = folder.join("blobs").join(blob);
        Place {
            partial: beside(&target),
            lock: self
                .cache
                .join(".locks")
                .join(&self.name)
                .join(format!("{blob}.lock")),
            link: Some(folder.join("snapshots").join(commit).join(&file.name)),
            target,
        }
    }

    pub(super) fn revision(&self, revision: &str, commit: &str) -> Revision {
        Revision {
            file: self.cache.join(&self.name).join("refs").join(revision),
            commit: commit.to_owned(),
        }
    }
}

impl Place {
    /// A file by itself.
    pub(super) fn file(target: PathBuf) -> Self {
        let folder = target.parent().unwrap_or(Path::new(""));
        let mut lock = target.file_name().unwrap_or_default().to_owned();
        lock.push(".lock");
        Self {
            partial: beside(&target),
            lock: folder.join(".locks").join(lock),
            link: None,
            target,
        }
    }

    /// The name that it is used by.
    pub(super) fn path(&self) -> &Path {
        self.link.as_ref().unwrap_or(&self.target)
    }

    pub(super) fn partial(&self) -> &Path {
        &self.partial
    }

    pub(super) fn lock(&self) -> &Path {
        &self.lock
    }

    /// Whether it is there. Nothing gets this name before its hash was checked.
    pub(super) fn is_here(&self, size: u64) -> bool {
        fs::metadata(&self.target).is_ok_and(|file| file.is_file() && file.len() == size)
    }

    /// Whether what is there, if anything is, may be the file of this size and hash.
    pub(super) fn check(
        &self,
        size: u64,
        sha256: Option<&str>,
        cancel: &Cancel,
    ) -> Result<(), PullError> {
        let Ok(file) = fs::metadata(&self.target) else {
            return Ok(());
        };
        let taken = |reason| {
            let path = self.target.clone();
            Err(PullError::NameTaken { path, reason })
        };
        if file.len() != size {
            return taken(format!("{} bytes and not {size}", file.len()));
        }
        let Some(expected) = sha256 else {
            return Ok(());
        };
        let found = sha256::of_file(&self.target, &|| !cancel.is_cancelled());
        match found.map_err(PullError::io(&self.target))? {
            None => Err(PullError::Cancelled),
            Some(found) if found == expected => Ok(()),
            Some(found) => taken(format!("the hash {found} and not {expected}")),
        }
    }

    /// Gives what has come its name: from now on it is a file like any other.
    pub(super) fn name(&self) -> Result<(), PullError> {
        fs::rename(&self.partial, &self.target).map_err(PullError::io(&self.target))
    }

    /// Adds the name in the snapshot: a relative link, or the file itself where there are no links.
    pub(super) fn link(&self) -> Result<(), PullError> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        let folder = link.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder).map_err(PullError::io(folder))?;
        match make_link(&self.target, link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            outcome => outcome.map_err(PullError::io(link)),
        }
    }
}

impl Revision {
    /// Writes it down.
    pub(super) fn note(&self) -> Result<(), PullError> {
        replace(&self.file, self.commit.as_bytes()).map_err(PullError::io(&self.file))
    }
}

/// The name of what has come so far.
fn beside(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".");
    name.push(PARTIAL);
    name.into()
}

#[cfg(unix)]
fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    // From `snapshots/COMMIT/a/b` up to the repository and down into `blobs`.
    let repository = target.parent().and_then(Path::parent);
    let below = repository.and_then(|folder| link.strip_prefix(folder).ok());
    let (Some(below), Some(name)) = (below, target.file_name()) else {
        return std::os::unix::fs::symlink(target, link);
    };
    let up: PathBuf = below.iter().skip(1).map(|_| "..").collect();
    std::os::unix::fs::symlink(up.join("blobs").join(name), link)
}

#[cfg(not(unix))]
fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(target, link).or_else(|_| fs::copy(target, link).map(|_| ()))
}
