//! Downloads that are cut, stalled, refused and begun again.

use super::*;

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
