//! Folders as programs leave them: stores with manifests, caches with links.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use shimmy_models::Discovery;
use shimmy_testkit::tiny;
use tempfile::{TempDir, tempdir};

/// A folder with canonical paths: a temporary folder may itself be behind a link.
pub(crate) fn folder() -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

/// Writes a file, and its folder.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn write_model(path: &Path) {
    write(path, tiny::Model::new().to_bytes());
}

pub(crate) fn names(found: &Discovery) -> Vec<&str> {
    let models = found.models.iter();
    models.map(|model| model.name.as_str()).collect()
}

pub(crate) fn problems(found: &Discovery) -> Vec<String> {
    found.problems.iter().map(ToString::to_string).collect()
}

/// An Ollama store. Its blobs are named as those of a store are; no test looks into the hashes.
pub(crate) struct OllamaStore {
    pub(crate) root: PathBuf,
}

impl OllamaStore {
    pub(crate) fn new(root: &Path) -> Self {
        fs::create_dir_all(root.join("manifests")).unwrap();
        fs::create_dir_all(root.join("blobs")).unwrap();
        Self {
            root: root.to_owned(),
        }
    }

    /// The digest of the blob of this number.
    pub(crate) fn digest(number: u8) -> String {
        format!("sha256:{}", format!("{number:02x}").repeat(32))
    }

    pub(crate) fn blob(&self, number: u8) -> PathBuf {
        let name = Self::digest(number).replace(':', "-");
        self.root.join("blobs").join(name)
    }

    pub(crate) fn write_blob(&self, number: u8, content: impl AsRef<[u8]>) -> &Self {
        write(&self.blob(number), content);
        self
    }

    /// Writes a manifest with these layers: what they are, and the number of their blob.
    pub(crate) fn write_manifest(&self, name: &str, layers: &[(&str, u8)]) -> &Self {
        let digests = layers
            .iter()
            .map(|&(kind, number)| (kind, Self::digest(number)));
        self.write_manifest_of(name, digests)
    }

    pub(crate) fn write_manifest_of<'a>(
        &self,
        name: &str,
        layers: impl Iterator<Item = (&'a str, String)>,
    ) -> &Self {
        let layer = |(kind, digest): (&str, String)| {
            let media_type = format!("application/vnd.ollama.image.{kind}");
            json!({ "mediaType": media_type, "digest": digest, "size": 1 })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "config": { "digest": Self::digest(0) },
            "layers": layers.map(layer).collect::<Vec<_>>(),
        });
        write(
            &self.root.join("manifests").join(name),
            manifest.to_string(),
        );
        self
    }
}
