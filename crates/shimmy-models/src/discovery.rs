//! Finds the models and adapters in the user's folders. Owns how files become models, each listed
//! once, and what belongs to what; must not know environment variables or how a name is looked up.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::capability::{self, Capability};
use crate::facts::Headers;
use crate::files::read_short;
use crate::gguf::FileKind;
use crate::header_cache::HeaderCache;
use crate::hub_path::HubPath;
use crate::roots::Roots;
use crate::shards::ShardName;
use crate::walk::{Candidate, Problem, ProblemReason, Walk};
use crate::{AdapterFile, Aliases, ModelError, ModelFile, ProjectorFile, names};

/// The longest file in `refs` of a Hugging Face cache: a revision.
const MAX_REVISION: u64 = 128;

/// All that was found.
#[derive(Debug, Default, Serialize)]
pub struct Discovery {
    /// The models, in the order of their names, incomplete ones included.
    pub models: Vec<ModelFile>,
    /// The adapters, in the order of their names.
    pub adapters: Vec<AdapterFile>,
    /// The projectors, in the order of their paths.
    pub projectors: Vec<ProjectorFile>,
    /// What could not be used, and why.
    pub problems: Vec<Problem>,
}

/// Searches the folders and reads the header of every GGUF file in them that is not remembered.
/// Blocks on the disk, for a few milliseconds per file. Never fails as a whole: what is wrong with
/// one file is a problem.
pub fn discover(roots: &Roots) -> Discovery {
    let walk = Walk::all(&roots.folders);
    let cache = roots.header_cache.as_deref().map(HeaderCache::open);
    let mut search = Search {
        headers: Headers::with_cache(cache.unwrap_or_default()),
        refused: walk.refused,
        known: HashMap::new(),
        found: Discovery {
            problems: walk.problems,
            ..Discovery::default()
        },
    };
    let mut split_models = BTreeSet::new();
    for candidate in walk.candidates {
        // The first part that the walk comes to stands for its model.
        let shard = ShardName::parse(&candidate.path);
        if shard.is_some_and(|shard| !split_models.insert(shard.parts())) {
            continue;
        }
        let path = candidate.path.clone();
        if let Err(error) = search.add(candidate) {
            search.found.problem(path, error.into());
        }
    }
    let Search {
        mut found, headers, ..
    } = search;
    found.name_apart();
    found.relate();
    if let Some(store) = &roots.store {
        found.name_as_told(store);
    }
    if let Err(error) = headers.into_cache().save() {
        let file = roots.header_cache.clone().unwrap_or_default();
        found.problem(file, ProblemReason::NotRemembered(error));
    }
    found
}

/// A discovery in the making.
struct Search {
    headers: Headers,
    refused: HashSet<PathBuf>,
    /// The models of each file that was read, by their places in the list.
    known: HashMap<Identity, Vec<usize>>,
    found: Discovery,
}

impl Search {
    fn add(&mut self, candidate: Candidate) -> Result<(), ModelError> {
        let Candidate {
            path,
            source,
            package,
        } = candidate;
        let (facts, file) = self.headers.facts(&path)?;
        match facts.kind {
            FileKind::Model => {}
            FileKind::Adapter => {
                self.found.adapters.push(AdapterFile::read(&path, source)?);
                return Ok(());
            }
            FileKind::Projector => {
                let projector = ProjectorFile::read(&path, source, &mut self.headers)?;
                self.found.projectors.push(projector);
                return Ok(());
            }
            // A companion of a model in a proper place; nothing that a user should be warned of.
            FileKind::Other => return Ok(()),
        }
        let known = self.known.entry(Identity::of(&file, &path)).or_default();
        if let Some(package) = &package {
            // Two names for one thing, such as two tags of one manifest.
            let same = known.iter().find(|&&at| {
                let other = &self.found.models[at];
                other.companions == package.companions && other.source == source
            });
            if let Some(&at) = same {
                let model = &mut self.found.models[at];
                model.aliases.push(package.name.clone());
                model.manifests.push(package.manifest.clone());
                return Ok(());
            }
        } else if !known.is_empty() {
            return Ok(());
        }
        let mut model = ModelFile::read(&path, source, &mut self.headers)?;
        // The link has its own problem; the model is not loaded through it.
        if model.shards.iter().any(|part| self.refused.contains(part)) {
            return Ok(());
        }
        if let Some(package) = package {
            model = model.with_package(package);
        } else if let Some(revision) = superseded(&path) {
            model.name = format!("{}@{revision}", model.name);
        }
        known.push(self.found.models.len());
        self.found.models.push(model);
        Ok(())
    }
}

