//! Downloads from a hub that behaves and from one that does not.

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
fn a_download_that_ended_anywhere_goes_on_and_fetches_little_again() {
    let size = World::new().content.len();
    let offsets = (0..size).step_by(size / 40);
    for (offset, connections) in offsets.flat_map(|offset| [(offset, 1), (offset, 4)]) {
        let mut world = World::new();
        world.settings.limits.attempts = 1;
        world.settings.limits.connections = connections;
        world.hub.behave(|hub| hub.budget = Some(offset));
        let error = world.pull().unwrap_err();
        assert!(
            matches!(error, PullError::Unreachable { .. }),
            "{offset}: {error}"
        );
        world.assert_nothing_came();
        world.hub.behave(|hub| hub.budget = None);
        let paths = world.pull().unwrap();
        assert_eq!(fs::read(&paths[0]).unwrap(), world.content, "{offset}");
        // What was on its way when everything ended, at most a chunk of each connection.
        let again = (world.hub.sent() - size) as u64;
        let most = CHUNK * connections as u64;
        assert!(again <= most, "{offset}: {again} bytes twice");
    }
}

#[test]
fn connections_that_break_all_the_time_bring_it_in_the_end() {
    let world = World::new();
    world.hub.behave(|hub| hub.cut_after = Some(10_000));
    let mut retries = 0;
    let paths = world.pull_and_watch(&mut |event| {
        retries += usize::from(matches!(event, Progress::Retrying { .. }));
    });
    assert_eq!(fs::read(&paths.unwrap()[0]).unwrap(), world.content);
    assert!(retries > 10);
}

#[test]
fn a_stalled_connection_is_given_up_and_cancelling_ends_it() {
    let world = World::new();
    world
        .hub
        .behave(|hub| (hub.budget, hub.stalls) = (Some(100_000), true));
    let error = world.pull().unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }), "{error}");

    let mut world = World::new();
    world.settings.limits.stall_timeout = Duration::from_secs(1);
    world
        .hub
        .behave(|hub| (hub.budget, hub.stalls) = (Some(100_000), true));
    let plan = world.plan().unwrap();
    let cancel = Cancel::default();
    let hub = Hub::new(world.settings.clone(), cancel.clone());
    let started = Instant::now();
    let error = hub.fetch(&plan, &mut |_| cancel.cancel()).unwrap_err();
    assert!(matches!(error, PullError::Cancelled), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4));
    world.hub.behave(|hub| hub.budget = None);
    world.pull().unwrap();
}

#[test]
fn busy_hubs_are_asked_again_and_broken_ones_are_not_for_ever() {
    let world = World::new();
    world.hub.behave(|hub| {
        hub.failures = vec![429, 503];
        hub.retry_after = Some(1);
    });
    world.pull().unwrap();

    let world = World::new();
    world.hub.behave(|hub| hub.failures = vec![500; 100]);
    let error = world.pull().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("500"), "{text}");
    world.assert_nothing_came();
}

#[test]
fn a_hub_without_ranges_gives_whole_files() {
    let world = World::new();
    world.hub.behave(|hub| hub.has_no_ranges = true);
    let paths = world.pull().unwrap();
    assert_eq!(fs::read(&paths[0]).unwrap(), world.content);
    let world = World::new();
    world
        .hub
        .behave(|hub| (hub.has_no_ranges, hub.cut_after) = (true, Some(50_000)));
    assert!(matches!(
        world.pull().unwrap_err(),
        PullError::Unreachable { .. }
    ));
    world.assert_nothing_came();
}

#[test]
fn a_file_with_another_hash_is_discarded() {
    for has_no_ranges in [false, true] {
        let world = World::new();
        world
            .hub
            .behave(|hub| (hub.corrupts, hub.has_no_ranges) = (true, has_no_ranges));
        let error = world.pull().unwrap_err();
        assert!(matches!(error, PullError::WrongHash { .. }), "{error}");
        world.assert_nothing_came();
        let blobs = fs::read_dir(world.root.join("hub/models--o--r/blobs")).unwrap();
        assert_eq!(blobs.count(), 0, "it is not kept to go on from");
        world.hub.behave(|hub| hub.corrupts = false);
        world.pull().unwrap();
    }
}

#[test]
fn what_an_earlier_try_left_broken_is_fetched_again() {
    let mut world = World::new();
    world.settings.limits.attempts = 1;
    world
        .hub
        .behave(|hub| (hub.corrupts, hub.budget) = (true, Some(200_000)));
    world.pull().unwrap_err();
    world
        .hub
        .behave(|hub| (hub.corrupts, hub.budget) = (false, None));
    let paths = world.pull().unwrap();
    assert_eq!(fs::read(&paths[0]).unwrap(), world.content);
}

