//! Where Python environments keep their packages.

use std::path::{Path, PathBuf};

/// How many entries of a `lib` folder are looked at for Python's: `/usr/lib` has thousands.
const MAX_LIBRARIES: usize = 10_000;

/// The folder that a program is installed under, if it is one of a Python environment.
pub(super) fn prefix_of(program: &Path) -> Option<&Path> {
    let folder = program.parent()?;
    let is_bin = folder.ends_with("bin") || folder.ends_with("Scripts");
    is_bin.then(|| folder.parent()).flatten()
}

/// `lib/python3.*/site-packages` below a prefix, or Windows' `Lib/site-packages`; there are few.
pub(super) fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let windows = prefix.join("Lib").join("site-packages");
    if cfg!(windows) {
        return vec![windows];
    }
    let Ok(entries) = std::fs::read_dir(prefix.join("lib")) else {
        return Vec::new();
    };
    let is_python = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b"python3")
    };
    let mut folders: Vec<PathBuf> = entries
        .take(MAX_LIBRARIES)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_python)
        .map(|path| path.join("site-packages"))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}
