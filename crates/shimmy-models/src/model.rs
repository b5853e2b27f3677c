//! One model: a file, or the parts that it is split into. Owns what is known of it before it is
//! loaded; must not know how it was found.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::capability::{self, Capability};
use crate::error::ModelError;
use crate::facts::Headers;
use crate::gguf::{FileKind, Metadata, Split};
use crate::hub::Reference;
use crate::hub_path::{HubPath, digest_of_blob};
use crate::ollama::{Companions, Package};
use crate::roots::Source;
use crate::shards::ShardName;
use crate::{names, serial};

/// A model on disk, complete or not.
#[derive(Debug, Clone, Serialize)]
pub struct ModelFile {
    /// What clients call it. Unique within one discovery.
    pub name: String,
    /// Other names for it: those that users gave, and those that its store has for the same files.
    pub aliases: Vec<String>,
    /// The file to load: of a split model, the first part.
    #[serde(serialize_with = "serial::path")]
    pub path: PathBuf,
    /// The parts that are there, in order; empty for a model in one file.
    #[serde(serialize_with = "serial::paths")]
    pub shards: Vec<PathBuf>,
    /// The parts that are not; a model with any cannot be loaded.
    #[serde(serialize_with = "serial::paths")]
    pub missing: Vec<PathBuf>,
    /// The size of all parts that are there.
    pub size_bytes: u64,
    /// Where it was found.
    pub source: Source,
    /// The repository of a model hub that it was downloaded from, `OWNER/NAME`, if that is known.
    pub repository: Option<String>,
    /// `sha256:` and the digits of the (first) file, where its store names files so.
    pub digest: Option<String>,
    /// What its header says.
    #[serde(flatten)]
    pub summary: Summary,
    /// The files that belong to it.
    pub companions: Companions,
    /// The manifests that name it, in a store that has such.
    #[serde(skip)]
    pub manifests: Vec<PathBuf>,
    /// When any of its files was last changed.
    #[serde(serialize_with = "serial::seconds")]
    pub modified: SystemTime,
}

/// The part of a model's metadata that lists show. All unknown while the first part is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The architecture, such as `llama`.
    pub architecture: Option<String>,
    /// The name that its makers gave it.
    pub title: Option<String>,
    /// The number of weights; unknown while a part is missing.
    pub parameter_count: Option<u64>,
    /// The quantisation, such as `Q4_K_M`.
    pub quantization: Option<String>,
    /// The longest context it was made for, in tokens.
    pub context_length: Option<u64>,
    /// The width of its embeddings.
    pub embedding_length: Option<u64>,
    /// The number of its layers.
    pub layer_count: Option<u64>,
    /// Whether it brings a chat template.
    pub has_chat_template: bool,
    /// What it can do, as its metadata and templates tell.
    pub capabilities: Vec<Capability>,
    /// The names of the models that it was made from, if it says so.
    pub base_models: Vec<String>,
}

impl Summary {
    pub(crate) fn new(metadata: &Metadata) -> Self {
        let bases = metadata.base_models();
        Self {
            architecture: Some(metadata.architecture().to_owned()),
            title: metadata.name().map(ToOwned::to_owned),
            parameter_count: Some(metadata.parameter_count()),
            quantization: metadata.quantization().map(ToOwned::to_owned),
            context_length: metadata.context_length(),
            embedding_length: metadata.embedding_length(),
            layer_count: metadata.layer_count(),
            has_chat_template: metadata.chat_template().is_some(),
            capabilities: capability::of_metadata(metadata),
            base_models: bases.into_iter().map(ToOwned::to_owned).collect(),
        }
    }
}

impl ModelFile {
    /// The names that users gave to it beside those that it has by itself. What it was pulled by is one
    /// of its own.
    pub fn given_names(&self) -> Vec<&String> {
        let is_own = |alias: &String| match alias.parse() {
            Ok(Reference::Repository { repository, .. }) => self
                .repository
                .as_ref()
                .is_some_and(|own| own.eq_ignore_ascii_case(&repository)),
            _ => false,
        };
        self.aliases.iter().filter(|alias| !is_own(alias)).collect()
    }

