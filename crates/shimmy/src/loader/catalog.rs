//! Which models there are, and which of them a name means.
//!
//! Owns the base model's entry, the last look at the folders, and when to look again. Whatever
//! blocks on the disk says so; the rest answers from memory. It must not know what is loaded.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use shimmy_models::{
    AdapterFile, Discovery, ModelFile, NameError, Problem, ProblemReason, Roots, discover,
    is_called, resolve_among,
};
use shimmy_server::LoadError;

use super::HINT;
use super::pairing::AdapterEntry;
use super::problems;
use super::target::{Entry, Target};
use crate::backend;
use crate::config::Names;

/// How long an unknown name is taken for unknown before the folders are searched for it again:
/// nobody can keep the disk busy by asking for nonsense.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The models of this machine.
pub(super) struct Catalog {
    base: Option<PathBuf>,
    /// Adapters that the base model was given.
    loras: Vec<PathBuf>,
    roots: Roots,
    /// Further names of models, as the user has configured them.
    names: Names,
    /// What is known. The lock is held for look-ups only, never while the disk is read.
    state: RwLock<State>,
    /// Held while the base model's header is read, so that those who need it meanwhile wait for
    /// that one reading.
    opening: Mutex<()>,
    /// The same for the folders.
    looking: Mutex<()>,
    look_again: Duration,
}

#[derive(Default)]
struct State {
    base: Option<Reading>,
    found: Option<Arc<Found>>,
}

/// The last reading of the base model's header.
#[derive(Clone)]
struct Reading {
    outcome: Result<Arc<Entry>, LoadError>,
    ended: Instant,
}

/// A look at the folders.
pub(super) struct Found {
    /// In the order of their names, the base model among them.
    pub(super) models: Vec<Arc<Entry>>,
    /// In the order of their names, those of the base model among them.
    pub(super) adapters: Vec<Arc<AdapterEntry>>,
    /// Files that look like models and are none, with the reason.
    pub(super) problems: Vec<String>,
    /// Those of them that can be asked for: by the names of their files.
    unusable: Vec<(String, String)>,
    started: Instant,
    ended: Instant,
}

impl Catalog {
    /// A catalog that has not looked anywhere yet.
    pub(super) fn new(base: Option<PathBuf>, roots: Roots) -> Self {
        Self {
            base,
            loras: Vec::new(),
            roots,
            names: Names::default(),
            state: RwLock::default(),
            opening: Mutex::new(()),
            looking: Mutex::new(()),
            look_again: LOOK_AGAIN,
        }
    }

    /// The same with adapters that the base model was given, wherever they are.
    pub(super) fn with_loras(self, loras: Vec<PathBuf>) -> Self {
        Self { loras, ..self }
    }

    /// The same with further names for models.
    pub(super) fn with_names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// Whether the folders have been looked at. Does not block.
    pub(super) fn has_looked(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.found.is_some()
    }

    /// The model files that are known now. Does not block.
    pub(super) fn models(&self) -> Vec<Arc<Entry>> {
        let targets = self.list().into_iter();
        let entry = |target| match target {
            Target::File(entry) => Some(entry),
            Target::Stub => None,
        };
        targets.filter_map(entry).collect()
    }

