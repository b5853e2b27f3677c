//! Models that are made here of others, with what they are told and how they are asked. Owns the
//! folder that they are kept in, laid out as Ollama's store is; must not know who makes them.
//!
//! A model is a manifest, its parts are blobs that are named by their SHA-256. A file that is here
//! already is not copied: its blob is one more name for it.

mod blob;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;

pub use self::blob::NewBlob;
use crate::files::replace;
use crate::hub_path::is_sha256;
use crate::ollama::{self, Layer, MEDIA_TYPE, ManifestError};
use crate::remove::{Removal, RemoveError};
use crate::sha256;
use crate::text::quoted;

/// The most manifests that are looked at.
const MAX_MANIFESTS: usize = 100_000;

/// The folder of models that were made here.
#[derive(Debug, Clone)]
pub struct Packages {
    root: PathBuf,
}

/// What a part of a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// The weights.
    Model,
    /// An adapter that is always applied.
    Adapter,
    /// What makes embeddings of pictures.
    Projector,
    /// How conversations are written, in Go's template language or in Jinja.
    Template,
    /// What it is told before every conversation.
    System,
    /// How it is asked, a JSON object.
    Params,
    /// Messages that every conversation goes on from, a JSON list.
    Messages,
    /// The text of a licence.
    License,
}

/// A part that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    kind: PartKind,
    digits: String,
    size: u64,
}

/// Why a model cannot be made, named or taken away.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A text that no model can be called.
    #[error("{0} cannot be a model's name")]
    NotAName(String),
    /// What came is not what its digest says.
    #[error("its SHA-256 is {found}")]
    WrongContent {
        /// That of what came.
        found: String,
    },
    /// It was ended from outside.
    #[error("it was cancelled")]
    Cancelled,
    /// A manifest is damaged.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// The disk refuses.
    #[error("{} cannot be written: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A part cannot be taken away.
    #[error(transparent)]
    Remove(#[from] RemoveError),
}

impl PackageError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}

impl Packages {
    /// The models in this folder, which need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Whether a model can be called this.
    pub fn check_name(name: &str) -> Result<(), PackageError> {
        match ollama::path_of(name) {
            Some(_) => Ok(()),
            None => Err(PackageError::NotAName(quoted(name))),
        }
    }

    /// Whether there is a model with this name, upper or lower case.
    pub fn has(&self, name: &str) -> bool {
        self.manifest(name).is_some()
    }

    /// The file of a blob that is here, whole, by the digits of its SHA-256.
    pub fn blob(&self, digits: &str) -> Option<PathBuf> {
        let path = is_sha256(digits).then(|| self.blob_path(digits))?;
        path.is_file().then_some(path)
    }

    /// A blob that is to come.
    pub fn new_blob(&self) -> Result<NewBlob, PackageError> {
        NewBlob::begin(self.blobs())
    }

    /// A part that is a short text.
    pub fn add_text(&self, kind: PartKind, text: &[u8]) -> Result<Part, PackageError> {
        let mut blob = self.new_blob()?;
        blob.write(text)?;
        let (digits, size) = blob.keep()?;
        Ok(Part { kind, digits, size })
    }

