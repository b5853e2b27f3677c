//! The room on the disk. Owns the question to the system; must not know what is written.

use std::path::Path;

use super::{HubSettings, PullError};

/// Checks that the folder that downloads go to has room for `needed` bytes.
pub(super) fn check(settings: &HubSettings, needed: u64) -> Result<(), PullError> {
    let folder = &settings.cache;
    let Some(available) = free_bytes(folder) else {
        // Not every system says; a write that fails does.
        return Ok(());
    };
    let wanted = needed.saturating_add(settings.limits.spare_bytes);
    if needed == 0 || wanted <= available {
        return Ok(());
    }
    Err(PullError::DiskFull {
        folder: folder.clone(),
        needed,
        available,
    })
}

/// What it means that the system had no room for a file of which so many bytes were missing.
pub(super) fn full(file: &Path, needed: u64) -> PullError {
    let folder = file.parent().unwrap_or(Path::new("."));
    PullError::DiskFull {
        folder: folder.to_owned(),
        needed,
        available: free_bytes(folder).unwrap_or(0),
    }
}

/// The bytes that may still be written where a folder is or will be; none if the system does not say.
#[cfg(unix)]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|path| path.is_dir())?;
    let facts = rustix::fs::statvfs(existing).ok()?;
    facts.f_bavail.checked_mul(facts.f_frsize)
}

/// As above, of a system that is not asked.
#[cfg(not(unix))]
pub fn free_bytes(_: &Path) -> Option<u64> {
    None
}