    /// The adapters that are known now. Does not block.
    pub(super) fn adapters(&self) -> Vec<Arc<AdapterEntry>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let found = state.found.as_ref();
        found.map_or_else(Vec::new, |found| found.adapters.clone())
    }

    /// The adapter with this very name, as far as is known now. Does not block.
    pub(super) fn adapter(&self, name: &str) -> Option<Arc<AdapterEntry>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let adapters = &state.found.as_ref()?.adapters;
        let found = adapters.iter().find(|adapter| adapter.file.name == name);
        found.cloned()
    }

    /// The folders that are searched.
    pub(super) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Every model that is known now. Does not block.
    pub(super) fn list(&self) -> Vec<Target> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let models = match (&state.found, &state.base) {
            (Some(found), _) => found.models.clone(),
            (None, Some(reading)) => reading.outcome.iter().cloned().collect(),
            (None, None) => Vec::new(),
        };
        let stub = backend::HAS_STUB.then_some(Target::Stub);
        models.into_iter().map(Target::File).chain(stub).collect()
    }

    /// The model that a name means, by what is known now. Does not block.
    pub(super) fn glance(&self, name: Option<&str>) -> Result<Target, LoadError> {
        let name = self.meaning(name);
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let found = state.found.as_deref();
        let Some(name) = wanted(name) else {
            return match (&self.base, &state.base) {
                (Some(_), Some(reading)) => reading.outcome.clone().map(Target::File),
                (Some(path), None) => Err(LoadError::Failed {
                    name: path.display().to_string(),
                    reason: "it has not been read yet".to_owned(),
                }),
                (None, _) => only(found.map_or(&[], |found| &found.models)),
            };
        };
        if backend::HAS_STUB && name == backend::STUB_MODEL {
            return Ok(Target::Stub);
        }
        let base = state.base.as_ref().map(|reading| &reading.outcome);
        match (base, found) {
            // Its whole name is enough, so a start with a base model waits for no other file.
            (Some(Ok(base)), _) if base.file.name.eq_ignore_ascii_case(name) => {
                Ok(Target::File(Arc::clone(base)))
            }
            (_, found) => {
                let picked = pick(found.map_or(&[], |found| &found.models), name);
                picked.map_err(|error| match found {
                    Some(found) => found.explained(error, name),
                    None => error,
                })
            }
        }
    }

    /// What a name stands for that the user has configured, unless a model has it itself.
    fn meaning<'a>(&'a self, name: Option<&'a str>) -> Option<&'a str> {
        let asked = name?;
        let Some(meaning) = self.names.meaning(asked) else {
            return name;
        };
        let is_its_own = self
            .models()
            .iter()
            .any(|entry| is_called(asked, &entry.file.name));
        Some(if is_its_own { asked } else { meaning })
    }

    /// The same, reading what is not known yet, and looking again for what is not found. Blocks on
    /// the disk.
    pub(super) fn find(&self, name: Option<&str>) -> Result<Target, LoadError> {
        let asked = Instant::now();
        if let Ok(target) = self.glance(name) {
            return Ok(target);
        }
        let name = self.meaning(name);
        match (&self.base, wanted(name)) {
            (Some(path), None) => return self.read_base(path, asked).map(Target::File),
            (Some(path), Some(_)) if !self.has_looked() => {
                // The name may be the base model's. What is wrong with a base model is no answer
                // to a question for another one.
                let _ = self.read_base(path, asked);
                if let Ok(target) = self.glance(name) {
                    return Ok(target);
                }
            }
            _ => {}
        }
        self.found();
        match self.glance(name) {
            // A file that could not be read may have been replaced.
            Err(
                LoadError::NotFound { .. } | LoadError::NoModel { .. } | LoadError::Failed { .. },
            ) => {
                self.look_unless(|last| last.ended.elapsed() < self.look_again);
                self.glance(name)
            }
            outcome => outcome,
        }
    }

    /// The last look at the folders; the first one if there was none. Blocks on the disk.
    pub(super) fn found(&self) -> Arc<Found> {
        self.look_unless(|_| true)
    }

    /// Looks at the folders now. Blocks on the disk.
    pub(super) fn look(&self) -> Arc<Found> {
        let asked = Instant::now();
        // Whoever waits for a look finds what was there when he asked, so one look that starts
        // later than that is enough for all who wait.
        self.look_unless(|last| last.started >= asked)
    }

    /// The last look if it will do, else a new one; one at a time.
    fn look_unless(&self, will_do: impl Fn(&Found) -> bool) -> Arc<Found> {
        let last = || {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.found.clone().filter(|found| will_do(found))
        };
        if let Some(found) = last() {
            return found;
        }
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        last().unwrap_or_else(|| self.walk())
    }

    fn walk(&self) -> Arc<Found> {
        let started = Instant::now();
        // First, because it is what most requests are for.
        let base = self.base.as_deref();
        let base = base.and_then(|path| self.read_base(path, started).ok());
        let discovery = discover(&self.roots);
        problems::log(&discovery.problems);
        let found = Found::new(discovery, base.as_ref(), &self.loras, started);
        let found = Arc::new(found);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.found = Some(Arc::clone(&found));
        found
    }

    /// The base model, by its header as it is now, or as it was at a reading that ended after
    /// `asked`. Blocks on the disk.
    fn read_base(&self, path: &Path, asked: Instant) -> Result<Arc<Entry>, LoadError> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let last = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.base.clone()
        };
        if let Some(reading) = last.filter(|reading| reading.ended >= asked) {
            return reading.outcome;
        }
        let outcome = ModelFile::open(path)
            .map(|file| Arc::new(Entry::new(file, true)))
            .map_err(|error| LoadError::Failed {
                name: path.display().to_string(),
                reason: error.to_string(),
            });
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.base = Some(Reading {
            outcome: outcome.clone(),
            ended: Instant::now(),
        });
        outcome
    }
}

