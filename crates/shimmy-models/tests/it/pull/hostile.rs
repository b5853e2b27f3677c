//! A hub that lies, and one that leads where nobody wants to go.

use super::*;

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
