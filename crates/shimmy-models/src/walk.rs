//! Walks model folders. Owns which files are looked at, the limits of the walk and the refusal to
//! leave a folder; must not know what a GGUF file is, beyond its ending.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use serde::{Serialize, Serializer};

use crate::discovery::{Root, Source};
use crate::error::ModelError;
use crate::serial;

/// How many folders deep a walk goes below its root.
const MAX_DEPTH: usize = 8;
/// How many entries of folders one discovery looks at.
const MAX_ENTRIES: usize = 100_000;

/// Something in a model folder that should be a model and cannot be used. To be shown to the user
/// as a warning; it never hides other models.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// The file or folder.
    #[serde(serialize_with = "serial::path")]
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: ProblemReason,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            // It names the file, perhaps another one: the part of a split model that is at fault.
            ProblemReason::Model(error) => error.fmt(formatter),
            reason => write!(formatter, "{}: {reason}", self.path.display()),
        }
    }
}

/// Why something in a model folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum ProblemReason {
    /// A symbolic link whose target lies outside of all model folders.
    #[error("the link leads out of the model folders, to {}; it is not followed", .0.display())]
    LeavesFolders(PathBuf),
    /// A symbolic link or an entry that cannot be followed or read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A folder below the deepest that is looked at.
    #[error("folders more than {MAX_DEPTH} deep are not searched")]
    TooDeep,
    /// More entries than are looked at.
    #[error("the search ended here, after {MAX_ENTRIES} files and folders")]
    TooMany,
    /// A model folder that is no folder.
    #[error("it is not a folder")]
    NotAFolder,
    /// A GGUF file that is not a model or adapter that can be used.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl Serialize for ProblemReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A file with the right ending, once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) problems: Vec<Problem>,
    /// The links that are not followed. A split model must not reach them by its parts' names.
    pub(crate) refused: HashSet<PathBuf>,
    /// The true paths of the candidates and of the folders that were walked.
    seen: HashSet<PathBuf>,
    /// Links that lead to other places within the model folders, looked at after the files.
    links: Vec<(Candidate, PathBuf)>,
    entries: usize,
}

impl Walk {
    /// Walks all roots, in their order. A root that does not exist is no problem.
    pub(crate) fn all(roots: &[Root]) -> Self {
        let mut walk = Self::default();
        let mut real = Vec::new();
        for root in roots {
            match fs::canonicalize(&root.path) {
                Ok(path) if path.is_dir() => real.push((path, root.source)),
                Ok(_) => walk.problem(&root.path, ProblemReason::NotAFolder),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => walk.problem(&root.path, error.into()),
            }
        }
        for (path, source) in &real {
            walk.root(path, *source, &real);
        }
        // A file is listed under its own name, and under a link's only if the walk does not come
        // to the file itself: in a Hugging Face cache it is a blob without an ending.
        for (candidate, target) in std::mem::take(&mut walk.links) {
            walk.candidate(candidate, target);
        }
        walk
    }

    fn root(&mut self, root: &Path, source: Source, roots: &[(PathBuf, Source)]) {
        let mut folders = vec![(root.to_owned(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            if !self.seen.insert(folder.clone()) {
                continue;
            }
            let entries = match sorted_entries(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    self.problem(&folder, error.into());
                    continue;
                }
            };
            for (path, kind) in entries {
                self.entries += 1;
                if self.entries > MAX_ENTRIES {
                    // One entry says it; the walks of further roots end at their first entry.
                    if self.entries == MAX_ENTRIES + 1 {
                        self.problem(&path, ProblemReason::TooMany);
                    }
                    return;
                }
                if kind.is_symlink() {
                    self.link(path, source, roots);
                } else if kind.is_dir() {
                    match is_hidden(&path) || !source.has_subfolders() {
                        true => {}
                        false if depth < MAX_DEPTH => folders.push((path, depth + 1)),
                        false => self.problem(&path, ProblemReason::TooDeep),
                    }
                } else if kind.is_file() && has_ending(&path) {
                    let target = path.clone();
                    self.candidate(Candidate { path, source }, target);
                }
            }
        }
    }

    /// A folder that a link leads to needs no walk: it is outside, or its root's walk finds it.
    fn link(&mut self, path: PathBuf, source: Source, roots: &[(PathBuf, Source)]) {
        match fs::canonicalize(&path) {
            Ok(target) if roots.iter().any(|root| holds(root, &target)) => {
                if target.is_file() && has_ending(&path) {
                    self.links.push((Candidate { path, source }, target));
                }
            }
            Ok(target) if target.is_dir() || has_ending(&path) => {
                self.problem(&path, ProblemReason::LeavesFolders(target));
                self.refused.insert(path);
            }
            Err(error) if has_ending(&path) => self.problem(&path, error.into()),
            Ok(_) | Err(_) => {}
        }
    }

    fn candidate(&mut self, candidate: Candidate, target: PathBuf) {
        if self.seen.insert(target) {
            self.candidates.push(candidate);
        }
    }

    fn problem(&mut self, path: &Path, reason: ProblemReason) {
        self.problems.push(Problem {
            path: path.to_owned(),
            reason,
        });
    }
}

/// Whether a root's walk may come to `target`; both without links.
pub(crate) fn holds((root, source): &(PathBuf, Source), target: &Path) -> bool {
    if source.has_subfolders() {
        target.starts_with(root)
    } else {
        target.parent() == Some(root)
    }
}

/// The entries of a folder in the order of their names: the result must not depend on the disk.
fn sorted_entries(folder: &Path) -> io::Result<Vec<(PathBuf, fs::FileType)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)?.take(MAX_ENTRIES + 1) {
        let entry = entry?;
        entries.push((entry.path(), entry.file_type()?));
    }
    entries.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(entries)
}

fn has_ending(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    ending.eq_ignore_ascii_case("gguf") && !is_hidden(path)
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}
