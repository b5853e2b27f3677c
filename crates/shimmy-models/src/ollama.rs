//! Ollama's store: manifests, and the blobs that they name. Owns that layout and the checks on what
//! a manifest says; must not know what is in a model file.
//!
//! `manifests/HOST/NAMESPACE/MODEL/TAG` is JSON in the form of container images, whose layers are
//! `blobs/sha256-DIGITS`: <https://github.com/ollama/ollama/tree/main/manifest>.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::capability::{Capability, of_package_template};
use crate::files::read_short;
use crate::hub_path::is_sha256;
use crate::roots::Source;
use crate::serial;
use crate::walk::{Candidate, MAX_ENTRIES, ProblemReason, Walk};

/// The longest manifest and the longest template that are read.
const MAX_TEXT: u64 = 1 << 20;
/// The most layers of a manifest; real ones have up to ten.
const MAX_LAYERS: usize = 64;

/// What a manifest says of its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name as Ollama's users type it.
    pub(crate) name: String,
    /// The manifest that says it.
    pub(crate) manifest: PathBuf,
    pub(crate) companions: Companions,
    pub(crate) capabilities: Vec<Capability>,
}

/// Files that belong to a model: what its store says, or, for projectors, what lies beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Companions {
    /// LoRA adapters that make it the model that it is.
    #[serde(serialize_with = "serial::paths")]
    pub adapters: Vec<PathBuf>,
    /// What turns pictures into its embeddings.
    #[serde(serialize_with = "serial::paths")]
    pub projectors: Vec<PathBuf>,
    /// Its template in Go's template language.
    #[serde(serialize_with = "serial::optional_path")]
    pub template: Option<PathBuf>,
    /// What it is told before every conversation.
    #[serde(serialize_with = "serial::optional_path")]
    pub system: Option<PathBuf>,
    /// Its parameters, a JSON object.
    #[serde(serialize_with = "serial::optional_path")]
    pub params: Option<PathBuf>,
    /// Messages that every conversation goes on from, a JSON list.
    #[serde(serialize_with = "serial::optional_path")]
    pub messages: Option<PathBuf>,
    /// The texts of its licences.
    #[serde(serialize_with = "serial::paths")]
    pub licenses: Vec<PathBuf>,
}

/// Why a manifest leads to no model.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// It is not JSON of the right form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It has more layers than any proper one.
    #[error("it has {0} layers; at most {MAX_LAYERS} are accepted")]
    TooManyLayers(usize),
    /// A digest that is not the 64 lower-case hexadecimal digits of a SHA-256.
    #[error("{0} is no SHA-256 digest")]
    Digest(String),
    /// A blob that is not there.
    #[error("its blob {} is missing", .0.display())]
    MissingBlob(PathBuf),
    /// A blob that is a link to somewhere else.
    #[error("its blob {} leads out of the model folders", .0.display())]
    LeavesFolders(PathBuf),
}

/// What a manifest lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Layer {
    pub(crate) media_type: String,
    /// `sha256:` and the digits.
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) size: u64,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

/// What the kinds of layers of a model begin with.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.ollama.image.";

/// Ollama's own registry, and the namespace of its library: what names leave out.
const REGISTRY: &str = "registry.ollama.ai";
const LIBRARY: &str = "library";
/// The tag that names leave out.
const LATEST: &str = "latest";

/// The layers that a manifest lists.
pub(crate) fn layers(manifest: &Path) -> Result<Vec<Layer>, ManifestError> {
    let Manifest { layers } = serde_json::from_slice(&read_short(manifest, MAX_TEXT)?)?;
    match layers.len() {
        ..=MAX_LAYERS => Ok(layers),
        more => Err(ManifestError::TooManyLayers(more)),
    }
}

/// Whether a folder is such a store.
pub(crate) fn is_store(root: &Path) -> bool {
    root.join("manifests").is_dir() && root.join("blobs").is_dir()
}