#[test]
fn more_bytes_than_said_are_not_taken() {
    let size = World::new().content.len() as u64;
    type Change = Box<dyn Fn(&mut Behaviour)>;
    let cases: [(&str, Change); 5] = [
        ("endless", Box::new(|hub| hub.is_endless = true)),
        (
            "endless whole",
            Box::new(|hub: &mut Behaviour| (hub.is_endless, hub.has_no_ranges) = (true, true)),
        ),
        (
            "longer",
            Box::new(move |hub| hub.claimed_size = Some(size + 1)),
        ),
        (
            "shorter",
            Box::new(move |hub| hub.claimed_size = Some(size - 1)),
        ),
        ("compressed", Box::new(|hub| hub.encoding = Some("gzip"))),
    ];
    for (what, change) in cases {
        let world = World::new();
        world.hub.behave(|hub| change(hub));
        let error = world.pull().unwrap_err();
        assert!(
            matches!(error, PullError::Nonsense { .. }),
            "{what}: {error}"
        );
        world.assert_nothing_came();
    }
}

#[test]
fn lists_that_lead_out_of_the_folders_or_never_end_are_refused() {
    let digits = "ab".repeat(32);
    let file = |name: &str, hash: &str| {
        format!(
            r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"{name}","lfs":{{"sha256":"{hash}","size":1}}}}]}}"#
        )
    };
    for listing in [
        file("../../x.gguf", &digits),
        file("/etc/x.gguf", &digits),
        file("a/../x.gguf", &digits),
        file("..\\\\x.gguf", &digits),
        file("x.gguf", &digits[1..]),
        file("x.gguf", "../x"),
        file("x.gguf", &digits).replace(COMMIT, "../../x"),
        "{".to_owned(),
        " ".repeat((32 << 20) + 1),
    ] {
        let world = World::new();
        world.hub.behave(|hub| hub.listing = Some(listing));
        let error = world.plan().unwrap_err();
        assert!(matches!(error, PullError::Nonsense { .. }), "{error}");
        assert_eq!(fs::read_dir(&world.root).unwrap().count(), 0);
    }
}

/// The hub and another host under names, so that they count as public and as different ones.
fn public(world: &mut World, cdn: &FakeHub) {
    world.settings.token = Some("secret".to_owned());
    world.settings.endpoint = format!("http://hub.test:{}", world.hub.address().port());
    world.settings.pinned = vec![
        ("hub.test".to_owned(), world.hub.address()),
        ("cdn.test".to_owned(), cdn.address()),
    ];
}

#[test]
fn a_token_goes_to_the_hub_and_to_no_host_that_it_leads_to() {
    let cdn = FakeHub::start().unwrap();
    let mut world = World::new();
    public(&mut world, &cdn);
    cdn.add("o/r", "Tiny-Q4_K_M.gguf", world.content.clone());
    let base = format!("http://cdn.test:{}", cdn.address().port());
    world.hub.behave(|hub| {
        hub.redirect_to = Some(base);
        hub.token = Some("secret".to_owned());
    });
    world.pull().unwrap();
    assert!(!cdn.requests().is_empty());
    assert!(
        cdn.requests()
            .iter()
            .all(|request| request.authorization.is_none())
    );
    let asked = world.hub.requests().len();
    let chunks = world.content.len() as u64 / CHUNK;
    assert!(
        (asked as u64) < chunks,
        "where a file is found is remembered: {asked} questions"
    );
}

#[test]
fn a_public_hub_leads_to_no_private_address() {
    let neighbour = FakeHub::start().unwrap();
    let port = neighbour.address().port();
    for target in [
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://2130706433:{port}"),
        format!("http://[::ffff:7f00:1]:{port}"),
        format!("http://hub.test@127.0.0.1:{port}"),
        "http://169.254.169.254".to_owned(),
        "file:///etc".to_owned(),
    ] {
        let mut world = World::new();
        public(&mut world, &neighbour);
        world
            .hub
            .behave(|hub| hub.redirect_to = Some(target.clone()));
        let error = world.pull().unwrap_err();
        let is_refused = matches!(
            error,
            PullError::PrivateAddress { .. } | PullError::Redirect { .. }
        );
        assert!(is_refused, "{target}: {error}");
        world.assert_nothing_came();
    }
    assert!(neighbour.requests().is_empty());
}

#[test]
fn redirects_without_end_end() {
    let world = World::new();
    world
        .hub
        .behave(|hub| hub.redirect_to = Some(String::new()));
    let error = world.pull().unwrap_err();
    assert!(matches!(error, PullError::Redirect { .. }), "{error}");
}

#[test]
fn closed_repositories_and_unknown_ones_are_told_apart() {
    let mut world = World::new();
    world.hub.behave(|hub| hub.token = Some("right".to_owned()));
    let error = world.plan().unwrap_err().to_string();
    assert!(
        error.ends_with("refuses repository o/r without a token"),
        "{error}"
    );
    world.settings.token = Some("wrong".to_owned());
    let error = world.plan().unwrap_err().to_string();
    assert!(error.contains("to the holder of this token"), "{error}");
    assert!(!error.contains("wrong"));
    world.settings.token = Some("right".to_owned());
    world.plan().unwrap();
    let error = world.downloader().plan(&reference("o/other")).unwrap_err();
    assert!(matches!(error, PullError::NotFound { .. }), "{error}");
    let error = world.downloader().plan(&reference("o/r:Q2_K")).unwrap_err();
    assert!(matches!(error, PullError::NoSuchQuant { .. }), "{error}");
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