impl Found {
    fn new(
        discovery: Discovery,
        base: Option<&Arc<Entry>>,
        loras: &[PathBuf],
        started: Instant,
    ) -> Self {
        let Discovery {
            models,
            adapters,
            problems,
            ..
        } = discovery;
        let models = with_base(models, base);
        let given = given_adapters(base, loras);
        let mut adapters = AdapterEntry::list(adapters, &models);
        // What the base model was given goes by the name that its engine knows it by.
        let is_given = |adapter: &Arc<AdapterEntry>| {
            let is_it = |other: &Arc<AdapterEntry>| {
                other.key == adapter.key || other.file.name == adapter.file.name
            };
            given.iter().any(is_it)
        };
        adapters.retain(|adapter| !is_given(adapter));
        adapters.extend(given);
        adapters.sort_by(|left, right| left.file.name.cmp(&right.file.name));
        Self {
            models,
            adapters,
            unusable: problems.iter().filter_map(unusable).collect(),
            problems: problems.iter().map(ToString::to_string).collect(),
            started,
            ended: Instant::now(),
        }
    }

    /// Why there is no model of that name, where there is a file of it.
    fn explained(&self, error: LoadError, name: &str) -> LoadError {
        let LoadError::NotFound { .. } = &error else {
            return error;
        };
        let mut unusable = self.unusable.iter();
        match unusable.find(|(file, _)| is_called(name, file)) {
            Some((file, reason)) => LoadError::Failed {
                name: file.clone(),
                reason: reason.clone(),
            },
            None => error,
        }
    }
}

/// The name of a file that is no model, and why it is none.
fn unusable(problem: &Problem) -> Option<(String, String)> {
    let ProblemReason::Model(error) = &problem.reason else {
        return None;
    };
    let stem = problem.path.file_stem()?.to_str()?;
    Some((stem.to_owned(), error.to_string()))
}

/// The adapters of the base model. One that cannot be read is no adapter; why, the load of its
/// model says.
fn given_adapters(base: Option<&Arc<Entry>>, loras: &[PathBuf]) -> Vec<Arc<AdapterEntry>> {
    let Some(base) = base else {
        return Vec::new();
    };
    let files = loras.iter().filter_map(|path| AdapterFile::open(path).ok());
    files
        .map(|file| Arc::new(AdapterEntry::of(file, base)))
        .collect()
}

/// The models that were found and the base model, which keeps its plain name: it is what the user
/// was told at the start, before any other file was looked at. A namesake gets a number. Where it was
/// found too, it has the names there that users gave.
fn with_base(files: Vec<ModelFile>, base: Option<&Arc<Entry>>) -> Vec<Arc<Entry>> {
    let mut base = base.map(|base| Entry::clone(base.as_ref()));
    let mut others: Vec<Entry> = Vec::new();
    for file in files {
        let entry = Entry::new(file, false);
        match base.as_mut().filter(|base| base.key == entry.key) {
            Some(base) => base.file.aliases = entry.file.aliases,
            None => others.push(entry),
        }
    }
    if let Some(base) = &base {
        let plain = &base.file.name;
        let taken: Vec<String> = others.iter().map(|entry| entry.file.name.clone()).collect();
        let free = (2..)
            .map(|number| format!("{plain}-{number}"))
            .find(|name| !taken.contains(name));
        let namesake = others.iter_mut().find(|entry| entry.file.name == *plain);
        if let (Some(namesake), Some(free)) = (namesake, free) {
            namesake.file.name = free;
        }
    }
    let mut models: Vec<Arc<Entry>> = others.into_iter().chain(base).map(Arc::new).collect();
    models.sort_by(|left, right| left.file.name.cmp(&right.file.name));
    models
}

/// The name that is asked for; none means the default model, which has several ways to be meant.
fn wanted(name: Option<&str>) -> Option<&str> {
    name.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("default"))
}

/// The model that is meant when there is no base model and none is named.
fn only(models: &[Arc<Entry>]) -> Result<Target, LoadError> {
    match models {
        [] if backend::HAS_STUB => Ok(Target::Stub),
        [] => Err(LoadError::NoModel {
            hint: HINT.to_owned(),
        }),
        [only] => Ok(Target::File(Arc::clone(only))),
        several => {
            let names = several
                .iter()
                .map(|entry| entry.file.name.clone())
                .collect();
            Err(LoadError::NoDefault { names })
        }
    }
}

fn pick(models: &[Arc<Entry>], name: &str) -> Result<Target, LoadError> {
    let names = models
        .iter()
        .map(|entry| (entry.file.name.as_str(), entry.file.aliases.as_slice()));
    match resolve_among(name, names) {
        Ok(index) => Ok(Target::File(Arc::clone(&models[index]))),
        Err(NameError::Ambiguous { candidates, .. }) => Err(LoadError::Ambiguous {
            name: name.to_owned(),
            candidates,
        }),
        Err(NameError::NotFound { closest, .. }) => Err(LoadError::NotFound {
            name: name.to_owned(),
            suggestions: closest,
        }),
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
