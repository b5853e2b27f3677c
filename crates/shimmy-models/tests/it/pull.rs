//! Downloads from a hub that behaves and from one that does not.

mod hostile;
mod interrupted;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shimmy_models::hub::{
    Cancel, Hub, HubSettings, Plan, Progress, PullError, PullLimits, Reference,
};
use shimmy_models::{Removal, Roots, Source, discover};
use shimmy_testkit::hub::{Behaviour, COMMIT, FakeHub};
use shimmy_testkit::sha256::sha256;
use shimmy_testkit::tiny;
use tempfile::TempDir;

use crate::support::names;

const CHUNK: u64 = 64 << 10;

/// A hub with a model, and the folders of somebody who wants it.
struct World {
    hub: FakeHub,
    _dir: TempDir,
    root: PathBuf,
    content: Vec<u8>,
    settings: HubSettings,
}

impl World {
    fn new() -> Self {
        let hub = FakeHub::start().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let content = tiny::Model::new().to_bytes();
        hub.add("o/r", "Tiny-Q4_K_M.gguf", content.clone());
        let mut settings = HubSettings::new(root.join("hub"), root.join("store"));
        settings.endpoint = hub.url();
        settings.limits = PullLimits {
            chunk_bytes: CHUNK,
            attempts: 3,
            backoff: Duration::from_millis(1),
            longest_backoff: Duration::from_millis(5),
            stall_timeout: Duration::from_millis(300),
            spare_bytes: 0,
            ..PullLimits::default()
        };
        Self {
            hub,
            _dir: dir,
            root,
            content,
            settings,
        }
    }

    fn downloader(&self) -> Hub {
        Hub::new(self.settings.clone(), Cancel::default())
    }

    fn plan(&self) -> Result<Plan, PullError> {
        self.downloader().plan(&reference("o/r"))
    }

    fn pull(&self) -> Result<Vec<PathBuf>, PullError> {
        self.pull_and_watch(&mut |_| ())
    }

    fn pull_and_watch(&self, watch: &mut dyn FnMut(Progress)) -> Result<Vec<PathBuf>, PullError> {
        let plan = self.plan()?;
        self.downloader().fetch(&plan, watch)
    }

    fn listed(&self) -> Vec<String> {
        let mut roots = Roots::new();
        roots.add(self.root.join("hub"), Source::HuggingFace);
        roots.add(self.root.join("store"), Source::Store);
        let found = discover(&roots);
        names(&found).into_iter().map(str::to_owned).collect()
    }

    /// Nothing is listed, and nothing has the name of a whole file.
    fn assert_nothing_came(&self) {
        assert!(self.listed().is_empty());
        let blobs = self.root.join("hub/models--o--r/blobs");
        let whole = blobs.join(sha256(&self.content));
        assert!(!whole.exists());
    }
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn files_lie_as_hugging_faces_tools_lay_them() {
    let world = World::new();
    let plan = world.plan().unwrap();
    assert_eq!(plan.reference, "o/r:Q4_K_M");
    assert_eq!(plan.missing_bytes, world.content.len() as u64);
    assert!(!world.root.join("hub").exists(), "a plan writes nothing");
    let mut events = Vec::new();
    let paths = world
        .pull_and_watch(&mut |event| events.push(event))
        .unwrap();
    let repository = world.root.join("hub/models--o--r");
    let link = repository.join(format!("snapshots/{COMMIT}/Tiny-Q4_K_M.gguf"));
    assert_eq!(paths, std::slice::from_ref(&link));
    assert_eq!(fs::read(&link).unwrap(), world.content);
    let digest = sha256(&world.content);
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(&link).unwrap(),
        Path::new("../../blobs").join(&digest)
    );
    assert_eq!(
        fs::read_to_string(repository.join("refs/main")).unwrap(),
        COMMIT
    );
    let blobs = fs::read_dir(repository.join("blobs")).unwrap();
    assert_eq!(blobs.count(), 1, "nothing is left over");
    assert_eq!(world.listed(), ["tiny-q4-k-m"]);
    let finished = Progress::Finished {
        file: "Tiny-Q4_K_M.gguf".to_owned(),
        sha256: digest,
        is_verified: true,
    };
    assert_eq!(events.last(), Some(&finished));
    assert!(events.iter().any(|event| matches!(event,
        Progress::Fetching { done_bytes, size_bytes, .. } if done_bytes == size_bytes)));

    let sent = world.hub.sent();
    assert!(world.plan().unwrap().files[0].is_here);
    world.pull().unwrap();
    assert_eq!(world.hub.sent(), sent, "what is here is not fetched");
}

#[test]
fn a_split_model_comes_whole() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let parts = tiny::Model::new()
        .write_shards(dir.path(), "big-Q8_0", 3)
        .unwrap();
    for part in &parts {
        let name = part.file_name().unwrap().to_str().unwrap();
        world
            .hub
            .add("o/split", &format!("sub/{name}"), fs::read(part).unwrap());
    }
    let plan = world.downloader().plan(&reference("o/split:q8_0")).unwrap();
    assert_eq!(plan.files.len(), 3);
    world.downloader().fetch(&plan, &mut |_| ()).unwrap();
    assert_eq!(world.listed(), ["big-q8-0"]);
}

