//! The adapters of a model in memory, which come and go while it answers: their names, how strongly
//! each applies, and who uses them.
//!
//! The lock is held for look-ups only, never across a wait or a call of the engine.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use shimmy_engine::{AdapterId, AdapterScale};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::loader::LoadError;

/// An adapter loaded into a model's engine.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterInfo {
    /// Its place in the engine.
    pub id: AdapterId,
    /// The name a request may use for it.
    pub name: String,
    /// Its file. Its folders are never shown to clients.
    pub path: PathBuf,
    /// How strongly it applies where a request does not say; 0 not at all.
    pub scale: f32,
}

/// Those of one model.
#[derive(Debug, Default)]
pub struct Adapters(RwLock<Vec<Entry>>);

#[derive(Debug, Clone)]
struct Entry {
    info: AdapterInfo,
    /// Counts the requests that use it.
    users: TaskTracker,
}

/// A request's use of adapters: none of them is unloaded while it lasts.
#[derive(Debug, Default)]
pub struct AdapterUse(#[expect(dead_code, reason = "it is for its drop")] Vec<TaskTrackerToken>);

/// An adapter that no new request gets.
#[derive(Debug)]
pub struct LeavingAdapter {
    /// What it was.
    pub info: AdapterInfo,
    users: TaskTracker,
}

impl LeavingAdapter {
    /// Waits until no request uses it any more.
    pub async fn unused(&self) {
        self.users.close();
        self.users.wait().await;
    }
}

impl From<Vec<AdapterInfo>> for Adapters {
    fn from(list: Vec<AdapterInfo>) -> Self {
        let adapters = Self::default();
        for info in list {
            adapters.add(info);
        }
        adapters
    }
}

impl Adapters {
    /// All of them, in the order of loading.
    pub fn all(&self) -> Vec<AdapterInfo> {
        self.read(|list| list.iter().map(|entry| entry.info.clone()).collect())
    }

    /// The one with this name.
    pub fn named(&self, name: &str) -> Option<AdapterInfo> {
        self.read(|list| {
            let found = list.iter().find(|entry| entry.info.name == name);
            found.map(|entry| entry.info.clone())
        })
    }

    /// Adds one that the engine has loaded.
    pub fn add(&self, info: AdapterInfo) {
        let users = TaskTracker::new();
        self.write(|list| list.push(Entry { info, users }));
    }

    /// Takes one away from requests to come.
    pub fn remove(&self, name: &str) -> Option<LeavingAdapter> {
        self.write(|list| {
            let at = list.iter().position(|entry| entry.info.name == name)?;
            let Entry { info, users } = list.remove(at);
            Some(LeavingAdapter { info, users })
        })
    }

    /// Those that apply where a request does not say, and their use.
    pub fn defaults(&self) -> (Vec<AdapterScale>, AdapterUse) {
        self.read(|list| {
            let active = list.iter().filter(|entry| entry.info.scale != 0.0);
            let (scales, tokens) = active
                .map(|Entry { info, users }| {
                    let (id, scale) = (info.id, info.scale);
                    (AdapterScale { id, scale }, users.token())
                })
                .unzip();
            (scales, AdapterUse(tokens))
        })
    }

    /// The use of these; the number of one that is not there, if any is not.
    pub fn hold(&self, chosen: &[AdapterScale]) -> Result<AdapterUse, AdapterId> {
        self.read(|list| {
            let token = |chosen: &AdapterScale| {
                let found = list.iter().find(|entry| entry.info.id == chosen.id);
                found.map(|entry| entry.users.token()).ok_or(chosen.id)
            };
            chosen.iter().map(token).collect::<Result<_, _>>()
        })
        .map(AdapterUse)
    }

    /// Sets how strongly these apply where a request does not say, and the others not at all; the
    /// number of one that is not there, if any is not, and then nothing changes.
    pub fn set_scales(&self, scales: &[AdapterScale]) -> Result<(), AdapterId> {
        self.write(|list| {
            let is_known = |id| list.iter().any(|entry| entry.info.id == id);
            if let Some(unknown) = scales.iter().find(|scale| !is_known(scale.id)) {
                return Err(unknown.id);
            }
            for entry in list {
                // The last word counts, as in llama-server.
                let scale = scales.iter().rfind(|scale| scale.id == entry.info.id);
                entry.info.scale = scale.map_or(0.0, |scale| scale.scale);
            }
            Ok(())
        })
    }

    fn read<T>(&self, look: impl FnOnce(&[Entry]) -> T) -> T {
        // Nothing can panic while the lock is held.
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is known of an adapter that requests may name, loaded or not.
#[derive(Debug, Clone, Default)]
pub struct AdapterListing {
    /// The name that requests use.
    pub name: String,
    /// The model that it is for; none where several are.
    pub parent: Option<String>,
    /// The name of its file, without folders.
    pub file: String,
    /// When its file was last changed.
    pub modified: Option<jiff::Timestamp>,
    /// Whether it is in memory now.
    pub loaded: bool,
}

/// An adapter that a client wants to have.
#[derive(Debug, Clone, Copy)]
pub struct NewAdapter<'a> {
    /// The name that requests shall use.
    pub name: &'a str,
    /// Its file, inside a folder that is searched for models, as the client wrote it.
    pub path: &'a str,
    /// The model that it is for; none where there is only one that it fits.
    pub base: Option<&'a str>,
}

/// Why an adapter cannot be had or given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterFailure {
    /// No adapter has that name.
    #[error("adapter '{name}' not found")]
    NotFound {
        /// The name.
        name: String,
    },
    /// There is one of that name, or a model.
    #[error("the name '{name}' is taken")]
    Taken {
        /// The name.
        name: String,
    },
    /// The path is not one that clients may name, or no adapter is there.
    #[error("{reason}")]
    Path {
        /// What is wrong with it; continues the sentence that starts with the field's name.
        reason: String,
    },
    /// It was made for another model.
    #[error("adapter '{name}' does not fit model '{model}': {reason}")]
    Foreign {
        /// The adapter.
        name: String,
        /// The model that was asked for.
        model: String,
        /// Why not.
        reason: String,
    },
    /// It fits several models, and none was named.
    #[error("adapter '{name}' fits several models")]
    Ambiguous {
        /// The adapter.
        name: String,
        /// The models.
        candidates: Vec<String>,
    },
    /// The engine cannot load it.
    #[error("load failed: {reason}")]
    Failed {
        /// The adapter.
        name: String,
        /// Why.
        reason: String,
    },
    /// Its model cannot be had.
    #[error(transparent)]
    Model(#[from] LoadError),
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn two() -> Adapters {
        let info = |id, scale| AdapterInfo {
            id: AdapterId(id),
            name: format!("a{id}"),
            path: PathBuf::new(),
            scale,
        };
        Adapters::from(vec![info(3, 1.0), info(5, 0.0)])
    }

    fn scale(id: u32, scale: f32) -> AdapterScale {
        let id = AdapterId(id);
        AdapterScale { id, scale }
    }

    #[test]
    fn whoever_takes_an_adapter_away_waits_for_its_users() {
        let adapters = two();
        let (defaults, by_default) = adapters.defaults();
        assert_eq!(defaults, [scale(3, 1.0)]);
        let held = adapters.hold(&[scale(3, 0.5), scale(5, 1.0)]).unwrap();
        let leaving = adapters.remove("a3").unwrap();
        assert!(adapters.named("a3").is_none() && adapters.remove("a3").is_none());
        assert_eq!(adapters.hold(&[scale(3, 1.0)]).unwrap_err(), AdapterId(3));
        assert!(leaving.unused().now_or_never().is_none());
        drop(by_default);
        assert!(leaving.unused().now_or_never().is_none());
        drop(held);
        assert!(leaving.unused().now_or_never().is_some());
        let unused = adapters.remove("a5").unwrap();
        assert!(unused.unused().now_or_never().is_some());
    }

    #[test]
    fn scales_are_set_all_at_once_or_not_at_all() {
        let adapters = two();
        let wrong = [scale(5, 1.0), scale(4, 1.0)];
        assert_eq!(adapters.set_scales(&wrong), Err(AdapterId(4)));
        assert_eq!(adapters.defaults().0, [scale(3, 1.0)]);
        let right = [scale(5, 1.0), scale(5, 0.25)];
        assert_eq!(adapters.set_scales(&right), Ok(()));
        assert_eq!(adapters.defaults().0, [scale(5, 0.25)]);
    }
}