/// Adds the models of the store in `root`, in an order that only their manifests' paths decide.
pub(crate) fn search(root: &Path, source: Source, walk: &mut Walk) {
    let mut entries = 0;
    let mut folders = vec![(root.join("manifests"), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for (path, kind) in walk.entries(&folder) {
            entries += 1;
            if entries > MAX_ENTRIES {
                walk.problem(&path, ProblemReason::TooMany);
                return;
            }
            // Host, namespace and model are folders, the tag is a file.
            if kind.is_dir() && depth < 3 {
                folders.push((path, depth + 1));
            } else if kind.is_file() && depth == 3 {
                add(root, source, &path, walk);
            }
        }
    }
}

fn add(root: &Path, source: Source, manifest: &Path, walk: &mut Walk) {
    let Some(name) = name_of(root, manifest) else {
        // A file that no model can be called after, such as `.DS_Store`.
        return;
    };
    match read(root, manifest, walk) {
        Ok(Some((path, mut package))) => {
            package.name = name;
            walk.candidates.push(Candidate {
                path,
                source,
                package: Some(package),
            });
        }
        // It runs on Ollama's own machines, or is stored in another format.
        Ok(None) => {}
        Err(error) => walk.problem(manifest, error.into()),
    }
}

/// `HOST/NAMESPACE/MODEL:TAG` without what Ollama leaves out: its own registry, the namespace of
/// its library, and the tag `latest`.
fn name_of(root: &Path, manifest: &Path) -> Option<String> {
    let below = manifest.strip_prefix(root.join("manifests")).ok()?;
    let parts: Vec<&str> = below.iter().filter_map(|part| part.to_str()).collect();
    let [host, namespace, model, tag] = parts[..] else {
        return None;
    };
    // A host may have a port.
    let is_proper = [namespace, model, tag].iter().all(|part| is_part(part))
        && is_part(&host.replace(':', "-"));
    if !is_proper {
        return None;
    }
    let mut name = match (host, namespace) {
        (REGISTRY, LIBRARY) => model.to_owned(),
        (REGISTRY, namespace) => format!("{namespace}/{model}"),
        _ => format!("{host}/{namespace}/{model}"),
    };
    if tag != LATEST {
        name = format!("{name}:{tag}");
    }
    Some(name)
}

/// The path below `manifests` of a model that is called this; none if none can be. Nothing in it
/// leads elsewhere.
pub(crate) fn path_of(name: &str) -> Option<PathBuf> {
    let (path, tag) = match name.rsplit_once(':') {
        // A colon before a slash is a host's port.
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (name, LATEST),
    };
    let parts: Vec<&str> = path.split('/').collect();
    let (host, namespace, model) = match parts[..] {
        [model] => (REGISTRY, LIBRARY, model),
        [namespace, model] => (REGISTRY, namespace, model),
        [host, namespace, model] => (host, namespace, model),
        _ => return None,
    };
    let all = [host, namespace, model, tag];
    all.iter()
        .all(|part| is_part(part))
        .then(|| all.iter().collect())
}

/// Whether a text is one part of a name, and a file's name that leads nowhere else.
fn is_part(part: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let mut bytes = part.bytes();
    let begins_well = part
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    part.len() <= 128 && begins_well && bytes.all(is_letter)
}

/// The model file of a manifest and what belongs to it; none if it has no model file.
fn read(
    root: &Path,
    manifest: &Path,
    walk: &Walk,
) -> Result<Option<(PathBuf, Package)>, ManifestError> {
    let mut model = None;
    let mut companions = Companions::default();
    for layer in &layers(manifest)? {
        let Some(kind) = layer.media_type.strip_prefix(MEDIA_TYPE) else {
            continue;
        };
        let blob = || blob(root, &layer.digest, walk);
        match kind {
            "model" if model.is_none() => model = Some(blob()?),
            "adapter" => companions.adapters.push(blob()?),
            "projector" => companions.projectors.push(blob()?),
            "template" => companions.template = Some(blob()?),
            "system" => companions.system = Some(blob()?),
            "params" => companions.params = Some(blob()?),
            "messages" => companions.messages = Some(blob()?),
            // A model runs without the text of its licence.
            "license" => companions.licenses.extend(blob().ok()),
            // What is to come.
            _ => {}
        }
    }
    let mut capabilities = Vec::new();
    if let Some(template) = companions.template.as_deref().filter(|_| model.is_some()) {
        let text = read_short(template, MAX_TEXT)?;
        capabilities = of_package_template(&String::from_utf8_lossy(&text));
    }
    if !companions.projectors.is_empty() {
        capabilities.push(Capability::Vision);
    }
    let package = Package {
        name: String::new(),
        manifest: manifest.to_owned(),
        companions,
        capabilities,
    };
    Ok(model.map(|model| (model, package)))
}

/// The file of a digest, which must be in a model folder in the end. The digest becomes a part of a
/// path, so nothing but a SHA-256 is let through.
fn blob(root: &Path, digest: &str, walk: &Walk) -> Result<PathBuf, ManifestError> {
    let digits = digest
        .strip_prefix("sha256:")
        .filter(|digits| is_sha256(digits));
    let digits = digits.ok_or_else(|| ManifestError::Digest(crate::text::quoted(digest)))?;
    let path = root.join("blobs").join(format!("sha256-{digits}"));
    match fs::canonicalize(&path) {
        Ok(target) if !walk.holds(&target) => Err(ManifestError::LeavesFolders(path)),
        Ok(_) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ManifestError::MissingBlob(path))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_manifest_lead_to_each_other() {
        let root = Path::new("/store");
        for (name, path) in [
            ("mine", "registry.ollama.ai/library/mine/latest"),
            ("mine:v1.0", "registry.ollama.ai/library/mine/v1.0"),
            ("me/Mine", "registry.ollama.ai/me/Mine/latest"),
            (
                "hf.co/Owner/Model-GGUF:Q4_K_M",
                "hf.co/Owner/Model-GGUF/Q4_K_M",
            ),
        ] {
            assert_eq!(path_of(name), Some(PathBuf::from(path)), "{name}");
            let manifest = root.join("manifests").join(path);
            assert_eq!(name_of(root, &manifest).as_deref(), Some(name));
        }
        assert_eq!(path_of("mine:latest"), path_of("mine"));
        let long = "a".repeat(129);
        for name in [
            "", ":", "..", "../mine", "a/../b", "a//b", "/a", "a/", "a:", "a:../b", "a/b/c/d",
            ".a", "-a", "a b", "a\\b", "a\0", "C:\\x", "ä", &long,
        ] {
            assert_eq!(path_of(name), None, "{name:?}");
        }
    }
}