    /// A part that is a file. If nobody knows its SHA-256 it is computed, for as long as it is
    /// wanted.
    pub fn add_file(
        &self,
        kind: PartKind,
        path: &Path,
        digits: Option<&str>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Part, PackageError> {
        let failed = || PackageError::io(path);
        let real = path.canonicalize().map_err(failed())?;
        let size = fs::metadata(&real).map_err(failed())?.len();
        let digits = match digits.filter(|digits| is_sha256(digits)) {
            Some(digits) => digits.to_owned(),
            None => sha256::of_file(&real, is_wanted)
                .map_err(failed())?
                .ok_or(PackageError::Cancelled)?,
        };
        let blob = self.blob_path(&digits);
        if !blob.is_file() {
            fs::create_dir_all(self.blobs()).map_err(PackageError::io(self.blobs()))?;
            // What is there is a link to a file that is gone.
            let _ = fs::remove_file(&blob);
            link(&real, &blob).map_err(PackageError::io(&blob))?;
        }
        Ok(Part { kind, digits, size })
    }

    /// Makes a model of its parts, in place of one with the same name.
    pub fn put(&self, name: &str, parts: &[Part]) -> Result<(), PackageError> {
        let layers = parts.iter().map(Part::layer).collect();
        self.write(name, layers)
    }

    /// Gives a model one more name; false if there is none that is called `source`.
    pub fn copy(&self, source: &str, destination: &str) -> Result<bool, PackageError> {
        let Some(manifest) = self.manifest(source) else {
            return Ok(false);
        };
        let layers = layers(&manifest)?;
        self.write(destination, layers)?;
        Ok(true)
    }

    /// Takes a model away, and what no other one needs of it; false if there is none.
    pub fn remove(&self, name: &str) -> Result<bool, PackageError> {
        let Some(removal) = self.removal(name) else {
            return Ok(false);
        };
        removal.run()?;
        Ok(true)
    }

    /// What taking a model away takes; none if there is none.
    pub fn removal(&self, name: &str) -> Option<Removal> {
        let manifest = self.manifest(name)?;
        Some(Removal::of_manifests(&[manifest]))
    }

    /// Takes blobs away that came this long ago, or did not come whole, and that no model needs.
    pub fn sweep(&self, age: Duration) -> Result<(), PackageError> {
        let Ok(entries) = fs::read_dir(self.blobs()) else {
            return Ok(());
        };
        let mut needed = HashSet::new();
        for manifest in self.manifests() {
            // One that cannot be read may need any of them.
            needed.extend(
                layers(&manifest)?
                    .iter()
                    .map(|layer| self.layer_path(layer)),
            );
        }
        let now = SystemTime::now();
        for path in entries.flatten().map(|entry| entry.path()) {
            let changed = fs::symlink_metadata(&path).and_then(|file| file.modified());
            let is_old = changed
                .is_ok_and(|changed| now.duration_since(changed).is_ok_and(|since| since > age));
            if is_old && !needed.contains(&path) {
                fs::remove_file(&path).map_err(PackageError::io(&path))?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, layers: Vec<Layer>) -> Result<(), PackageError> {
        let below = ollama::path_of(name).ok_or_else(|| PackageError::NotAName(quoted(name)))?;
        let path = self.root.join("manifests").join(below);
        // The old one's name may be written in other letters.
        let old = self.manifest(name);
        let kept: HashSet<PathBuf> = layers.iter().map(|layer| self.layer_path(layer)).collect();
        let gone = old
            .as_ref()
            .map(|old| needed_only_by(std::slice::from_ref(old)));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "layers": layers,
        });
        replace(&path, manifest.to_string().as_bytes()).map_err(PackageError::io(&path))?;
        if let Some(old) = old.filter(|old| *old != path) {
            fs::remove_file(&old).map_err(PackageError::io(&old))?;
        }
        for blob in gone
            .into_iter()
            .flatten()
            .filter(|blob| !kept.contains(blob))
        {
            fs::remove_file(&blob).map_err(PackageError::io(&blob))?;
        }
        Ok(())
    }

    fn manifest(&self, name: &str) -> Option<PathBuf> {
        let wanted = self.root.join("manifests").join(ollama::path_of(name)?);
        if wanted.is_file() {
            return Some(wanted);
        }
        let wanted = wanted.as_os_str();
        self.manifests()
            .into_iter()
            .find(|path| path.as_os_str().eq_ignore_ascii_case(wanted))
    }

    fn manifests(&self) -> Vec<PathBuf> {
        manifests(&self.root)
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    fn blob_path(&self, digits: &str) -> PathBuf {
        self.blobs().join(format!("sha256-{digits}"))
    }

    fn layer_path(&self, layer: &Layer) -> PathBuf {
        blob_of(&self.root, layer)
    }
}

impl Part {
    /// The digits of its SHA-256.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    fn layer(&self) -> Layer {
        let kind = match self.kind {
            PartKind::Model => "model",
            PartKind::Adapter => "adapter",
            PartKind::Projector => "projector",
            PartKind::Template => "template",
            PartKind::System => "system",
            PartKind::Params => "params",
            PartKind::Messages => "messages",
            PartKind::License => "license",
        };
        Layer {
            media_type: format!("{MEDIA_TYPE}{kind}"),
            digest: format!("sha256:{}", self.digits),
            size: self.size,
        }
    }
}

/// The blobs of manifests of one store that no other manifest there needs. None where that cannot
/// be known.
pub(crate) fn needed_only_by(going: &[PathBuf]) -> Vec<PathBuf> {
    let root = going
        .first()
        .and_then(|manifest| manifest.ancestors().nth(5));
    let Some(root) = root else {
        return Vec::new();
    };
    let mut blobs = HashSet::new();
    for manifest in going {
        let Ok(layers) = ollama::layers(manifest) else {
            return Vec::new();
        };
        blobs.extend(layers.iter().map(|layer| blob_of(root, layer)));
    }
    for manifest in manifests(root).iter().filter(|path| !going.contains(path)) {
        let Ok(layers) = ollama::layers(manifest) else {
            return Vec::new();
        };
        for layer in &layers {
            blobs.remove(&blob_of(root, layer));
        }
    }
    let mut blobs: Vec<PathBuf> = blobs.into_iter().collect();
    blobs.sort();
    blobs
}

/// The file of a layer. A digest that is none leads to a file that nobody has.
fn blob_of(root: &Path, layer: &Layer) -> PathBuf {
    let digits = layer.digest.strip_prefix("sha256:");
    let digits = digits
        .filter(|digits| is_sha256(digits))
        .unwrap_or_default();
    root.join("blobs").join(format!("sha256-{digits}"))
}

fn layers(manifest: &Path) -> Result<Vec<Layer>, PackageError> {
    ollama::layers(manifest).map_err(|source| PackageError::Manifest {
        path: manifest.to_owned(),
        source,
    })
}

/// `manifests/HOST/NAMESPACE/MODEL/TAG`, as far as folders can be read.
fn manifests(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.join("manifests")];
    for _ in 0..4 {
        let folders = found.iter().filter_map(|folder| fs::read_dir(folder).ok());
        let entries = folders.flatten().flatten();
        found = entries
            .map(|entry| entry.path())
            .take(MAX_MANIFESTS)
            .collect();
    }
    found
}

/// One more name for a file, which outlives the first where the disk can do that.
fn link(file: &Path, name: &Path) -> io::Result<()> {
    let Err(error) = fs::hard_link(file, name) else {
        return Ok(());
    };
    #[cfg(unix)]
    if error.kind() != io::ErrorKind::AlreadyExists {
        return std::os::unix::fs::symlink(file, name);
    }
    Err(error)
}