impl Discovery {
    /// Makes names unique, among models and among adapters, and sorts by them.
    fn name_apart(&mut self) {
        self.models
            .sort_by(|left, right| left.path.cmp(&right.path));
        let named = self.models.iter().map(|m| (m.name.clone(), m.group()));
        let unique = names::disambiguate(&named.collect::<Vec<_>>());
        for (model, name) in self.models.iter_mut().zip(unique) {
            model.name = name;
        }
        self.models
            .sort_by(|left, right| left.name.cmp(&right.name));

        self.adapters
            .sort_by(|left, right| left.path.cmp(&right.path));
        let folder = |path: &Path| {
            let folder = path.parent().and_then(Path::file_name);
            folder.unwrap_or_default().to_string_lossy().into_owned()
        };
        let named = self
            .adapters
            .iter()
            .map(|a| (a.name.clone(), folder(&a.path)));
        let unique = names::disambiguate(&named.collect::<Vec<_>>());
        for (adapter, name) in self.adapters.iter_mut().zip(unique) {
            adapter.name = name;
        }
        self.adapters
            .sort_by(|left, right| left.name.cmp(&right.name));
    }

    /// Joins adapters and projectors with the models that they belong to.
    fn relate(&mut self) {
        for adapter in &mut self.adapters {
            let bases = self.models.iter().filter(|model| adapter.belongs_to(model));
            adapter.bases = bases.map(|model| model.name.clone()).collect();
        }
        self.projectors
            .sort_by(|left, right| left.path.cmp(&right.path));
        for model in &mut self.models {
            let fits = self
                .projectors
                .iter()
                .filter(|projector| projector.belongs_to(model));
            let paths: Vec<PathBuf> = fits.map(|projector| projector.path.clone()).collect();
            if !paths.is_empty() {
                capability::add(&mut model.summary.capabilities, [Capability::Vision]);
                model.companions.projectors.extend(paths);
            }
        }
    }

    /// Adds the names that users gave.
    fn name_as_told(&mut self, store: &Path) {
        match Aliases::read(store) {
            Ok(aliases) => {
                for (alias, path) in aliases.apply(&mut self.models) {
                    self.problem(path, ProblemReason::LostAlias(alias));
                }
            }
            Err(error) => self.problem(store.to_owned(), error.into()),
        }
    }

    fn problem(&mut self, path: PathBuf, reason: ProblemReason) {
        self.problems.push(Problem { path, reason });
    }
}

/// What tells a file from every other one, whatever its names are.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Identity {
    #[cfg(unix)]
    Inode { device: u64, inode: u64 },
    #[cfg(not(unix))]
    Path(PathBuf),
}

impl Identity {
    #[cfg(unix)]
    fn of(file: &fs::Metadata, _: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self::Inode {
            device: file.dev(),
            inode: file.ino(),
        }
    }

    #[cfg(not(unix))]
    fn of(_: &fs::Metadata, path: &Path) -> Self {
        Self::Path(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
    }
}

/// The beginning of the revision that a file of a Hugging Face cache is of, if its repository has a
/// newer one here.
fn superseded(path: &Path) -> Option<String> {
    let revision = HubPath::parse(path)?.revision;
    let snapshots = path.ancestors().find(|path| path.ends_with("snapshots"))?;
    let main = snapshots.parent()?.join("refs").join("main");
    // Without it, no revision is said to be the newest.
    let main = read_short(&main, MAX_REVISION).ok()?;
    let is_newest = String::from_utf8_lossy(&main).trim() == revision;
    (!is_newest).then(|| revision.chars().take(8).collect())
}
