//! Walks model folders. Owns which files are looked at, the limits of the walk and the refusal to
//! leave a folder; must not know what a GGUF file is, beyond its ending.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use serde::{Serialize, Serializer};

use crate::aliases::AliasError;
use crate::error::ModelError;
use crate::ollama::{self, ManifestError, Package};
use crate::roots::{Layout, Root, Source};
use crate::serial;

/// How many folders deep a walk goes below its root.
const MAX_DEPTH: usize = 8;
/// The same below a folder of Python packages, which are many and large.
const PACKAGE_DEPTH: usize = 2;
/// How many entries of folders are looked at below one root.
pub(crate) const MAX_ENTRIES: usize = 100_000;

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
            ProblemReason::Aliases(error) => error.fmt(formatter),
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
    /// A model folder that somebody has named and that is not there.
    #[error("there is no such folder")]
    Absent,
    /// A model folder that is no folder.
    #[error("it is not a folder")]
    NotAFolder,
    /// A manifest of Ollama's that does not lead to a model.
    #[error("it is no proper manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// What was read could not be written down for the next search, which will be slower.
    #[error("what was read cannot be remembered there: {0}")]
    NotRemembered(io::Error),
    /// The names that users gave cannot be read.
    #[error(transparent)]
    Aliases(#[from] AliasError),
    /// A name that a user gave to a file that is gone.
    #[error("it is named {0:?}, and it is not among the models")]
    LostAlias(String),
    /// A GGUF file that is not a model or adapter that can be used.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl Serialize for ProblemReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A file that may be a model, once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
    /// What a store says of it, where the file's own name says nothing.
    pub(crate) package: Option<Package>,
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
    roots: Vec<(PathBuf, Source)>,
}

impl Walk {
    /// Walks all roots, in their order. A root that does not exist is no problem, unless somebody named it.
    pub(crate) fn all(roots: &[Root]) -> Self {
        let mut walk = Self::default();
        for root in roots {
            match fs::canonicalize(&root.path) {
                Ok(path) if path.is_dir() => walk.roots.push((path, root.source)),
                Ok(_) => walk.problem(&root.path, ProblemReason::NotAFolder),
                Err(error) if is_absent(&error) && is_named(root.source) => {
                    walk.problem(&root.path, ProblemReason::Absent);
                }
                Err(error) if is_absent(&error) || is_closed(&error, root.source) => {}
                Err(error) => walk.problem(&root.path, error.into()),
            }
        }
        for (path, source) in walk.roots.clone() {
            match source.layout() {
                Layout::Ollama => ollama::search(&path, source, &mut walk),
                Layout::Tree if ollama::is_store(&path) => ollama::search(&path, source, &mut walk),
                layout => walk.root(&path, source, layout),
            }
        }
        // A file is listed under its own name, and under a link's only if the walk does not come
        // to the file itself: in a Hugging Face cache it is a blob without an ending.
        for (candidate, target) in std::mem::take(&mut walk.links) {
            walk.candidate(candidate, target);
        }
        walk
    }

    fn root(&mut self, root: &Path, source: Source, layout: Layout) {
        let mut folders = vec![(root.to_owned(), 0)];
        let mut entries = 0;
        while let Some((folder, depth)) = folders.pop() {
            if !self.seen.insert(folder.clone()) {
                continue;
            }
            for (path, kind) in self.entries(&folder) {
                entries += 1;
                if entries > MAX_ENTRIES {
                    self.problem(&path, ProblemReason::TooMany);
                    return;
                }
                if kind.is_symlink() {
                    self.link(path, source);
                } else if kind.is_dir() {
                    match enter(path, depth, layout) {
                        Ok(Some(path)) => folders.push((path, depth + 1)),
                        Ok(None) => {}
                        Err(path) => self.problem(&path, ProblemReason::TooDeep),
                    }
                } else if kind.is_file() && has_ending(&path) {
                    let target = path.clone();
                    self.candidate(Candidate::new(path, source), target);
                }
            }
        }
    }

    /// The entries of a folder in the order of their names: the result must not depend on the disk.
    pub(crate) fn entries(&mut self, folder: &Path) -> Vec<(PathBuf, fs::FileType)> {
        sorted_entries(folder).unwrap_or_else(|error| {
            self.problem(folder, error.into());
            Vec::new()
        })
    }

    /// A folder that a link leads to needs no walk: it is outside, or its root's walk finds it.
    fn link(&mut self, path: PathBuf, source: Source) {
        match fs::canonicalize(&path) {
            Ok(target) if self.holds(&target) => {
                if target.is_file() && has_ending(&path) {
                    self.links.push((Candidate::new(path, source), target));
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

    /// Whether the walk of some root may come to `target`.
    pub(crate) fn holds(&self, target: &Path) -> bool {
        self.roots.iter().any(|root| holds(root, target))
    }

    /// Adds a file, unless the file that it is in the end is there already.
    pub(crate) fn candidate(&mut self, candidate: Candidate, target: PathBuf) {
        if self.seen.insert(target) {
            self.candidates.push(candidate);
        }
    }

    pub(crate) fn problem(&mut self, path: &Path, reason: ProblemReason) {
        self.problems.push(Problem {
            path: path.to_owned(),
            reason,
        });
    }
}

/// Whether a root's walk may come to `target`; both without links.
pub(crate) fn holds((root, source): &(PathBuf, Source), target: &Path) -> bool {
    match source.layout() {
        Layout::Flat => target.parent() == Some(root),
        _ => target.starts_with(root),
    }
}

impl Candidate {
    fn new(path: PathBuf, source: Source) -> Self {
        Self {
            path,
            source,
            package: None,
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Whether somebody said that models are there; the other roots are where some might be.
fn is_named(source: Source) -> bool {
    matches!(source, Source::ModelDirs | Source::ModelPaths)
}

/// Whether a root is not there for this user: another one's service may keep its store to itself.
fn is_closed(error: &io::Error, source: Source) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && source == Source::Ollama
}

/// The folder to walk for a folder that the walk came to, perhaps one in it; `Err` of the folder if
/// it is too deep to be looked into.
fn enter(path: PathBuf, depth: usize, layout: Layout) -> Result<Option<PathBuf>, PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_model = name.starts_with("models--");
    if is_hidden(&path) || layout == Layout::Flat {
        return Ok(None);
    }
    match layout {
        Layout::HuggingFace if depth == 0 && !is_model => return Ok(None),
        Layout::Packages if depth >= PACKAGE_DEPTH || name.ends_with("-info") => return Ok(None),
        _ if depth >= MAX_DEPTH => return Err(path),
        _ => {}
    }
    if !is_model {
        return Ok(Some(path));
    }
    // A repository of a Hugging Face cache, wherever it is: its blobs come by their links.
    let snapshots = path.join("snapshots");
    Ok(Some(if is_plain_folder(&snapshots) {
        snapshots
    } else {
        path
    }))
}

fn is_plain_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.is_dir())
}

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
