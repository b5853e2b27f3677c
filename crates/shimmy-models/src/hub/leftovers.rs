//! What downloads have left behind that did not come to their end. Owns where to look; must not
//! know whether one of them is under way.

use std::fs;
use std::path::{Path, PathBuf};

use super::layout::PARTIAL;

/// A file of which not all has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What has come of it.
    pub path: PathBuf,
    /// What that takes on the disk.
    pub bytes: u64,
}

/// Those in a cache of Hugging Face's layout and in a folder of plain files.
pub fn leftovers(cache: &Path, store: &Path) -> Vec<Leftover> {
    let repositories = entries(cache).filter(|path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b"models--")
    });
    let blobs = repositories.map(|repository| repository.join("blobs"));
    let is_partial = |path: &PathBuf| path.extension().is_some_and(|ending| ending == PARTIAL);
    let mut found: Vec<Leftover> = blobs
        .chain([store.to_owned()])
        .flat_map(|folder| entries(&folder).collect::<Vec<_>>())
        .filter(is_partial)
        .map(|path| Leftover {
            bytes: taken(&path),
            path,
        })
        .collect();
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

/// What is in a folder; one that cannot be read has nothing in it.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// A file in parts has its full length from the start, and gaps that take nothing.
fn taken(path: &Path) -> u64 {
    let Ok(facts) = fs::symlink_metadata(path) else {
        return 0;
    };
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::blocks(&facts) * 512;
    #[cfg(not(unix))]
    facts.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_finished_is_found_in_both_places() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, store) = (folder.path().join("hub"), folder.path().join("store"));
        let blobs = cache.join("models--a--b").join("blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::create_dir_all(&store).unwrap();
        fs::write(blobs.join("whole"), "x").unwrap();
        let partial = blobs.join(format!("abc.{PARTIAL}"));
        fs::write(&partial, "x").unwrap();
        let other = store.join(format!("m.gguf.{PARTIAL}"));
        fs::File::create(&other).unwrap().set_len(1 << 30).unwrap();
        let found = leftovers(&cache, &store);
        let paths: Vec<&PathBuf> = found.iter().map(|leftover| &leftover.path).collect();
        assert_eq!(paths, [&partial, &other]);
        assert!(found[1].bytes < 1 << 20, "gaps take nothing");
        assert_eq!(leftovers(Path::new("/nowhere"), Path::new("/nowhere")), []);
    }
}