    /// The model at a path that someone gave: a file, or any part of a split model. It is complete.
    /// Blocks on the disk, for a few milliseconds per part.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        // Said of the path that was given, before any of its siblings is looked at.
        if !path.exists() {
            return Err(ModelError::NotFound {
                path: path.to_owned(),
            });
        }
        let model = Self::read(path, Source::Given, &mut Headers::default())?;
        match model.missing.into_iter().next() {
            Some(path) => Err(ModelError::MissingShard { path }),
            None => Ok(Self {
                missing: Vec::new(),
                ..model
            }),
        }
    }

    /// The files of its weights, in order: itself, or the parts that are there.
    pub fn parts(&self) -> &[PathBuf] {
        match self.shards.as_slice() {
            [] => std::slice::from_ref(&self.path),
            shards => shards,
        }
    }

    /// The model that the file at `path` is, or is a part of, complete or not.
    pub(crate) fn read(
        path: &Path,
        source: Source,
        headers: &mut Headers,
    ) -> Result<Self, ModelError> {
        let Some(shard) = ShardName::parse(path) else {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let mut model = Self::empty(names::from_stem(&stem), path.to_owned(), source);
            model.add(path, None, headers)?;
            return Ok(model);
        };
        let parts = shard.parts();
        let first = parts.first().cloned().unwrap_or_default();
        let mut model = Self::empty(names::from_stem(shard.stem()), first, source);
        for (number, part) in (0..).zip(parts) {
            let split = Split {
                number,
                count: shard.count().into(),
            };
            match model.add(&part, Some(split), headers) {
                Ok(()) => model.shards.push(part),
                Err(ModelError::NotFound { path }) => model.missing.push(path),
                Err(error) => return Err(error),
            }
        }
        if !model.missing.is_empty() {
            model.summary.parameter_count = None;
        }
        Ok(model)
    }

    /// Adds what its store says of it.
    pub(crate) fn with_package(mut self, package: Package) -> Self {
        capability::add(&mut self.summary.capabilities, package.capabilities);
        Self {
            name: package.name,
            companions: package.companions,
            manifests: vec![package.manifest],
            ..self
        }
    }

    /// The families that its parts belong to: its architecture, and `clip` with a projector.
    pub fn families(&self) -> Vec<String> {
        let projector = (!self.companions.projectors.is_empty()).then(|| "clip".to_owned());
        self.summary
            .architecture
            .iter()
            .cloned()
            .chain(projector)
            .collect()
    }

    /// What tells it from its namesakes: the repository, or the folder, that it is in.
    pub(crate) fn group(&self) -> String {
        if let Some(repository) = &self.repository {
            return repository.clone();
        }
        let folder = self.path.parent().and_then(Path::file_name);
        match self.source {
            Source::Ollama => "ollama".to_owned(),
            _ => folder.unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    fn empty(name: String, path: PathBuf, source: Source) -> Self {
        // In a Hugging Face cache it is a link to a blob; blobs of Ollama's come by their own path.
        let blob = path.read_link();
        Self {
            name,
            aliases: Vec::new(),
            repository: HubPath::parse(&path).map(|hub| hub.repository),
            digest: digest_of_blob(blob.as_deref().unwrap_or(&path)),
            companions: Companions::default(),
            manifests: Vec::new(),
            path,
            shards: Vec::new(),
            missing: Vec::new(),
            size_bytes: 0,
            source,
            summary: Summary::default(),
            modified: UNIX_EPOCH,
        }
    }

    /// Adds what a file holds. `named` is the part that its name says it is.
    fn add(
        &mut self,
        path: &Path,
        named: Option<Split>,
        headers: &mut Headers,
    ) -> Result<(), ModelError> {
        let (facts, file) = headers.facts(path)?;
        let path = || path.to_owned();
        match facts.kind {
            FileKind::Model => {}
            FileKind::Adapter => return Err(ModelError::IsAdapter { path: path() }),
            FileKind::Projector | FileKind::Other => {
                return Err(ModelError::NotAModel { path: path() });
            }
        }
        check_split(facts.split, named).map_err(|inside| ModelError::MisnamedShard {
            path: path(),
            number: inside.number.saturating_add(1),
            count: inside.count,
        })?;
        self.size_bytes = self.size_bytes.saturating_add(file.len());
        self.modified = self.modified.max(file.modified().unwrap_or(UNIX_EPOCH));
        if named.is_none_or(|split| split.number == 0) {
            self.summary = facts.summary;
        } else if let Some(sum) = &mut self.summary.parameter_count {
            *sum = sum.saturating_add(facts.parameter_count);
        }
        Ok(())
    }
}

/// Checks that a file is the part that its name says; if not, returns the part that it is. A file
/// that only looks split, `…-00001-of-00001.gguf`, is fine either way.
fn check_split(inside: Option<Split>, named: Option<Split>) -> Result<(), Split> {
    let whole = Split {
        number: 0,
        count: 1,
    };
    let inside = inside.unwrap_or(whole);
    if inside == named.unwrap_or(whole) {
        Ok(())
    } else {
        Err(inside)
    }
}