#[test]
fn a_full_disk_is_told_before_anything_is_written() {
    let mut world = World::new();
    world.settings.limits.spare_bytes = u64::MAX / 2;
    let error = world.pull().unwrap_err();
    let size = world.content.len() as u64;
    assert!(
        matches!(error, PullError::DiskFull { needed, .. } if needed == size),
        "{error}"
    );
    assert!(!world.root.join("hub").exists());
    assert_eq!(world.hub.sent(), 0);
}

#[test]
fn two_downloads_of_one_file_fetch_it_once() {
    let world = World::new();
    let plan = world.plan().unwrap();
    let waited = std::sync::Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (world, plan, waited) = (&world, &plan, &waited);
            scope.spawn(move || {
                let watch = &mut |event| {
                    if matches!(event, Progress::Waiting { .. }) {
                        waited.lock().unwrap().insert(number);
                    }
                };
                world.downloader().fetch(plan, watch).unwrap();
            });
        }
    });
    assert_eq!(world.hub.sent(), world.content.len());
    assert_eq!(world.listed(), ["tiny-q4-k-m"]);
}

#[test]
fn a_file_from_elsewhere_is_checked_as_far_as_can_be() {
    let world = World::new();
    let url = format!("{}/Tiny-Q4_K_M.gguf", world.hub.url());
    let digest = sha256(&world.content);
    world
        .hub
        .add("x/x", "other.gguf", b"PK and no model".to_vec());
    let pull = |text: &str| {
        let hub = world.downloader();
        let plan = hub.plan(&reference(text))?;
        let mut last = None;
        hub.fetch(&plan, &mut |event| last = Some(event))
            .map(|paths| (paths, last))
    };
    let error = pull(&format!("{url}#sha256={}", "ab".repeat(32))).unwrap_err();
    assert!(matches!(error, PullError::WrongHash { .. }), "{error}");
    let error = pull(&format!("{}/other.gguf", world.hub.url())).unwrap_err();
    assert!(matches!(error, PullError::NotAModel { .. }), "{error}");
    assert!(world.listed().is_empty());
    let (paths, last) = pull(&url).unwrap();
    assert_eq!(paths, [world.root.join("store/Tiny-Q4_K_M.gguf")]);
    let is_told = matches!(last, Some(Progress::Finished { sha256, is_verified: false, .. }) if sha256 == digest);
    assert!(is_told);
    fs::remove_file(&paths[0]).unwrap();
    pull(&format!("{url}#sha256={digest}")).unwrap();
    assert_eq!(world.listed(), ["tiny-q4-k-m"]);
}

#[test]
fn a_file_that_is_here_is_neither_overwritten_nor_taken_for_another() {
    let world = World::new();
    let name = "Tiny-Q4_K_M.gguf";
    let url = format!("{}/{name}", world.hub.url());
    let pull = |text: &str| {
        let hub = world.downloader();
        hub.fetch(&hub.plan(&reference(text))?, &mut |_| {})
    };
    let paths = pull(&url).unwrap();
    // The same one again, and with the hash that it has.
    pull(&url).unwrap();
    pull(&format!("{url}#sha256={}", sha256(&world.content))).unwrap();
    // Another hash, and another file of that name elsewhere.
    let other = FakeHub::start().unwrap();
    other.add("o/r", name, [&world.content[..], &[0]].concat());
    for text in [
        format!("{url}#sha256={}", "ab".repeat(32)),
        format!("{}/{name}", other.url()),
    ] {
        let error = pull(&text).unwrap_err();
        assert!(matches!(error, PullError::NameTaken { .. }), "{error}");
    }
    assert_eq!(fs::read(&paths[0]).unwrap(), world.content);
}

#[test]
fn a_removed_model_leaves_nothing_that_nobody_needs() {
    let world = World::new();
    world.pull().unwrap();
    world.hub.add(
        "o/r",
        "Other-Q8_0.gguf",
        tiny::Model::new().seed(9).to_bytes(),
    );
    let plan = world.downloader().plan(&reference("o/r:Q8_0")).unwrap();
    world.downloader().fetch(&plan, &mut |_| ()).unwrap();
    // A second snapshot needs the blob of the first model.
    let repository = world.root.join("hub/models--o--r");
    let old = repository.join("snapshots/1111111111111111111111111111111111111111");
    fs::create_dir(&old).unwrap();
    let link = fs::read_link(repository.join(format!("snapshots/{COMMIT}/Tiny-Q4_K_M.gguf")));
    #[cfg(unix)]
    std::os::unix::fs::symlink(link.unwrap(), old.join("Tiny-Q4_K_M.gguf")).unwrap();
    let mut roots = Roots::new();
    let roots = roots.add(world.root.join("hub"), Source::HuggingFace);
    let removal = |name: &str| {
        let found = discover(roots);
        let model = found
            .models
            .iter()
            .find(|model| model.name == name)
            .unwrap();
        Removal::plan(model).unwrap()
    };
    let other = removal("other-q8-0");
    assert_eq!(
        (other.files.len(), other.freed_bytes),
        (2, world.content.len() as u64)
    );
    other.run().unwrap();
    let first = removal("tiny-q4-k-m@11111111");
    assert_eq!((first.files.len(), first.freed_bytes), (1, 0), "{first:?}");
    first.run().unwrap();
    assert!(!old.exists());
    removal("tiny-q4-k-m").run().unwrap();
    assert!(world.listed().is_empty());
    assert_eq!(fs::read_dir(repository.join("blobs")).unwrap().count(), 0);
}
